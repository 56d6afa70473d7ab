"""What a jet sample is made of: how many jets, which seed, which detector, in which portions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, TypeVar

from l1dl.errors import InputError, did_you_mean

CLASSES = ("g", "q", "W", "Z", "t")
"""The five jet classes in label order: gluon, light quark, W, Z and top (arXiv:1804.06913)."""

EVENTS_PER_SHARD = 100_000
SHARDS_PER_CLASS = 100_000
_MAX_SEED = 2**63 - 1
_MAX_SHARD_JETS = 20_000
_MAX_BATCH_EVENTS = 1_000

Word = TypeVar("Word", bound=Enum)


class Detector(str, Enum):
    """The detector that smears the particles; see `l1dl.data.detector` for the numbers."""

    FINE = "fine"
    COARSE = "coarse"


class Channel(str, Enum):
    """What an image of a jet shows in each pixel; see `l1dl.data.images` for the encodings."""

    PT = "pt"
    """Transverse momentum."""
    CHARGED = "charged"
    """Transverse momentum of tracks."""
    NEUTRAL = "neutral"
    """Transverse momentum of calorimeter cells."""
    MULTIPLICITY = "multiplicity"
    """Number of constituents."""


@dataclass(frozen=True)
class JetSettings:
    """Settings of a jet sample; the same settings give the same jets, bit for bit, on any number of processes.

    Attributes
    ----------
    jets
        Number of jets, spread evenly over `CLASSES` (the first classes get one more if it does not divide).
    seed
        Master seed; a shard draws from ``SeedSequence([seed, class, shard])``.
    detector
        Detector response, ``"fine"`` or ``"coarse"``.
    shard_jets
        Jets per shard, the unit of work and of resuming.
    batch_events
        Events that Pythia makes at a time; it sets the order of the random numbers, hence it is a setting.
    channels
        Channels of the images; neither channels nor `constituents` change the events.
    constituents
        Whether the hardest constituents of each jet are kept.
    """

    jets: int
    seed: int = 1
    detector: Detector = Detector.FINE
    shard_jets: int = 1_000
    batch_events: int = 100
    channels: tuple[Channel, ...] = (Channel.PT,)
    constituents: bool = True

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        _check_integer("shard_jets", self.shard_jets, 1, _MAX_SHARD_JETS)
        _check_integer("jets", self.jets, len(CLASSES), len(CLASSES) * self.shard_jets * SHARDS_PER_CLASS)
        _check_integer("seed", self.seed, 0, _MAX_SEED)
        _check_integer("batch_events", self.batch_events, 1, _MAX_BATCH_EVENTS)
        object.__setattr__(self, "detector", _check_word("detector", self.detector, Detector))
        channels = tuple(_check_word("channel", channel, Channel) for channel in self.channels)
        if not channels or len(set(channels)) != len(channels):
            given = ", ".join(channel.value for channel in channels) or "nothing"
            msg = f"channels are {given}; allowed: at least one, each once, of {', '.join(Channel)}"
            raise InputError(msg)
        object.__setattr__(self, "channels", channels)

    def shards(self) -> list[ShardKey]:
        """Return every shard of the sample, ordered by index, then class."""
        keys = []
        for label in range(len(CLASSES)):
            jets = self.jets // len(CLASSES) + (label < self.jets % len(CLASSES))
            full, rest = divmod(jets, self.shard_jets)
            sizes = [self.shard_jets] * full + [rest] * (rest > 0)
            keys += [ShardKey(label, index, size) for index, size in enumerate(sizes)]
        return sorted(keys, key=lambda key: (key.index, key.label))

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object; what only newer samples may have is left out where it is not used."""
        content = {**asdict(self), "detector": self.detector.value, "channels": [name.value for name in self.channels]}
        if self.channels == (Channel.PT,):
            del content["channels"]
        if self.constituents:
            del content["constituents"]
        return content


@dataclass(frozen=True)
class ShardKey:
    """One shard: its class label, its index within the class, and its number of jets."""

    label: int
    index: int
    jets: int

    @property
    def name(self) -> str:
        """File name stem of the shard, such as ``W-00003``."""
        return f"{CLASSES[self.label]}-{self.index:05d}"

    @property
    def first_event(self) -> int:
        """Number of the shard's first event; every shard has `EVENTS_PER_SHARD` numbers of its own."""
        return (self.label * SHARDS_PER_CLASS + self.index) * EVENTS_PER_SHARD


def _check_word(name: str, value: object, kind: type[Word]) -> Word:
    known = [word.value for word in kind]
    if value not in known:
        msg = f"{name} is {value!r}; allowed: {', '.join(known)}"
        raise InputError(msg + did_you_mean(str(value), known))
    return kind(value)


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        msg = f"{name} is {value!r}; allowed: an integer from {low} to {high}"
        raise InputError(msg)
