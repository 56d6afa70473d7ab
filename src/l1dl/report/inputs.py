"""What a report is made of: the results of the earlier stages, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.card import BudgetCard
from l1dl.cosim.result import CosimReport
from l1dl.emulate.compare import Agreement
from l1dl.emulate.profile import LayerProfile
from l1dl.graph import FixedGraph
from l1dl.report.clocks import ClockPoint
from l1dl.report.placement import PlacementStudy
from l1dl.report.upsets import UpsetStudy
from l1dl.synth.resources import Resources
from l1dl.vendor.result import BuildResult

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LayerAgreement:
    """Comparison of one node with the Keras layer of the same name."""

    name: str
    kind: str
    spec: str
    events: int
    mismatches: int


@dataclass(frozen=True)
class Physics:
    """Labels and scores of the test split.

    Attributes
    ----------
    classes
        Names of the classes.
    labels
        Class index, int64 of shape (N,).
    scores
        Logits of shape (N, C) for each of ``float``, ``quantised`` and ``rtl`` (those that exist).
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    scores: Mapping[str, Scores]


@dataclass(frozen=True)
class FloatLoss:
    """One output of the firmware against the model before types were fitted to it.

    Attributes
    ----------
    output
        Name of the output.
    events, values
        Number of events, and of values compared.
    rms, maximum
        Root mean square and largest magnitude of the differences.
    spread
        Standard deviation of the float model's values, to compare the differences with.
    argmax_agreement
        Share of events in which the largest value is at the same place; None for a single value.
    """

    output: str
    events: int
    values: int
    rms: float
    maximum: float
    spread: float
    argmax_agreement: float | None


@dataclass(frozen=True)
class SoftmaxAgreement:
    """A softmax in firmware against that of Keras; its tables never give the same values.

    Attributes
    ----------
    output
        Name of the output.
    events
        Number of events (of vectors, where an event has several).
    agreeing
        Share of the events whose largest output is one class, and the same as in Keras.
    tied
        Share of the events in which several outputs are the largest.
    flipped
        Share of the events whose largest outputs do not include Keras's class.
    maximum
        Largest difference of an output from Keras.
    """

    output: str
    events: int
    agreeing: float
    tied: float
    flipped: float
    maximum: float


@dataclass(frozen=True)
class Architecture:
    """The network in one architecture.

    Attributes
    ----------
    name
        In words.
    reason
        Why there are no figures; empty where there are.
    lut, ff, dsp, bram
        Resources.
    latency_cycles, latency_ns
        From the first beat of an event to the last one of its result.
    interval
        Clock cycles between two events.
    events
        Events of the co-simulation, all of whose output codes were right.
    """

    name: str
    reason: str
    lut: int | None = None
    ff: int | None = None
    dsp: int | None = None
    bram: int | None = None
    latency_cycles: int | None = None
    latency_ns: float | None = None
    interval: int | None = None
    events: int = 0


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """The maps of one layer for some events.

    Attributes
    ----------
    layer
        Its name.
    real, firmware
        Shape (events, rows, columns, maps), of the float model (None without one) and of the firmware.
    """

    layer: str
    real: Scores | None
    firmware: Scores


@dataclass(frozen=True, eq=False)
class ImageStudy:
    """What a network sees in its images; channels are added up.

    Attributes
    ----------
    classes
        Names of the classes of the events.
    means, examples
        Mean image and first image of each class, shape (classes, rows, columns).
    filters
        Filters of the first convolution, shape (filters, rows, columns); None without one.
    maps
        What these filters make of some events; None without one.
    outputs
        Names of the outputs.
    correlation
        Pearson's correlation of each pixel with each output of the firmware, shape (outputs, rows, columns).
    """

    classes: tuple[str, ...]
    means: Scores
    examples: Scores
    filters: Scores | None
    maps: FeatureMaps | None
    outputs: tuple[str, ...]
    correlation: Scores


@dataclass(frozen=True)
class ReportInputs:
    """The results of all stages.

    Attributes
    ----------
    physics
        None where no labelled data were given.
    history
        Training curves: for each of ``float`` and ``quantised``, lists by epoch called ``loss``,
        ``validation_loss`` and ``validation_accuracy``; empty where l1dl did not train.
    training
        Facts about the training for the report (seeds, epochs, jets/s, spread over seeds).
    notes
        Remarks that a reader must know, e.g. that inputs arrive scaled.
    float_loss
        What fitted types cost, for each output; empty where the model was trained with its types.
    softmax
        What the tables of each final softmax cost; empty where none was kept.
    architectures
        The network in other architectures; empty where they were not compared.
    builds
        What vendor tools found; empty where none was run on this firmware.
    clocks
        The network at several clocks; empty where they were not compared.
    images
        What the network sees in its images; None where it reads none, or without labelled data.
    upsets
        What single-event upsets do; None where they were not studied.
    placement
        Stages placed and routed on ECP5; None where none was.
    """

    graph: FixedGraph
    agreements: tuple[Agreement, ...]
    layers: tuple[LayerAgreement, ...]
    profiles: tuple[LayerProfile, ...]
    cosim: CosimReport
    clock_period_ns: float
    resources: Resources
    budget: BudgetCard
    physics: Physics | None
    history: Mapping[str, Mapping[str, list[float]]]
    training: Mapping[str, Any]
    timings_s: Mapping[str, float]
    versions: Mapping[str, str]
    digests: Mapping[str, str]
    commands: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    float_loss: tuple[FloatLoss, ...] = field(default=())
    softmax: tuple[SoftmaxAgreement, ...] = field(default=())
    architectures: tuple[Architecture, ...] = field(default=())
    builds: tuple[BuildResult, ...] = field(default=())
    clocks: tuple[ClockPoint, ...] = field(default=())
    images: ImageStudy | None = None
    upsets: UpsetStudy | None = None
    placement: PlacementStudy | None = None
