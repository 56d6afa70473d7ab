from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import converted, run_outputs, valued
from support import dense_graph, random_rows

from l1dl.emulate.bounds import check_graph, prove_exactness, sum_bound
from l1dl.emulate.engine import Emulator
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.nodes import (
    Activation,
    Affine,
    ArgMax,
    Clip,
    Dense,
    Function,
    Input,
    LeakyRelu,
    Merge,
    Node,
    Operation,
    Rearrange,
    Reduce,
    Reduction,
    Table,
    Window,
)

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
        (2**24, 24, np.float32),
        (2**24 + 1, 25, np.float64),
        (2**25, 25, np.float64),
        (2**53 - 1, 53, np.float64),
        (2**53, 53, np.float64),
        (2**53 + 1, 54, np.int64),
        (2**61, 62, np.int64),
        (2**63 - 1, 63, np.int64),
    ],
)
def test_the_dtype_follows_from_the_bound_and_is_exact_there(total, bits, dtype):
    source = FixedSpec(False, 1, 1)
    weight = with_largest_sum(total, source)
    bound = sum_bound(weight, 0, 1)
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
    assert sum_bound(np.array([[2**62], [-(2**62) + 1]]), 0, 1).bits == 63
    with pytest.raises(UnsupportedError, match=r"a sum of products needs 64 bits; at most 63 are supported"):
        sum_bound(np.array([[2**62], [-(2**62)]]), 0, 1)
    with pytest.raises(UnsupportedError, match=r"a sum of products needs 65 bits"):
        sum_bound(np.array([[2**62], [-(2**62)]]), -2, 1)


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
    for width, fits in ((3, False), (4, True)):  # 9/4 is rounded to 2, thrice
        accumulator = FixedSpec(True, width, width, Rounding.RND, Overflow.SAT)
        net = dense_graph([[3], [3], [3]], source=source, accumulator=accumulator, weight_spec=weight_spec)
        if fits:
            assert Emulator(net).run(np.array([[3, 3, 3], [1, 1, 1]])).tolist() == [[6], [3]]
        else:
            with pytest.raises(UnsupportedError, match="saturates and can overflow"):
                check_graph(net)


def net(*nodes: Node) -> FixedGraph:
    return FixedGraph("net", nodes, (nodes[-1].name,), "test 1")


def codes_of(graph: FixedGraph) -> tuple[int, int]:
    """Return the codes that the last node is said to reach."""
    return check_graph(graph)[graph.nodes[-1].name].codes


def affine(source: FixedSpec, scale: FixedSpec, offset: FixedSpec, *, codes: tuple[int, int]) -> FixedGraph:
    node = Affine("a", ("x",), (1,), SOURCE, np.array(codes[:1]), scale, np.array(codes[1:]), offset)
    return net(Input("x", (), (1,), source), node)


def test_wide_affine_layers_are_refused():
    source, scale = FixedSpec(True, 30, 30), FixedSpec(True, 34, 34)
    fits = affine(source, scale, FixedSpec(True, 8, 8), codes=(2**33 - 1, 1))
    assert run_outputs(fits, np.array([[-(2**29)]])).tolist() == Emulator(fits).run(np.array([[-(2**29)]])).tolist()
    # Fractional bits in the offset shift the product left.
    with pytest.raises(UnsupportedError, match=r"layer 'a' needs 67 bits; at most 63 are supported: use narrower"):
        check_graph(affine(source, scale, FixedSpec(True, 8, 3), codes=(2**33 - 1, 1)))
    with pytest.raises(UnsupportedError, match=r"layer 'a' needs 64 bits"):
        check_graph(affine(source, scale, FixedSpec(True, 8, 65), codes=(1, 127)))


BIG = FixedSpec(True, 40, 40)
ONE = np.ones(1, dtype=np.int64)
FINE = FixedSpec(True, 62, 22)
"""Numbers below 2**40, with 40 fractional bits: codes of `BIG` do not fit."""


@pytest.mark.parametrize(
    "node",
    [
        Activation("n", ("x",), (2,), FINE, Function.LINEAR),
        Activation("n", ("x",), (2,), FINE, Function.RELU),
        Clip("n", ("x",), (2,), BIG, -1.0, 2.0**20 + 2.0**-30),
        Clip("n", ("x",), (2,), FINE, -(2.0**39), 2.0**39),
        LeakyRelu("n", ("x",), (2,), BIG, ONE, FixedSpec(True, 2, -28)),
        LeakyRelu("n", ("x",), (2,), BIG, ONE * 2**30, FixedSpec(True, 32, 32)),
        Table("n", ("x",), (2,), BIG, FixedSpec(True, 2, -40), np.zeros(4, dtype=np.int64), BIG),
        Merge("n", ("x", "x"), (2,), BIG, Operation.MULTIPLY),
        Merge("n", ("x", "fine"), (2,), BIG, Operation.ADD),
        Merge("n", ("fine", "x"), (2,), BIG, Operation.MAXIMUM),
        Reduce("n", ("x",), (), FINE, Reduction.SUM, (0,)),
        Reduce("n", ("x",), (), FINE, Reduction.MAXIMUM, (0,)),
        Rearrange("n", ("x",), (2,), FINE, np.arange(2)),
        ArgMax("n", ("x",), (2,), FixedSpec(True, 62, -10)),
        Affine("n", ("x",), (2,), FINE, ONE, SOURCE, ONE, SOURCE),
        Dense("n", ("x",), (1,), FINE, np.ones((2, 1), dtype=np.int64), SOURCE, ONE, SOURCE, BIG),
        Dense("n", ("x",), (1,), BIG, np.ones((2, 1), dtype=np.int64), SOURCE, ONE, SOURCE, FINE),
        Dense("n", ("x",), (1,), BIG, np.ones((2, 1), dtype=np.int64), SOURCE, ONE, BIG, FixedSpec(True, 50, -20)),
    ],
)  # fmt: skip
def test_values_of_more_than_63_bits_are_refused(node):
    inputs = [Input("x", (), (2,), BIG), Input("fine", (), (2,), FINE)]
    with pytest.raises(
        UnsupportedError, match=r"layer 'n' needs \d+ bits; at most 63 are supported: use narrower types"
    ):
        check_graph(net(*inputs, node))


def test_wide_windows_are_refused():
    node = Window("n", ("x",), (1, 2), FINE, (2,), (1,), (0, 0), 0)
    with pytest.raises(UnsupportedError, match=r"layer 'n' needs 80 bits"):
        check_graph(net(Input("x", (), (2, 1), BIG), node))


def test_ranges_follow_the_values_and_not_only_the_types():
    source = Input("x", (), (2,), SOURCE)
    wide = FixedSpec(True, 12, 12)
    relu = Activation("r", ("x",), (2,), wide, Function.RELU)
    assert codes_of(net(source, relu)) == (0, 7)
    assert codes_of(net(source, Clip("c", ("x",), (2,), wide, -2.0, 3.5))) == (-2, 3)
    assert codes_of(net(source, relu, Merge("m", ("x", "r"), (2,), wide, Operation.MULTIPLY))) == (-56, 49)
    assert codes_of(net(source, relu, Merge("m", ("x", "r"), (2,), wide, Operation.SUBTRACT))) == (-15, 7)
    assert codes_of(net(source, relu, Merge("m", ("x", "r"), (2,), wide, Operation.MAXIMUM))) == (0, 7)
    assert codes_of(net(source, relu, Merge("m", ("x", "r"), (2,), wide, Operation.MINIMUM))) == (-8, 7)
    assert codes_of(net(source, relu, Reduce("s", ("r",), (), wide, Reduction.SUM, (0,)))) == (0, 14)
    slope = LeakyRelu("l", ("x",), (2,), wide, np.array([-3, 2]), wide)
    assert codes_of(net(source, slope)) == (-16, 24)
    table = Table("t", ("r",), (2,), wide, SOURCE, np.arange(16) * 3, wide)
    assert codes_of(net(source, relu, table)) == (24, 45)  # entries of negative codes are out of reach
    assert codes_of(net(source, ArgMax("a", ("x",), (2,), FixedSpec(True, 4, 3)))) == (0, 2)
    assert codes_of(net(source, relu, Rearrange("p", ("r",), (2,), wide, np.array([0, -1])))) == (0, 7)
    upper = Clip("c", ("x",), (2,), wide, 2.0, 3.0)
    assert codes_of(net(source, upper, Rearrange("p", ("c",), (2,), wide, np.array([0, 1])))) == (2, 3)
    assert codes_of(net(source, upper, Rearrange("p", ("c",), (2,), wide, np.array([0, -1])))) == (0, 3)
    assert codes_of(net(source, relu, Affine("f", ("r",), (2,), wide, np.array([-2, 1]), wide, ONE, wide))) == (-13, 8)


def test_windows_reach_what_they_fill():
    source, result = Input("x", (), (3, 1), FixedSpec(False, 3, 3)), FixedSpec(True, 6, 6)
    relu = Activation("r", ("x",), (3, 1), FixedSpec(True, 6, 6), Function.RELU)
    for padding, expected in (((0, 0), (0, 7)), ((1, 1), (-9, 7))):
        shape = (2 + padding[0] * 2, 2)
        assert codes_of(net(source, relu, Window("w", ("r",), shape, result, (2,), (1,), padding, -9))) == expected


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        (Overflow.WRAP, (-4, 3)),
        (Overflow.SAT, (0, 3)),
        (Overflow.SAT_SYM, (0, 3)),
        (Overflow.SAT_ZERO, (0, 3)),
    ],
)
def test_what_does_not_fit_is_bounded_by_the_overflow_mode(overflow, expected):
    relu = Activation("r", ("x",), (1,), FixedSpec(True, 3, 3, overflow=overflow), Function.RELU)
    assert codes_of(net(Input("x", (), (1,), SOURCE), relu)) == expected


def test_a_saturating_accumulator_is_exact_where_its_values_stay_small():
    # The type of the source would overflow the accumulator, its values behind a Clip do not.
    accumulator = FixedSpec(True, 4, 4, overflow=Overflow.SAT)
    dense = Dense("d", ("c",), (1,), accumulator, np.ones((2, 1), dtype=np.int64), SOURCE, ONE, SOURCE, accumulator)
    source = Input("x", (), (2,), SOURCE)
    graph = net(source, Clip("c", ("x",), (2,), SOURCE, -4.0, 3.0), dense)
    assert codes_of(graph) == (-8, 7)
    with pytest.raises(UnsupportedError, match="saturates and can overflow"):
        check_graph(net(source, Clip("c", ("x",), (2,), SOURCE, -4.0, 4.0), dense))


def test_narrow_values_allow_a_narrow_dtype():
    weight = np.full((2, 1), 2**20)
    assert sum_bound(weight, -8, 7).dtype == np.float32
    assert sum_bound(weight, -9, 7).dtype == np.float64
    assert sum_bound(np.full((3, 2, 1), 2**20), 0, 8).dtype == np.float32


@pytest.mark.parametrize(
    ("total", "needed", "dtype", "available"),
    [
        (2**24, 24, "float32", 24),
        (2**24 + 1, 25, "float64", 53),
        (2**53, 53, "float64", 53),
        (2**53 + 1, 54, "int64", 63),
    ],
)
def test_the_proof_says_what_is_needed_and_what_there_is(total, needed, dtype, available):
    source = FixedSpec(False, 1, 1)
    graph = dense_graph(with_largest_sum(total, source).tolist(), source=source, accumulator=ACCUMULATOR)
    proof = prove_exactness(graph)[graph.nodes[-1].name]
    assert (proof.needed, proof.dtype, proof.available) == (needed, dtype, available)


def test_the_proof_of_integer_arithmetic_counts_the_widest_number():
    clip = Clip("c", ("x",), (2,), FixedSpec(True, 4, 4, overflow=Overflow.SAT), -4.0, 3.5)
    proof = prove_exactness(net(Input("x", (), (2,), SOURCE), clip))
    # -4 to 3.5 in steps of one half: codes from -8 to 7, and -16 for the end of the type of the source.
    assert proof["c"].needed == (SOURCE.width - 1) + 1 + 1
    assert (proof["c"].low, proof["c"].high, proof["c"].dtype, proof["c"].available) == (-4.0, 3.0, "int64", 63)
    assert (proof["x"].low, proof["x"].needed) == (-(2.0 ** (SOURCE.width - 1)), SOURCE.width)


# --- sums


def summed(result: FixedSpec, *, source: FixedSpec, count: int = 3) -> FixedGraph:
    node = Reduce("s", ("x",), (), result, Reduction.SUM, (0,))
    return net(Input("x", (), (count,), source), node)


HALVES = FixedSpec(True, 4, 3)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("signed", [True, False])
def test_sums_whose_rounding_depends_on_the_order_are_refused(rounding, signed):
    source = FixedSpec(signed, 3, 2)
    graph = summed(FixedSpec(True, 8, 8, rounding), source=source)
    rows = np.array(list(itertools.product(range(source.minimum_code, source.maximum_code + 1), repeat=3)))
    orders = {
        tuple(tuple(run_outputs(graph, rows[index : index + 1, order])[0]) for index in range(0, len(rows), 7))
        for order in map(list, itertools.permutations(range(3)))
    }
    try:
        check_graph(graph)
    except UnsupportedError as error:
        assert len(orders) > 1, "refused, but the order does not matter"
        assert "layer 's': each partial sum is rounded to fixed<8,8" in str(error)  # noqa: PT017
        assert "give the sum 1 fractional bits, or the rounding TRN or RND" in str(error)  # noqa: PT017
    else:
        assert len(orders) == 1, "accepted, but the order matters"
        assert Emulator(graph).run(rows).tolist() == run_outputs(graph, rows).tolist()


def test_unsigned_sums_may_wrap_whatever_their_rounding():
    source = FixedSpec(False, 3, 2)
    for rounding in (Rounding.TRN_ZERO, Rounding.RND_ZERO, Rounding.RND_INF):
        graph = summed(FixedSpec(False, 2, 2, rounding), source=source)
        rows = np.array(list(itertools.product(range(8), repeat=3)))
        assert Emulator(graph).run(rows).tolist() == run_outputs(graph, rows).tolist()
        with pytest.raises(UnsupportedError, match="each partial sum is rounded"):
            check_graph(summed(FixedSpec(True, 2, 2, rounding), source=source))


@pytest.mark.parametrize("overflow", [Overflow.SAT, Overflow.SAT_ZERO, Overflow.SAT_SYM])
def test_saturating_sums_need_room(overflow):
    # Three times -4 to 3.5: codes -24 to 21.
    check_graph(summed(FixedSpec(True, 6, 5, overflow=overflow), source=HALVES))
    with pytest.raises(
        UnsupportedError,
        match=r"layer 's': the type of its sum, fixed<5,4,.*>, saturates and can overflow, .*; widen it",
    ):
        check_graph(summed(FixedSpec(True, 5, 4, overflow=overflow), source=HALVES))
    check_graph(summed(FixedSpec(True, 2, 1, Rounding.RND_CONV, overflow), source=HALVES, count=1))


@given(
    st.sampled_from([Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF]),
    st.integers(-(2**12), 2**12), st.integers(-(2**8), 2**8), st.integers(0, 6),
)  # fmt: skip
@settings(max_examples=300)
def test_additive_roundings_commute_with_whole_numbers(rounding, numerator, whole, bits):
    spec = FixedSpec(True, 40, 40, rounding)
    value = Fraction(numerator, 2**bits)
    assert converted(value + whole, spec) == converted(value, spec) + whole


@settings(max_examples=60)
@given(st.integers(0, 2**31))
def test_accumulators_that_are_accepted_give_the_same_in_any_order(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 6))
    overflow = list(Overflow)[rng.integers(4)]
    width, fraction = int(rng.integers(3, 11)), int(rng.integers(-2, 5))
    accumulator = FixedSpec(bool(rng.integers(2)), width, width - fraction, list(Rounding)[rng.integers(7)], overflow)
    source, weight_spec = FixedSpec(bool(rng.integers(2)), 3, 2), FixedSpec(True, 3, 2)
    weight, bias = rng.integers(-4, 4, (count, 1)), rng.integers(-4, 4, 1)
    node = Dense("d", ("x",), (1,), accumulator, weight, weight_spec, bias, weight_spec, accumulator)
    graph = net(Input("x", (), (count,), source), node)
    try:
        check_graph(graph)
    except UnsupportedError:
        assert overflow is not Overflow.WRAP
        return
    rows = random_rows(rng, graph.input_ports, 20)
    outputs = Emulator(graph).run(rows)[:, 0]
    terms = [valued(converted(valued(int(bias[0]), weight_spec), accumulator), accumulator)]
    for row, output in zip(rows, outputs, strict=True):
        products = [
            valued(converted(valued(int(x), source) * valued(int(w), weight_spec), accumulator), accumulator)
            for x, w in zip(row, weight[:, 0], strict=True)
        ]
        for _ in range(4):
            total = Fraction(0)
            for term in rng.permutation(np.array(terms + products, dtype=object)):
                total = valued(converted(total + term, accumulator), accumulator)
            assert total == valued(int(output), accumulator)


def test_several_inputs_and_outputs_are_no_reason_to_refuse():
    two = FixedGraph("net", (Input("x", (), (2,), SOURCE), Input("y", (), (1,), SOURCE)), ("y", "x"), "test 1")
    assert Emulator(two).run(np.array([[1, 2, 3]])).tolist() == [[3, 1, 2]]
