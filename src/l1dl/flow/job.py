"""What a run is about: a card, or a model that someone brings, as the stages see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import digest_json, read_json
from l1dl.card import BudgetCard, CosimCard, HlsCard, ModelCard, RtlCard
from l1dl.data.dataset import Dataset, Split
from l1dl.data.load import load_card_data
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec
from l1dl.models.backend import import_keras
from l1dl.models.network import check_layers, input_spec
from l1dl.models.scaler import Scaler, fold_scaler
from l1dl.train.train import TrainedModel, card_scaler, load_model, model_digest, model_inputs


@dataclass(frozen=True)
class Paths:
    """Where a run puts its files.

    Attributes
    ----------
    run
        Run directory: manifest, trained models, graph, RTL, results, report.
    hls
        The hls4ml project.
    """

    run: Path
    hls: Path

    @property
    def trained(self) -> TrainedModel:
        """The trained models."""
        return TrainedModel(self.run / "train")

    @property
    def graph(self) -> Path:
        """The FixedGraph (with its codes beside it)."""
        return self.run / "convert" / "graph.json"

    @property
    def emulation(self) -> Path:
        """Agreement of Keras, csim and emulator, layer comparison and profiles."""
        return self.run / "emulate" / "emulation.json"

    @property
    def rtl(self) -> Path:
        """The RTL project."""
        return self.run / "rtl"

    @property
    def cosim(self) -> Path:
        """Verdict of the co-simulation."""
        return self.run / "cosim" / "cosim.json"

    def verilog(self) -> dict[str, str]:
        """Read the Verilog of the run: file name → text, as it stands there."""
        return {path.name: path.read_text() for path in sorted((self.rtl / "src").glob("*.v"))}

    @property
    def cosim_outputs(self) -> Path:
        """Input codes of the test events, and the output codes that the RTL gave."""
        return self.run / "cosim" / "outputs.npz"

    @property
    def resources(self) -> Path:
        """Result of the synthesis."""
        return self.run / "synth" / "resources.json"

    @property
    def cache(self) -> Path:
        """Compiled libraries and synthesis results, by content; may be deleted at any time."""
        return self.run / "cache"


@dataclass(frozen=True)
class Settings:
    """Settings of the firmware stages."""

    hls: HlsCard = HlsCard()  # noqa: RUF009
    rtl: RtlCard = RtlCard()  # noqa: RUF009
    cosim: CosimCard = CosimCard()  # noqa: RUF009
    budget: BudgetCard = BudgetCard()  # noqa: RUF009


@dataclass(frozen=True)
class Truth:
    """What is known about the test events besides their inputs.

    Attributes
    ----------
    labels
        Class indices, int64 of shape (N,); None without labelled data.
    scores
        Logits of other models, e.g. ``float``, shape (N, C) each.
    """

    labels: npt.NDArray[np.int64] | None = None
    scores: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)


Inputs = tuple[npt.NDArray[np.floating[Any]], ...]
"""Real inputs of some events, one array of shape (N, *shape) for each input of a model."""


class Job:
    """A model on its way to firmware.

    Subclasses say where the quantised Keras model and the test events come from; both are read
    when they are first needed.
    """

    name: str
    settings: Settings
    card: ModelCard | None = None
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    seeds: int = 1

    def model(self) -> Any:
        """Return the quantised Keras model."""
        raise NotImplementedError

    def inputs(self) -> Inputs:
        """Return the real inputs of the test events, as they reach the model: (N, *shape) for each input."""
        raise NotImplementedError

    def truth(self) -> Truth:
        """Return labels and scores of the test events."""
        raise NotImplementedError

    def model_key(self) -> str:
        """Return a digest of the model and the test events."""
        raise NotImplementedError

    def reference(self) -> Sequence[npt.NDArray[np.float64]] | None:
        """Return the outputs of the model before types were fitted to it, one array for each; None without a fit."""
        return None

    def float_model(self) -> Any | None:
        """Return the float reference, with layers of the same names; None without one."""
        return None

    def logits(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the values of the only output as logits."""
        return values

    def save_model(self, path: Path) -> bool:  # noqa: ARG002
        """Write the quantised model where the run has made it; say whether it was written."""
        return False

    def training(self) -> dict[str, Any]:
        """Return the facts of the training; empty where l1dl did not train."""
        return {}

    def notes(self) -> tuple[str, ...]:
        """Return remarks that a reader of the report must know."""
        return ()


class CardJob(Job):
    """A model that l1dl trains from a card.

    Parameters
    ----------
    card
        The card.
    directory
        The card's directory; data files are relative to it.
    seeds
        Number of trainings of each model; by default as many as the last time, 1 at first.
    """

    def __init__(self, card: ModelCard, directory: Path, paths: Paths, seeds: int | None = None) -> None:
        self.name = card.name
        self.card = card
        self.seeds = _seeds_before(paths) if seeds is None else seeds
        self.settings = Settings(card.hls, card.rtl, card.cosim, card.budget)
        self._directory, self._paths = directory, paths

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, read and checked, also against the layers, when it is first needed."""
        assert self.card is not None
        dataset = load_card_data(self.card.data, self._directory)
        check_layers(self.card, dataset.shape)
        return dataset

    @property
    def features(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the features, or of the pixels of an image: ``pixel_2_3_pt`` in row 2 and column 3."""
        *place, _ = self.dataset.shape
        if not place:
            return self.dataset.features
        pixels = ("_".join(map(str, index)) for index in np.ndindex(*place))
        return tuple(f"pixel_{pixel}_{name}" for pixel in pixels for name in self.dataset.features)

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the classes."""
        return self.dataset.classes

    @property
    def scaler(self) -> Scaler | None:
        """The scaling, fitted on the training split; None where there is none."""
        assert self.card is not None
        return card_scaler(self.card, self.dataset)

    def model(self) -> Any:
        """Return the trained quantised model, on the back end that trained it."""
        assert self.card is not None
        import_keras(self.card.training.backend)
        return load_model(self._paths.trained.model_path("quantised"))

    def float_model(self) -> Any:
        """Return the trained float reference."""
        assert self.card is not None
        import_keras(self.card.training.backend)
        return load_model(self._paths.trained.model_path("float"))

    def inputs(self) -> Inputs:
        """Return the test split as it reaches the model."""
        assert self.card is not None
        return (model_inputs(self.card, self.scaler, self.dataset.part(Split.TEST)[0]),)

    def truth(self) -> Truth:
        """Return labels of the test split, and the logits of both models on it."""
        with np.load(self._paths.trained.scores_path, allow_pickle=False) as file:
            return Truth(file["labels"], {kind: file[kind] for kind in ("float", "quantised")})

    def model_key(self) -> str:
        """Return a digest of the trained weights and the data."""
        return digest_json([model_digest(self._paths.trained.model_path("quantised")), self.dataset.digest])

    def training(self) -> dict[str, Any]:
        """Return the facts of the training."""
        facts: dict[str, Any] = read_json(self._paths.trained.facts_path)
        return facts

    def notes(self) -> tuple[str, ...]:
        """Say in which quantity the inputs arrive and how they are scaled; and what trained bits cost."""
        return (*self._input_notes(), *self._bit_notes())

    def _bit_notes(self) -> tuple[str, ...]:
        """Return what is known of the bits that HGQ2 has trained."""
        assert self.card is not None
        if self.card.hgq2 is None:
            return ()
        facts = self.training()
        quantised, jets = facts["models"]["quantised"], facts["jets"]
        counts = quantised["wrapped_events"].items()
        wrapped = ", ".join(f"{count} of {jets[split]} ({split})" for split, count in counts)
        return (
            f"HGQ2 trained the bits of each weight and value to {quantised['ebops']} EBOPs. Ranges hold the training "
            f"split with a margin of {self.card.hgq2.margin:g}; events in which a value beyond its range changes an "
            f"output: {wrapped}.",
        )

    def _input_notes(self) -> tuple[str, ...]:
        """Say in which quantity the inputs arrive, and how they are scaled."""
        assert self.card is not None
        if self.card.data.inputs == "scaled":
            return (
                "Inputs arrive scaled: the firmware takes (x - mean) / scale, which whoever feeds it must compute. "
                "Mean and scale of each feature are in training.json.",
            )
        if self.scaler is None:
            return (self._note_on_grid(input_spec(self.card)),)
        folded = fold_scaler(self.scaler, input_spec(self.card))
        exponents = np.log2(folded.scale)
        return (
            f"Inputs are the physical features: the firmware subtracts the mean and divides by a power of two "
            f"(2^{exponents.min():.0f} to 2^{exponents.max():.0f}, the nearest to the standard deviation) itself.",
        )

    def _note_on_grid(self, port: FixedSpec) -> str:
        """Say on which grid unscaled inputs arrive, and whether the input port holds it."""
        said = f"Inputs arrive unscaled, and the input port takes them as {port}"
        if self.dataset.pixels is None:
            return f"{said}."
        grid, beyond = self.dataset.pixels.grid, float(self.dataset.x.max()) - port.maximum_code * port.step
        what = [
            *(["rounds"] if port.fraction < grid.fraction else []),
            *(
                ["cuts off large ones"]
                if beyond >= port.step or (beyond > 0 and port.fraction >= grid.fraction)
                else []
            ),
        ]
        if not what:
            return f"{said}, which holds every pixel ({grid}) exactly."
        return f"{said}. Pixels come as {grid}: the port {' and '.join(what)}, in training as in firmware."


def _seeds_before(paths: Paths) -> int:
    """Return the number of trainings that a run directory holds; 1 if it holds none."""
    try:
        return max(1, len(read_json(paths.trained.facts_path)["models"]["quantised"]["seeds"]))
    except (InputError, KeyError, TypeError):
        return 1


Reporter = Callable[[str, int, int], None]
"""Called with what is being done, steps done and steps in all (0 where that is unknown)."""
