"""What a scan varies: keys of the card and the shape of the network, and the values that each may take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from l1dl.card import ConvCard, DenseCard, LayerCard, ModelCard, QuantiserCard, to_toml
from l1dl.errors import InputError, did_you_mean

_NUMBER = r"[+-]?\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?")

BITS = {"weight_bits": "weight", "activation_bits": "activation"}
"""Word → the type of a layer whose bits it stands for."""

WORDS: dict[str, tuple[str, ...]] = {
    "depth": ("model.hidden", "model.layers"),
    "units": ("model.hidden", "model.layers"),
    "weight_bits": ("model.layers", "quantisation.weight"),
    "activation_bits": ("model.layers", "quantisation.activation"),
    "beta": ("hgq2.beta",),
}
"""What varies besides the keys of the card, and the keys that it writes."""

LOGITS = "logits"
"""Name of the last layer, whose weights have the type of ``[quantisation]``."""

HIGHEST_BITS = 8
"""Most bits of weights and values that are tried unless the card has more, or the user asks for more."""


@dataclass(frozen=True)
class Range:
    """All numbers between two ends, both included; integers if the ends are.

    Attributes
    ----------
    log
        Whether their logarithm is drawn evenly.
    """

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether the numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __contains__(self, value: Any) -> bool:
        """Say whether a number lies between the ends."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values to check the domain with."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """Some values, as TOML."""

    samples: tuple[str, ...]

    def __contains__(self, value: Any) -> bool:
        """Say whether this is one of the values."""
        return value in self.samples


Domain = Range | Choice
Draw = Callable[[str, Domain], Any]
"""Called with the name of what varies and its domain; returns a value of it."""


def parse_vary(text: str) -> tuple[str, Domain]:
    """Read ``KEY=LOW..HIGH``, ``KEY=LOW..HIGH:log`` or ``KEY=A,B,C``.

    Raises
    ------
    InputError
        It has another form, or the range is empty.
    """
    key, separator, values = (part.strip() for part in text.partition("="))
    if not (key and separator and values):
        raise InputError(_malformed(text, "it has no key or no values"))
    found = _RANGE.fullmatch(values)
    if found is None:
        choices = tuple(_split(values))
        if not all(choices):
            raise InputError(_malformed(text, "a value is empty"))
        return key, Choice(tuple(dict.fromkeys(choices)))
    low, high = (_number(end) for end in found.groups()[:2])
    if low > high:
        raise InputError(_malformed(text, "the range goes down"))
    if found[3] and low <= 0:
        raise InputError(_malformed(text, "a logarithmic range must begin above 0"))
    return key, Range(low, high, bool(found[3])) if low < high else Choice((found[1],))


def _malformed(text: str, what: str) -> str:
    return (
        f"--vary {text!r}: {what}; give KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=A,B,C, e.g. hgq2.ebops=300..20000:log"
    )


def _number(text: str) -> float:
    return int(text) if re.fullmatch(r"[+-]?[\d_]+", text) else float(text)


def _split(text: str) -> Iterator[str]:
    """Split at the commas that stand in no bracket and no quotes."""
    depth, quoted, start = 0, "", 0
    for index, letter in enumerate(text):
        if quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "\"'":
            quoted = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth == 0:
            yield text[start:index].strip()
            start = index + 1
    yield text[start:].strip()


@dataclass(frozen=True)
class Space:
    """All networks that a scan may try.

    Attributes
    ----------
    card
        The card that is varied.
    domains
        Key of the card or one of `WORDS` → its values. A word may name a layer, as ``units.dense_0``, and
        ``weight_bits.logits`` is the last one.
    """

    card: ModelCard
    domains: Mapping[str, Domain]

    def changes(self, draw: Draw) -> tuple[str, ...]:
        """Return a network as ``section.key=value``, which the card takes as it takes ``--set``."""
        found = [*self._layers(draw)]
        for name, domain in self.domains.items():
            if _word(name) is None:
                found.append(f"{name}={_text(draw(name, domain))}")
        if "beta" in self.domains and self.card.hgq2 is not None:
            found.append(f"hgq2.beta=[{_text(draw('beta', self.domains['beta']))}, {self.card.hgq2.beta[1]!r}]")
        return tuple(found)

    def own(self) -> dict[str, Any]:
        """Return what the card itself has, by name, where it lies in the space."""
        found: dict[str, Any] = {}

        def draw(name: str, domain: Domain) -> Any:
            value = self._own(name)
            value = to_toml(value) if isinstance(domain, Choice) and not isinstance(value, str) else value
            if value in domain:
                found[name] = value
                return value
            return domain.samples[0]

        self.changes(draw)
        return found

    def check(self, load: Callable[[Sequence[str]], ModelCard]) -> None:
        """Refuse a key that the card does not have, and values that it does not take if nothing else varies.

        One end of a range may be refused: not all combinations need be cards.

        Parameters
        ----------
        load
            Returns the card with changes.

        Raises
        ------
        InputError
            The text is that of the card.
        """
        for name, domain in self.domains.items():
            alone, problems = Space(self.card, {name: domain}), []
            for sample in domain.samples:
                try:
                    load(alone.changes(lambda _name, _domain, sample=sample: sample))  # type: ignore[misc]
                except InputError as error:  # noqa: PERF203
                    problems.append(error)
            if len(problems) > isinstance(domain, Range):
                raise problems[0]

    def _layers(self, draw: Draw) -> Iterator[str]:
        """Yield the hidden layers, with types of their own where bits vary, and the type of the logits."""
        words = {word for name in self.domains if (word := _word(name)) not in (None, "beta")}
        if not words:
            return
        bits = not words.isdisjoint(BITS)
        layers = [self._layer(name, layer, draw, bits=bits) for name, layer in self._hidden(draw)]
        if self.card.model.hidden is not None and not bits:
            yield f"model.hidden={to_toml([layer['units'] for layer in layers])}"
        else:
            yield f"model.layers={to_toml(layers)}"
        domain = self._find("weight_bits", LOGITS)
        if domain is not None:
            yield f"quantisation.weight.bits={_integer('weight_bits', draw(f'weight_bits.{LOGITS}', domain))}"

    def _hidden(self, draw: Draw) -> list[tuple[str, LayerCard]]:
        layers = list(self.card.model.named())
        if "depth" not in self.domains:
            return layers
        depth = _integer("depth", draw("depth", self.domains["depth"]))
        return [(f"dense_{index}", layers[min(index, len(layers) - 1)][1]) for index in range(depth)]

    def _layer(self, name: str, layer: LayerCard, draw: Draw, *, bits: bool) -> dict[str, Any]:
        found = {"kind": layer.kind, **layer.model_dump(exclude_unset=True, exclude_none=True)}
        if not isinstance(layer, (ConvCard, DenseCard)):
            return found
        size = "filters" if isinstance(layer, ConvCard) else "units"
        if (domain := self._find("units", name)) is not None:
            found[size] = _integer("units", draw(f"units.{name}", domain))
        for word, part in BITS.items() if bits else ():
            own = self._type(layer, part)
            domain = self._find(word, name)
            drawn = own.bits if domain is None else _integer(word, draw(f"{word}.{name}", domain))
            found[part] = {"bits": drawn, "integer": own.integer}
        return found

    def _find(self, word: str, layer: str) -> Domain | None:
        return self.domains.get(f"{word}.{layer}", self.domains.get(word))

    def _type(self, layer: LayerCard | None, part: str) -> QuantiserCard:
        found = getattr(layer, part, None) or getattr(self.card.quantisation, part)
        assert isinstance(found, QuantiserCard), "only cards of QKeras have bits"
        return found

    def _own(self, name: str) -> Any:
        """Return what the card has; None where it has nothing of that name."""
        word, layers = _word(name), dict(self.card.model.named())
        layer = layers.get(name.partition(".")[2])
        if word == "depth":
            return len(layers)
        if word == "beta":
            return self.card.hgq2.beta[0] if self.card.hgq2 else None
        if word == "units":
            return getattr(layer, "units", getattr(layer, "filters", None))
        if word is not None:
            return self._type(layer, BITS[word]).bits
        found: Any = self.card
        for part in name.split("."):
            found = getattr(found, part, None)
        return found.model_dump(exclude_none=True) if isinstance(found, BaseModel) else found


def _word(name: str) -> str | None:
    head = name.partition(".")[0]
    return head if head in WORDS else None


def _integer(word: str, value: Any) -> int:
    try:
        return int(value)
    except ValueError:
        msg = f"--vary {word}: {value!r} is no integer"
        raise InputError(msg) from None


def _text(value: Any) -> str:
    """Return a drawn value as TOML; a float with four digits, so that the text says all of it."""
    return value if isinstance(value, str) else repr(float(f"{value:.4g}") if isinstance(value, float) else value)


def make_space(card: ModelCard, varied: Sequence[str], fixed: Sequence[str] = (), *, usual: bool = True) -> Space:
    """Return the space of a card: what is usual for its engine, and in place of it what the user varies.

    Parameters
    ----------
    card
        With the `fixed` changes.
    varied
        As `parse_vary` reads them.
    fixed
        Changes of the card: what they set is not varied by default.
    usual
        Whether to vary anything besides `varied`.

    Raises
    ------
    InputError
        A text that cannot be read, a word or a layer that is not known, or two that vary the same.
    """
    given: dict[str, Domain] = {}
    for text in varied:
        name, domain = parse_vary(text)
        if name in given:
            msg = f"--vary {name} is given twice"
            raise InputError(msg)
        given[name] = domain
    for name in given:
        _check_name(card, name, given)
    names = {*given, *(change.partition("=")[0].strip() for change in fixed)}
    domains = {
        name: domain for name, domain in (_usual(card) if usual else {}).items()
        if not any(_overlap(name, other) for other in names)
    }  # fmt: skip
    domains |= given
    if not domains:
        msg = "nothing varies; give --vary KEY=VALUES, e.g. training.epochs=10,20"
        raise InputError(msg)
    return Space(card, domains)


def _check_name(card: ModelCard, name: str, given: Mapping[str, Domain]) -> None:
    word, layer = _word(name), name.partition(".")[2]
    if word is None:
        if "." not in name and name not in ModelCard.model_fields:
            msg = f"--vary {name} is unknown{did_you_mean(name, WORDS)} (allowed: SECTION.KEY, {', '.join(WORDS)})"
            raise InputError(msg)
        clash = [
            other for other in given
            if other != name and _word(other) and any(_within(key, name) for key in WORDS[_word(other) or ""])
        ]  # fmt: skip
        if clash:
            msg = f"--vary {name} and --vary {clash[0]} write the same keys; give one of them"
            raise InputError(msg)
        return
    if layer:
        layers = [*(key for key, each in card.model.named() if isinstance(each, (ConvCard, DenseCard))), LOGITS]
        free = card.model.hidden is not None and re.fullmatch(r"dense_\d+", layer)
        without = word in ("depth", "beta") or (word != "weight_bits" and layer == LOGITS)
        if without or (layer not in layers and not free):
            known = f"{did_you_mean(layer, layers)} (layers: {', '.join(layers)})"
            msg = f"--vary {name}: no layer {layer!r} has {word}{known}"
            raise InputError(msg)
    if word == "depth" and card.model.hidden is None:
        msg = "--vary depth is for cards with model.hidden; this one has [[model.layers]]"
        raise InputError(msg)
    engine = {"beta": "hgq2", **dict.fromkeys(BITS, "qkeras")}.get(word, card.model.engine)
    if engine != card.model.engine:
        msg = f'--vary {word} is for engine = "{engine}"; this card has "{card.model.engine}"'
        raise InputError(msg)


def _overlap(usual: str, given: str) -> bool:
    """Say whether a usual name must give way to one that the user gives."""
    word = _word(usual)
    if word is None:
        return _within(usual, given)
    if _word(given):
        return given in (usual, word)
    keys = WORDS[word]
    return any(_within(key, given) for key in keys if word not in BITS or key != "model.layers")


def _within(key: str, other: str) -> bool:
    """Say whether one of two keys holds the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _usual(card: ModelCard) -> dict[str, Domain]:
    """Return what varies by default: the network up to a layer more than the card has, and its bits or EBOPs."""
    found: dict[str, Domain] = {}
    if card.model.hidden is not None:
        hidden = card.model.hidden
        found["depth"] = Range(1, min(len(hidden) + 1, 16))
        found["units"] = _between(min(max(hidden), max(4, min(hidden) // 4)), max(hidden))
    else:
        for name, layer in card.model.named():
            size = getattr(layer, "units", getattr(layer, "filters", None))
            if size is not None:
                found[f"units.{name}"] = _between(max(1, size // 2), size)
    if card.hgq2 is not None:
        low, high = card.hgq2.beta
        found["beta"] = Range(low / 10, min(10 * low, high), log=True)
        found["hgq2.ebops"] = _between(max(1, card.hgq2.ebops // 10), 3 * card.hgq2.ebops)
        return found
    types = card.quantisation
    for word, part in BITS.items():
        own: QuantiserCard = getattr(types, part)
        found[word] = Range(max(2, own.integer + 1), max(HIGHEST_BITS, own.bits, own.integer + 2))
    found["training.sparsity"] = Choice(("0.0", "0.25", "0.5", "0.75"))
    return found


def _between(low: int, high: int) -> Domain:
    return Range(low, high, log=True) if low < high else Choice((str(low),))
