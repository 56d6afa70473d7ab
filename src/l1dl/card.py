"""Model cards: the strict schema of ``models/<name>/model.toml``.

A card is data, never code. An unknown key, a wrong type or a value outside its range is an error
that names the key, what was given and what is allowed.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
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
Units = Annotated[int, Field(ge=1, le=1024)]
PixelCount = Annotated[int, Field(ge=1, le=64)]
StageDelay = Annotated[float, Field(gt=0.1, le=1000)]
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


class InputQuantiserCard(QuantiserCard):
    """The type of the input port.

    Attributes
    ----------
    signed
        Whether there is a sign; without it, all bits count for the magnitude, as befits pixels.
    """

    signed: bool = True


class DataCard(_Section):
    """Where the labelled data are, and in which quantity they reach the firmware.

    Attributes
    ----------
    file
        Data file, relative to the card (HDF5, npz, npy, Parquet or ARFF); or a directory of images (MNIST, CIFAR-10);
        or the word ``digits``.
    content
        What of the file the firmware takes: features, images, or the constituents of a jet sample.
    labels
        Labels of an npy pair.
    features
        Names of the features (the channels of images), in the order of the firmware's inputs; all of the file by
        default.
    classes
        Names of the classes; those of the file by default.
    inputs
        ``physical``: the firmware takes the features as they are and scales them itself, by powers of
        two. ``scaled``: whoever feeds the firmware has applied the standard scaling. ``unscaled``: the firmware takes
        the features as they are, with no scaling at all, as befits the pixels of images.
    """

    file: str
    content: Literal["features", "images", "constituents"] = "features"
    labels: str | None = None
    features: list[str] | None = None
    classes: list[str] | None = None
    inputs: Literal["physical", "scaled", "unscaled"] = "physical"


class _Weighted(_Section):
    """A layer with weights and a ReLU; types of its own replace those of ``[quantisation]``."""

    weight: QuantiserCard | None = None
    bias: QuantiserCard | None = None
    activation: QuantiserCard | None = None


class ConvCard(_Weighted):
    """A two-dimensional convolution with a square kernel, and a ReLU.

    Attributes
    ----------
    kernel
        Height and width of the kernel, in pixels.
    stride
        Step of the kernel in both directions, in pixels.
    padding
        ``valid``: the kernel stays inside the image. ``same``: the image is surrounded by zeros.
    """

    kind: Literal["conv"]
    filters: Units
    kernel: PixelCount
    stride: PixelCount = 1
    padding: Literal["valid", "same"] = "valid"


class PoolCard(_Section):
    """A pooling over square windows that lie side by side and cover the image."""

    kind: Literal["pool"]
    size: Annotated[int, Field(ge=2, le=64)] = 2
    function: Literal["max", "average"] = "max"


class GlobalPoolCard(_Section):
    """A pooling over the whole image, which leaves one number for each channel."""

    kind: Literal["global_pool"]
    function: Literal["max", "average"] = "max"


class FlattenCard(_Section):
    """The pixels and channels of an image in a row."""

    kind: Literal["flatten"]


class DenseCard(_Weighted):
    """A dense layer and a ReLU."""

    kind: Literal["dense"]
    units: Units


LayerCard = ConvCard | PoolCard | GlobalPoolCard | FlattenCard | DenseCard
_OF_IMAGES = (ConvCard, PoolCard, GlobalPoolCard, FlattenCard)
_TO_ROW = (GlobalPoolCard, FlattenCard)


def _image_left(what: str, stand: str, last: str) -> str:
    return f"{what} {stand} behind {last}, an image; put a flatten or global_pool layer between"


class ModelSection(_Section):
    """The hidden layers of a network; logits follow.

    Attributes
    ----------
    engine
        ``qkeras``: types are given, by ``[quantisation]``. ``hgq2``: HGQ2 trains a type for each weight and each value,
        as ``[hgq2]`` says.
    hidden
        Units of the dense layers of a multilayer perceptron.
    layers
        Instead of it: any layers, in their order.
    """

    engine: Literal["qkeras", "hgq2"] = "qkeras"
    hidden: Annotated[list[Units], Field(min_length=1, max_length=16)] | None = None
    layers: (
        Annotated[list[Annotated[LayerCard, Field(discriminator="kind")]], Field(min_length=1, max_length=32)] | None
    ) = None
    activation: Literal["relu"] = "relu"

    @model_validator(mode="after")
    def _check_layers(self) -> ModelSection:
        if (self.hidden is None) == (self.layers is None):
            found = "neither is" if self.hidden is None else "both are"
            msg = f"give hidden (units of dense layers) or layers ([[model.layers]]), one of them; {found} given"
            raise ValueError(msg)
        image = self.takes_images
        last, behind_relu = "", False
        for name, layer in self.named():
            if isinstance(layer, _OF_IMAGES) and not image:
                msg = f"{name} stands behind {last}, where no image is left; move it before"
                raise ValueError(msg)
            if isinstance(layer, DenseCard) and image:
                raise ValueError(_image_left(name, "stands", last))
            averages = isinstance(layer, (PoolCard, GlobalPoolCard)) and layer.function == "average"
            if averages and not behind_relu:
                msg = f'{name} with function = "average" must stand behind a conv layer; put it there, or take "max"'
                raise ValueError(msg)
            image = image and not isinstance(layer, _TO_ROW)
            last, behind_relu = name, behind_relu or isinstance(layer, _Weighted)
        if image:
            raise ValueError(_image_left("the logits", "stand", last))
        return self

    def named(self) -> Iterator[tuple[str, LayerCard]]:
        """Yield each hidden layer with its name in the network: kind and number, as ``conv_0``."""
        layers = self.layers or [DenseCard(kind="dense", units=units) for units in self.hidden or ()]
        for index, layer in enumerate(layers):
            yield f"{layer.kind}_{index}", layer

    @property
    def takes_images(self) -> bool:
        """Whether the first layer reads images."""
        return self.layers is not None and isinstance(self.layers[0], _OF_IMAGES)


class QuantisationCard(_Section):
    """Types of weights, biases, activations and inputs.

    Attributes
    ----------
    weight, bias
        Signed types; only with ``engine = "qkeras"``, and required there.
    activation
        Unsigned type behind each ReLU; `integer` counts all integer bits. As `weight`.
    input
        Type of the firmware's input port, with or without a sign.
    scaled_input
        Type behind the scaling, for ``inputs = "physical"``.
    """

    weight: QuantiserCard | None = None
    bias: QuantiserCard | None = None
    activation: QuantiserCard | None = None
    input: InputQuantiserCard
    scaled_input: QuantiserCard | None = None


class Hgq2Card(_Section):
    """How HGQ2 trains the bits of each weight and each value; its loss is ``cross entropy + beta * EBOPs``.

    EBOPs, effective bit operations, are the sum over all products of the bits of weight and value. They are close to
    the LUTs of a fully parallel design.

    Attributes
    ----------
    ebops
        Most EBOPs of the model that goes on to the firmware.
    steer
        Whether `beta` is steered towards `ebops`, or grows evenly in the logarithm from epoch to epoch.
    beta
        The smallest (first) and the largest (last) beta.
    ramp
        Share of the epochs in which steering brings the EBOPs down to `ebops`.
    weight_bits, activation_bits
        Bits at the start of the training: of weights and biases without the sign, and fractional ones of values.
    overflow
        What values outside the range of their type do, which the training split has fitted: ``wrap`` costs no logic,
        ``saturate`` some.
    margin
        How much farther than the largest value of the training split the range of each value reaches at least.
    """

    ebops: Annotated[int, Field(ge=1)]
    steer: bool = True
    beta: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)] = [1e-7, 1e-3]
    ramp: Annotated[float, Field(gt=0, le=1)] = 0.5
    weight_bits: Annotated[int, Field(ge=1, le=12)] = 6
    activation_bits: Annotated[int, Field(ge=1, le=12)] = 6
    overflow: Literal["wrap", "saturate"] = "wrap"
    margin: Annotated[float, Field(ge=0, le=10)] = 0.1

    @model_validator(mode="after")
    def _check_beta(self) -> Hgq2Card:
        low, high = self.beta
        if low > high:
            msg = f"beta = [{low}, {high}] goes down; give the smallest, then the largest"
            raise ValueError(msg)
        return self


class AugmentationCard(_Section):
    """Random changes of the training images, other ones in each epoch; `l1dl.data.augment.Augmentation` explains."""

    reflect: bool = False
    rotation_deg: Annotated[float, Field(ge=0, le=45)] = 0.0
    smear: Annotated[float, Field(ge=0, le=1)] = 0.0


class TrainingCard(_Section):
    """How the float reference and the quantised model are trained.

    Attributes
    ----------
    schedule
        Of the learning rate: ``cosine`` falls once, ``restarts`` as often as `restarts` says, each time from the start.
    restarts
        Number of falls, with ``schedule = "restarts"``.
    sparsity
        Share of the weights of each layer (not of the biases) that are zero in the end, in the quantised model only.
    sparsity_ramp
        Between which shares of the epochs that share grows from 0 to its end.
    """

    backend: Literal["jax", "tensorflow"] = "jax"
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    schedule: Literal["cosine", "restarts", "constant"] = "cosine"
    restarts: Annotated[int, Field(ge=1, le=1000)] = 4
    batch_size: Annotated[int, Field(ge=1)] = 512
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 150
    patience: Annotated[int, Field(ge=1)] = 40
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    augmentation: AugmentationCard = AugmentationCard()
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    sparsity_ramp: Annotated[list[Annotated[float, Field(ge=0, le=0.9)]], Field(min_length=2, max_length=2)] = [
        0.1,
        0.5,
    ]

    @model_validator(mode="after")
    def _check_ramp(self) -> TrainingCard:
        begin, end = self.sparsity_ramp
        if begin > end:
            msg = f"sparsity_ramp = [{begin}, {end}] goes down; give the share of epochs where it begins, then its end"
            raise ValueError(msg)
        return self


class HlsCard(_Section):
    """The hls4ml project.

    Attributes
    ----------
    strategy
        ``latency``: one multiplier per weight, as the exact emulation assumes.
    io_type
        ``io_parallel``: all values of an event at once; ``io_stream``: pixel by pixel. Both compute the same.
    """

    backend: Literal["Vitis", "Vivado"] = "Vitis"
    part: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "xcvu13p-flga2577-2-e"
    clock_period_ns: ClockPeriod = 5.0
    strategy: Literal["latency"] = "latency"
    io_type: Literal["io_parallel", "io_stream"] = "io_parallel"


class RtlCard(_Section):
    """The pipelined RTL.

    Attributes
    ----------
    clock_period_ns
        Target clock period in ns.
    stage_delay_ns
        Longest estimated delay of a pipeline stage, registers included, or of each stage (the last one holds for those
        behind it, too); 0.97 of the clock period by default.
    language
        ``vhdl`` writes the design in VHDL as well; simulation and synthesis always read the Verilog.
    architecture
        ``parallel``: a whole event enters with each clock, every layer is there for all of its pixels at once.
        ``stream``: an image enters pixel by pixel, and each layer is there once.
    pixels_per_clock
        Pixels that enter a streaming design with each clock; they must divide a row of the image.
    reuse_factor
        How often each multiplier of a dense layer behind the image is used for one image, in a streaming design: one
        number, or layer name → number; by default as often as the stream leaves time for. 1: no multipliers, but all
        products with constants at once.
    """

    clock_period_ns: ClockPeriod = 5.0
    stage_delay_ns: StageDelay | Annotated[list[StageDelay], Field(min_length=1)] | None = None
    language: Literal["verilog", "vhdl"] = "verilog"
    architecture: Literal["parallel", "stream"] = "parallel"
    pixels_per_clock: Annotated[int, Field(ge=1, le=1024)] = 1
    reuse_factor: Annotated[int, Field(ge=1)] | dict[str, Annotated[int, Field(ge=1)]] | None = None

    @model_validator(mode="after")
    def _check_architecture(self) -> RtlCard:
        streams = self.architecture == "stream"
        if streams and self.language == "vhdl":
            msg = "a streaming design is written in Verilog only; use language = 'verilog'"
            raise ValueError(msg)
        if not streams and (self.pixels_per_clock != 1 or self.reuse_factor is not None):
            msg = "pixels_per_clock and reuse_factor are for architecture = 'stream'"
            raise ValueError(msg)
        return self


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
    hgq2: Hgq2Card | None = None
    training: TrainingCard = TrainingCard()
    hls: HlsCard = HlsCard()
    rtl: RtlCard = RtlCard()
    cosim: CosimCard = CosimCard()
    budget: BudgetCard = BudgetCard()

    @model_validator(mode="after")
    def _check_engine(self) -> ModelCard:
        types, training = self.quantisation, self.training
        given = {name: getattr(types, name) for name in ("weight", "bias", "activation")}
        if self.model.engine == "qkeras":
            missing = [f"quantisation.{name}" for name, quantiser in given.items() if quantiser is None]
            if missing or self.hgq2 is not None:
                what = f"{', '.join(missing)} is missing" if missing else "a section [hgq2] is given"
                msg = f'{what}, and model.engine is "qkeras"; set it, or engine = "hgq2"'
                raise ValueError(msg)
            return self
        if self.hgq2 is None:
            msg = 'section [hgq2] is missing, and model.engine is "hgq2"; give at least ebops in it'
            raise ValueError(msg)
        fixed = [f"quantisation.{name}" for name, quantiser in given.items() if quantiser is not None]
        for name, layer in self.model.named():
            parts = ("weight", "bias", "activation") if isinstance(layer, _Weighted) else ()
            fixed += [f"{part} of {name}" for part in parts if getattr(layer, part) is not None]
        fixed += ["training.sparsity"] if training.sparsity else []
        if fixed:
            msg = f'{", ".join(fixed)} has no meaning with engine = "hgq2", which trains bits and zeros; remove it'
            raise ValueError(msg)
        if training.backend != "jax":
            msg = f'training.backend = "{training.backend}" with engine = "hgq2"; allowed: "jax"'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_fractions(self) -> ModelCard:
        types = self.quantisation
        layers = ((name, layer.activation) for name, layer in self.model.named() if isinstance(layer, _Weighted))
        for name, quantiser, signed in (
            ("quantisation.activation", types.activation, False),
            ("quantisation.input", types.input, types.input.signed),
            ("quantisation.scaled_input", types.scaled_input, True),
            *((f"activation of {name}", quantiser, False) for name, quantiser in layers),
        ):
            if quantiser is not None and quantiser.bits - quantiser.integer - signed <= 0:
                msg = (
                    f"{name} = {{ bits = {quantiser.bits}, integer = {quantiser.integer} }} has no "
                    "fractional bit, and hls4ml would neither round nor saturate; use more bits or fewer integer bits"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_images(self) -> ModelCard:
        images = self.data.content == "images"
        if images != self.model.takes_images:
            name = next(self.model.named())[0]
            what = "images, but the first layer" if images else f"{self.data.content}, but the first layer"
            allowed = "a conv, pool, global_pool or flatten layer" if images else "a dense layer"
            msg = f"data.content is {what} is {name}; allowed: {allowed}"
            raise ValueError(msg)
        if images and self.data.inputs != "unscaled":
            msg = f'data.inputs = "{self.data.inputs}" with images; allowed: "unscaled"'
            raise ValueError(msg)
        if self.training.augmentation != AugmentationCard() and not images:
            msg = f'training.augmentation is for images, and data.content is "{self.data.content}"; remove it'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_scaling(self) -> ModelCard:
        if self.data.inputs == "physical" and self.quantisation.scaled_input is None:
            msg = 'quantisation.scaled_input is needed with data.inputs = "physical"'
            raise ValueError(msg)
        if self.data.inputs != "physical" and self.quantisation.scaled_input is not None:
            msg = f'quantisation.scaled_input has no meaning with data.inputs = "{self.data.inputs}"; remove it'
            raise ValueError(msg)
        return self


def load_card(path: Path, changes: Sequence[str] = ()) -> ModelCard:
    """Read and check a model card.

    Parameters
    ----------
    path
        The card, or the directory that holds it as ``model.toml``.
    changes
        Values that stand in place of the card's, each ``section.key=value`` as in TOML; a text needs no quotes.

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
    for change in changes:
        values = _read_change(change)
        _drop_other_layers(content, values)
        _merge(content, values)
    try:
        return ModelCard.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors()[:5])
        msg = f"model card {path}: {problems}"
        raise InputError(msg) from None


def to_toml(value: Any) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    return json.dumps(value)


def _read_change(change: str) -> dict[str, typing.Any]:
    """Return ``section.key=value`` as the nested tables that it stands for."""
    key, separator, value = change.partition("=")
    for text in (change, f"{key} = {json.dumps(value.strip())}") if separator else ():
        try:
            found: dict[str, typing.Any] = tomllib.loads(text)
            return found
        except tomllib.TOMLDecodeError:  # noqa: PERF203
            continue
    msg = f"--set {change!r} is not allowed; give SECTION.KEY=VALUE, e.g. rtl.architecture=stream"
    raise InputError(msg)


def _drop_other_layers(content: dict[str, typing.Any], changes: Mapping[str, typing.Any]) -> None:
    """Drop what the changes stand in place of, ``hidden`` and ``layers`` of a model: a card has one of them."""
    given, model = changes.get("model"), content.get("model")
    if isinstance(given, dict) and isinstance(model, dict):
        for name, other in (("hidden", "layers"), ("layers", "hidden")):
            if name in given and other not in given:
                model.pop(other, None)


def _merge(content: dict[str, typing.Any], changes: Mapping[str, typing.Any]) -> None:
    """Put values into nested tables."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            _merge(content[key], value)
        else:
            content[key] = value


def _describe(problem: typing.Any) -> str:
    """Say in words what pydantic found wrong."""
    location, kind = _without_tags(problem["loc"])
    where = ".".join(str(part) for part in location)
    where = where if kind is None else where.replace(str(location[2]), f"{location[2]} ({kind})", 1)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        return f"unknown key {where!r}{did_you_mean(str(location[-1]), known)} (allowed: {', '.join(known)})"
    if problem["type"] == "missing":
        return f"key {where!r} is missing"
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        given = problem["input"].get("kind") if isinstance(problem["input"], dict) else None
        what = f"key '{where}.kind' is missing" if given is None else f"{where}.kind = {given!r}"
        return f"{what}{did_you_mean(str(given or ''), _LAYERS)} (allowed: {', '.join(_LAYERS)})"
    text: str = problem["msg"].removeprefix("Value error, ")
    if not where:
        return text
    if isinstance(problem["input"], dict):
        return f"{where}: {text}"
    return f"{where} = {problem['input']!r}: {text[0].lower()}{text[1:]}"


_LAYERS: dict[str, type[BaseModel]] = {
    typing.get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in typing.get_args(LayerCard)
}
"""Kind of layer → its schema."""


def _without_tags(location: Sequence[Any]) -> tuple[list[Any], str | None]:
    """Return the keys that lead to a problem, and the kind of layer that pydantic names among them."""
    if location[:2] == ("model", "layers") and len(location) > 3:
        return [*location[:3], *location[4:]], str(location[3])
    return list(location), None


def _known_keys(location: Sequence[Any]) -> list[str]:
    model: type[BaseModel] = ModelCard
    keys, kind = _without_tags(location)
    if kind is not None:
        model, keys = _LAYERS[kind], keys[3:]
    for part in keys:
        annotation = model.model_fields[str(part)].annotation
        candidates = (annotation, *typing.get_args(annotation))
        model = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
