"""How beta goes from epoch to epoch, and which models are kept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from l1dl.card import Hgq2Card
from l1dl.train.bits import Candidate, Front, Price


def test_beta_grows_evenly_in_the_logarithm():
    price = Price(Hgq2Card(ebops=1, steer=False, beta=[1e-6, 1e-2]), epochs=5)
    assert [price.beta(epoch, []) for epoch in range(5)] == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2])


def steered(settings: Hgq2Card, epochs: int, *, speed: float, balance: float) -> tuple[list[float], list[float]]:
    """Return betas and EBOPs of a model that comes to have 5000 at the beta `balance`; they grow slowly."""
    price, ebops, betas = Price(settings, epochs), [20_000.0], []
    for epoch in range(epochs):
        betas.append(price.beta(epoch, ebops))
        ratio = 5000 * (betas[-1] / balance) ** -0.5 / ebops[-1]
        ebops.append(ebops[-1] * ratio ** (speed if ratio < 1 else speed / 10))
    return betas, ebops[1:]


@pytest.mark.parametrize("speed", [0.01, 0.05])
@pytest.mark.parametrize("balance", [1e-6, 1e-5])
@pytest.mark.parametrize("epochs", [120, 600, 2000])
def test_steering_ends_near_what_is_wanted_and_below_it(speed, balance, epochs):
    settings = Hgq2Card(ebops=5000, beta=[1e-7, 3e-5])
    betas, ebops = steered(settings, epochs, speed=speed * 600 / epochs, balance=balance)
    assert all(1e-7 <= beta <= 3.001e-5 for beta in betas)
    assert max(ebops[-epochs // 6 :]) <= 5050
    assert max(ebops[-20:]) <= 5000
    assert min(ebops) > 4600


def test_a_beta_at_its_end_does_not_wind_up():
    price = Price(Hgq2Card(ebops=100, beta=[1e-8, 1e-5]), epochs=2000)
    for epoch in range(1000):
        assert price.beta(epoch, [1e6, 1e6]) <= 1e-5 * 1.0001
    assert price.beta(1000, [1e6, 1e6]) == pytest.approx(1e-5)
    beta = [price.beta(1001 + epoch, [1e6, 50.0]) for epoch in range(400)]  # half of what is wanted
    assert beta[0] < 1e-6
    assert beta[-1] == pytest.approx(1e-8)


def candidate(epoch: int, ebops: float, loss: float) -> Candidate:
    return Candidate(epoch, ebops, loss, 0.5, None)


def test_the_front_has_the_best_of_each_level_and_nothing_that_fewer_ebops_beat():
    front = Front()
    assert front.add(candidate(0, 1000, 0.5))
    assert not front.add(candidate(1, 1001, 0.6))
    assert front.wants(1001, 0.4)
    assert front.add(candidate(2, 1001, 0.4))
    assert front.add(candidate(3, 2000, 0.45))
    assert front.add(candidate(4, 500, 0.7))
    assert front.add(candidate(5, 4000, 0.3))
    assert [each.epoch for each in front.candidates()] == [4, 2, 5]


def test_the_front_does_not_depend_on_the_order():
    drawn = np.random.default_rng(1).uniform([100, 0.1], [10_000, 1], (30, 2))
    candidates = [candidate(epoch, ebops, loss) for epoch, (ebops, loss) in enumerate(drawn)]
    ways = [Front(order).candidates() for order in (candidates, candidates[::-1])]
    assert [each.epoch for each in ways[0]] == [each.epoch for each in ways[1]]
    for fewer, more in itertools.pairwise(ways[0]):
        assert fewer.ebops < more.ebops
        assert fewer.loss > more.loss
