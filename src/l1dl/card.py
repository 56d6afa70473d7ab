"""Model cards: the strict schema of ``models/<name>/model.toml``.

A card is data, never code. An unknown key, a wrong type or a value outside its range is an error
that names the key, what was given and what is allowed.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from l1dl.errors import InputError, did_you_mean
from l1dl.graph import check_design_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Identifier = Annotated[str, AfterValidator(check_design_name)]
Bits = Annotated[int, Field(ge=1, le=24)]
Integer = Annotated[int, Field(ge=-24, le=24)]
ClockPeriod = Annotated[float, Field(gt=0.5, le=100)]


class _Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class QuantiserCard(_Section):
    """A signed fixed-point type as QKeras writes it.

    Attributes
    ----------
    bits
        Total number of bits, the sign included.
    integer
        Number of integer bits, the sign not included; may be negative.
    """

    bits: Bits
    integer: Integer = 0


class DataCard(_Section):
    """Where the labelled data are, and in which quantity they reach the firmware.

    Attributes
    ----------
    file
        Data file, relative to the card (HDF5, npz, npy, Parquet or ARFF).
    labels
        Labels of an npy pair.
    features
        Names of the features, in the order of the firmware's inputs; all of the file by default.
    classes
        Names of the classes; those of the file by default.
    inputs
        ``physical``: the firmware takes the features as they are and scales them itself, by powers of
        two. ``scaled``: whoever feeds the firmware has applied the standard scaling.
    """

    file: str
    labels: str | None = None
    features: list[str] | None = None
    classes: list[str] | None = None
    inputs: Literal["physical", "scaled"] = "physical"


class ModelSection(_Section):
    """A multilayer perceptron with ReLU and logits."""

    engine: Literal["qkeras"] = "qkeras"
    hidden: Annotated[list[Annotated[int, Field(ge=1, le=1024)]], Field(min_length=1, max_length=16)]
    activation: Literal["relu"] = "relu"


class QuantisationCard(_Section):
    """Types of weights, biases, activations and inputs.

    Attributes
    ----------
    weight, bias
        Signed types.
    activation
        Unsigned type behind each ReLU; `integer` counts all integer bits.
    input
        Type of the firmware's input port.
    scaled_input
        Type behind the scaling, for ``inputs = "physical"``.
    """

    weight: QuantiserCard
    bias: QuantiserCard
    activation: QuantiserCard
    input: QuantiserCard
    scaled_input: QuantiserCard | None = None


class TrainingCard(_Section):
    """How the float reference and the quantised model are trained."""

    backend: Literal["jax", "tensorflow"] = "jax"
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    batch_size: Annotated[int, Field(ge=1)] = 512
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 150
    patience: Annotated[int, Field(ge=1)] = 40
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1


class HlsCard(_Section):
    """The hls4ml project.

    Attributes
    ----------
    strategy
        ``latency``: one multiplier per weight, as the exact emulation assumes.
    """

    backend: Literal["Vitis", "Vivado"] = "Vitis"
    part: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "xcvu13p-flga2577-2-e"
    clock_period_ns: ClockPeriod = 5.0
    strategy: Literal["latency"] = "latency"
    io_type: Literal["io_parallel"] = "io_parallel"


class RtlCard(_Section):
    """The pipelined RTL.

    Attributes
    ----------
    clock_period_ns
        Target clock period in ns.
    stage_delay_ns
        Estimated combinational delay that one pipeline stage may have; 0.9 of the clock period by default.
    language
        ``vhdl`` writes the design in VHDL as well; simulation and synthesis always read the Verilog.
    """

    clock_period_ns: ClockPeriod = 5.0
    stage_delay_ns: Annotated[float, Field(gt=0.1, le=1000)] | None = None
    language: Literal["verilog", "vhdl"] = "verilog"


class CosimCard(_Section):
    """The vectors of the co-simulation besides test split and corners: random ones, and half as many shuffled."""

    random_vectors: Annotated[int, Field(ge=0, le=100_000_000)] = 100_000
    seed: Annotated[int, Field(ge=0)] = 1


class BudgetCard(_Section):
    """Limits that the report judges; a limit that is not given is not judged."""

    max_auc_loss: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_latency_ns: Annotated[float, Field(gt=0)] | None = None
    max_lut: Annotated[int, Field(gt=0)] | None = None


class ModelCard(_Section):
    """Everything that defines a model, from the data to the budget."""

    name: Identifier
    description: str = ""
    data: DataCard
    model: ModelSection
    quantisation: QuantisationCard
    training: TrainingCard = TrainingCard()
    hls: HlsCard = HlsCard()
    rtl: RtlCard = RtlCard()
    cosim: CosimCard = CosimCard()
    budget: BudgetCard = BudgetCard()

    @model_validator(mode="after")
    def _check_fractions(self) -> ModelCard:
        types = self.quantisation
        for name, quantiser, sign in (
            ("activation", types.activation, 0),
            ("input", types.input, 1),
            ("scaled_input", types.scaled_input, 1),
        ):
            if quantiser is not None and quantiser.bits - quantiser.integer - sign <= 0:
                msg = (
                    f"quantisation.{name} = {{ bits = {quantiser.bits}, integer = {quantiser.integer} }} has no "
                    "fractional bit, and hls4ml would neither round nor saturate; use more bits or fewer integer bits"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_scaling(self) -> ModelCard:
        if self.data.inputs == "physical" and self.quantisation.scaled_input is None:
            msg = 'quantisation.scaled_input is needed with data.inputs = "physical"'
            raise ValueError(msg)
        if self.data.inputs == "scaled" and self.quantisation.scaled_input is not None:
            msg = 'quantisation.scaled_input has no meaning with data.inputs = "scaled"; remove it'
            raise ValueError(msg)
        return self


def load_card(path: Path) -> ModelCard:
    """Read and check a model card.

    Parameters
    ----------
    path
        The card, or the directory that holds it as ``model.toml``.

    Raises
    ------
    InputError
        The file is missing, is no TOML, or breaks the schema; the text names the first bad keys.
    """
    if path.is_dir():
        path = path / "model.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"model card not found: {path}"
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"model card {path} cannot be read: {error}"
        raise InputError(msg) from None
    try:
        return ModelCard.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors()[:5])
        msg = f"model card {path}: {problems}"
        raise InputError(msg) from None


def _describe(problem: typing.Any) -> str:
    """Say in words what pydantic found wrong."""
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        return f"unknown key {where!r}{did_you_mean(str(problem['loc'][-1]), known)} (allowed: {', '.join(known)})"
    if problem["type"] == "missing":
        return f"key {where!r} is missing"
    text: str = problem["msg"].removeprefix("Value error, ")
    if not where:
        return text
    return f"{where} = {problem['input']!r}: {text[0].lower()}{text[1:]}"


def _known_keys(location: Sequence[Any]) -> list[str]:
    model: type[BaseModel] = ModelCard
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        candidates = (annotation, *typing.get_args(annotation))
        model = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
