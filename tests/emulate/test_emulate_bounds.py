from __future__ import annotations

import numpy as np
import pytest
from support import dense_graph, random_graph

from l1dl.emulate.bounds import check_graph, sum_bound
from l1dl.emulate.engine import Emulator
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.nodes import Affine, Input

ACCUMULATOR = FixedSpec(True, 62, 62)


def with_largest_sum(total: int, source: FixedSpec, inputs: int = 3) -> np.ndarray:
    """Return weights of one column whose largest sum is `total`, with signs that alternate."""
    largest = max(source.maximum_code, -source.minimum_code)
    assert total % largest == 0
    share, rest = divmod(total // largest, inputs)
    signs = np.where(np.arange(inputs) % 2 == 0, 1, -1)
    return ((share + (np.arange(inputs) < rest)) * signs)[:, None].astype(np.int64)


@pytest.mark.parametrize(
    ("total", "bits", "dtype"),
    [
        (2**24 - 1, 24, np.float32),
        (2**24, 25, np.float32),
        (2**24 + 1, 25, np.float64),
        (2**25, 26, np.float64),
        (2**53 - 1, 53, np.float64),
        (2**53, 54, np.float64),
        (2**53 + 1, 54, np.int64),
        (2**61, 62, np.int64),
        (2**63 - 1, 63, np.int64),
    ],
)
def test_the_dtype_follows_from_the_bound_and_is_exact_there(total, bits, dtype):
    source = FixedSpec(False, 1, 1)
    weight = with_largest_sum(total, source)
    bound = sum_bound(weight, source)
    assert (bound.bits, bound.dtype) == (bits, dtype)
    rng = np.random.default_rng(1)
    for weights in (weight, -weight, np.abs(weight), -np.abs(weight)):
        events = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T.astype(np.int64)
        if np.abs(weights).max() < 2**61:
            net = dense_graph(weights.tolist(), source=source, accumulator=ACCUMULATOR)
            exact = [[sum(int(a) * int(b) for a, b in zip(event, weights[:, 0], strict=True))] for event in events]
            wrapped = [[(value + 2**61) % 2**62 - 2**61] for (value,) in exact]
            order = rng.permutation(len(events))
            assert Emulator(net).run(events[order]).tolist() == [wrapped[index] for index in order]


@pytest.mark.parametrize("width", [4, 12])
@pytest.mark.parametrize("total_bits", [24, 25, 53, 54])
def test_adversarial_events_at_the_bound_are_exact(width, total_bits):
    source = FixedSpec(True, width, width)
    largest = 2 ** (width - 1)
    weight = with_largest_sum((2**total_bits - largest) // largest * largest, source, inputs=7)
    rng = np.random.default_rng(total_bits)
    events = rng.choice([source.minimum_code, source.maximum_code, source.minimum_code + 1, -1, 1], (300, 7))
    events = np.concatenate([events, np.where(weight[:, 0] > 0, source.minimum_code, source.maximum_code)[None]])
    exact = (events.astype(object) @ weight.astype(object)).tolist()
    net = dense_graph(weight.tolist(), source=source, accumulator=ACCUMULATOR)
    assert Emulator(net).run(events).tolist() == exact


def test_sums_of_more_than_63_bits_are_refused():
    source = FixedSpec(False, 1, 1)
    assert sum_bound(np.array([[2**62], [-(2**62) + 1]]), source).bits == 63
    with pytest.raises(UnsupportedError, match=r"a sum of products needs 64 bits; at most 63 are supported"):
        sum_bound(np.array([[2**62], [-(2**62)]]), source)
    with pytest.raises(UnsupportedError, match=r"a sum of products needs 65 bits"):
        sum_bound(np.array([[2**62], [-(2**62)]]), FixedSpec(True, 2, 2))


SOURCE = FixedSpec(True, 4, 4)


@pytest.mark.parametrize("overflow", [Overflow.SAT, Overflow.SAT_SYM, Overflow.SAT_ZERO])
@pytest.mark.parametrize(
    ("weight", "bias", "signed", "width", "fits"),
    [
        ([[1]], [0], True, 4, True),
        ([[-1]], [0], True, 4, False),  # 8 does not fit
        ([[-1]], [0], True, 5, True),
        ([[2], [2]], [3], True, 6, True),  # -32 to 31
        ([[2], [2]], [4], True, 6, False),
        ([[2], [2]], [3], True, 7, True),
        ([[1]], [0], False, 5, False),  # unsigned: negative sums would end at zero
        ([[1]], [15], False, 6, False),
    ],
)
def test_saturating_accumulators_must_have_room(overflow, weight, bias, signed, width, fits):
    accumulator = FixedSpec(signed, width, width, overflow=overflow)
    net = dense_graph(weight, bias=bias, source=SOURCE, accumulator=accumulator)
    if fits and not (overflow is Overflow.SAT_SYM and width in (4, 6)):  # there the lowest code has no room
        check_graph(net)
        return
    with pytest.raises(
        UnsupportedError, match=r"layer 'dense': its accumulator u?fixed<.*> saturates and can overflow"
    ):
        check_graph(net)


def test_saturating_unsigned_accumulators_of_positive_products_are_exact():
    source = FixedSpec(False, 4, 4)
    accumulator = FixedSpec(False, 6, 6, overflow=Overflow.SAT)
    net = dense_graph([[1, 2], [2, 1]], bias=[3, 0], source=source, accumulator=accumulator)
    events = np.array([[0, 0], [15, 15], [1, 14]])
    assert Emulator(net).run(events).tolist() == [[3, 0], [48, 45], [32, 16]]


def test_saturating_accumulators_that_round_products_need_room_for_the_rounding():
    source = FixedSpec(False, 2, 0)  # 0 to 3/4
    weight_spec = FixedSpec(True, 4, 4)
    for width, fits in ((4, False), (6, True)):
        accumulator = FixedSpec(True, width, width, Rounding.RND, Overflow.SAT)
        net = dense_graph([[3], [3], [3]], source=source, accumulator=accumulator, weight_spec=weight_spec)
        if fits:
            assert Emulator(net).run(np.array([[3, 3, 3], [1, 1, 1]])).tolist() == [[6], [3]]
        else:
            with pytest.raises(UnsupportedError, match="saturates and can overflow"):
                check_graph(net)


def test_wide_affine_layers_are_refused():
    source, scale, ones = FixedSpec(True, 30, 30), FixedSpec(True, 30, 30), np.ones(1, dtype=np.int64)

    def net(offset: FixedSpec) -> FixedGraph:
        affine = Affine("a", ("x",), (1,), SOURCE, ones, scale, ones, offset)
        return FixedGraph("net", (Input("x", (), (1,), source), affine), ("a",), "test 1")

    check_graph(net(FixedSpec(True, 8, 8)))
    # 40 more fractional bits in the offset: the product is shifted left by 40 bits.
    with pytest.raises(UnsupportedError, match=r"layer 'a' needs 100 bits; at most 62 are supported"):
        check_graph(net(FixedSpec(True, 8, -32)))
    with pytest.raises(UnsupportedError, match=r"layer 'a' needs 68 bits"):
        check_graph(net(FixedSpec(True, 8, 68)))


def test_graphs_of_several_inputs_or_outputs_are_refused():
    graph = random_graph(1)
    two = FixedGraph("net", (*graph.nodes, Input("y", (), (1,), SOURCE)), graph.outputs, "test 1")
    with pytest.raises(UnsupportedError, match=r"graph 'net' has 2 inputs and 1 outputs; one of each is supported"):
        Emulator(two)
    with pytest.raises(UnsupportedError, match=r"has 1 inputs and 2 outputs"):
        Emulator(FixedGraph("net", graph.nodes, ("x", "n0"), "test 1"))
