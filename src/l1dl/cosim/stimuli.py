"""The vectors of a co-simulation: corners and random codes, besides the events of the test split."""

from __future__ import annotations

import numpy as np

from l1dl.fixed import Codes, FixedSpec


def corner_codes(inputs: int, spec: FixedSpec) -> Codes:
    """Return the corners of the input space, shape (events, inputs).

    All inputs at zero, at plus and minus one code, at the ends of the range and one code inside
    them; alternating ends; and each input alone at its extremes, with the others at zero.
    """
    low, high = spec.minimum_code, spec.maximum_code
    levels = sorted({0, max(low, -1), min(high, 1), low, low + 1, high, high - 1})
    uniform = [np.full(inputs, level) for level in levels]
    even = np.arange(inputs) % 2 == 0
    alternating = [np.where(even, low, high), np.where(even, high, low)]
    alone = np.zeros((2 * inputs, inputs), dtype=np.int64)
    alone[np.arange(inputs), np.arange(inputs)] = low
    alone[np.arange(inputs) + inputs, np.arange(inputs)] = high
    return np.concatenate([np.array([*uniform, *alternating], dtype=np.int64), alone])


def random_codes(events: int, inputs: int, spec: FixedSpec, seed: int) -> Codes:
    """Return codes drawn evenly from the whole range of the input type, shape (events, inputs)."""
    generator = np.random.default_rng(seed)
    return generator.integers(spec.minimum_code, spec.maximum_code, (events, inputs), dtype=np.int64, endpoint=True)


def shuffled_codes(test: Codes, events: int, seed: int) -> Codes:
    """Return events whose inputs are drawn from the test events, each on its own, shape (events, inputs).

    They stay where real events are, but with combinations of inputs that no real event has.
    """
    generator = np.random.default_rng([seed, 1])
    columns = [generator.choice(column, events) for column in test.T]
    return np.stack(columns, axis=1)


def all_vectors(test: Codes, spec: FixedSpec, *, events: int, seed: int) -> dict[str, Codes]:
    """Return the vectors of a proof: ``test``, ``corner``, ``random`` and ``shuffled``, shape (events, inputs) each.

    Parameters
    ----------
    test
        Input codes of the test events, shape (N, inputs).
    events, seed
        Number of random vectors, and of half as many shuffled ones; their seed.
    """
    inputs = test.shape[1]
    return {
        "test": test,
        "corner": corner_codes(inputs, spec),
        "random": random_codes(events, inputs, spec, seed),
        "shuffled": shuffled_codes(test, events // 2, seed),
    }
