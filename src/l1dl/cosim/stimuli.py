"""The vectors of a co-simulation: corners and random codes, besides the events of the test split."""

from __future__ import annotations

import numpy as np

from l1dl.fixed import Codes
from l1dl.ports import Ports, count_values, value_specs


def corner_codes(ports: Ports) -> Codes:
    """Return the corners of the input space as rows.

    All inputs at zero, at plus and minus one code, at the ends of their ranges and one code inside
    them; alternating ends; and each input alone at its extremes, with the others at zero.
    """
    low, high = _ranges(ports)
    zero = np.zeros_like(low)
    levels = [zero, np.maximum(low, -1), np.minimum(high, 1), low, low + 1, high, high - 1]
    uniform = list(dict.fromkeys(tuple(level.tolist()) for level in levels))
    even = np.arange(len(low)) % 2 == 0
    alternating = [np.where(even, low, high), np.where(even, high, low)]
    alone = np.concatenate([np.diag(low), np.diag(high)])
    return np.concatenate([np.array(uniform, dtype=np.int64), alternating, alone])


def random_codes(events: int, ports: Ports, seed: int) -> Codes:
    """Return rows of codes drawn evenly from the whole range of each input."""
    generator = np.random.default_rng(seed)
    low, high = _ranges(ports)
    return generator.integers(low, high, (events, len(low)), dtype=np.int64, endpoint=True)


def shuffled_codes(test: Codes, events: int, seed: int) -> Codes:
    """Return rows whose inputs are drawn from the test events, each on its own.

    They stay where real events are, but with combinations of inputs that no real event has.
    """
    generator = np.random.default_rng([seed, 1])
    columns = [generator.choice(column, events if len(test) else 0) for column in test.T]
    return np.stack(columns, axis=1)


def all_vectors(test: Codes, ports: Ports, *, events: int, seed: int) -> dict[str, Codes]:
    """Return the vectors of a proof as rows: ``test``, ``corner``, ``random`` and ``shuffled``.

    Parameters
    ----------
    test
        Rows of input codes of the test events.
    ports
        The inputs.
    events, seed
        Number of random vectors, and of half as many shuffled ones; their seed.
    """
    assert test.shape[1] == count_values(ports)
    return {
        "test": test,
        "corner": corner_codes(ports),
        "random": random_codes(events, ports, seed),
        "shuffled": shuffled_codes(test, events // 2, seed),
    }


def _ranges(ports: Ports) -> tuple[Codes, Codes]:
    """Return the lowest and the highest code of each value of a row."""
    specs = value_specs(ports)
    low = np.array([spec.minimum_code for spec in specs], dtype=np.int64)
    return low, np.array([spec.maximum_code for spec in specs], dtype=np.int64)
