from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import random_rows

from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.ports import (
    Port,
    as_rows,
    check_rows,
    count_values,
    decode_rows,
    encode_rows,
    join,
    split,
    value_specs,
)

COARSE = FixedSpec(True, 4, 4, Rounding.RND, Overflow.SAT)
FINE = FixedSpec(False, 6, 2)
IMAGE, VECTOR, NUMBER = Port("image", (2, 3), COARSE), Port("vector", (2,), FINE), Port("number", (), COARSE)
PORTS = IMAGE, VECTOR, NUMBER


def values(events: int = 4) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    return tuple(rng.integers(0, 4, (events, *port.shape)) / 4.0 for port in PORTS)


def test_rows_stand_in_the_order_of_ports_and_of_c():
    parts = [np.arange(12).reshape(2, 2, 3), np.array([[20, 21], [22, 23]]), np.array([30, 31])]
    rows = join(parts)
    assert rows.tolist() == [[0, 1, 2, 3, 4, 5, 20, 21, 30], [6, 7, 8, 9, 10, 11, 22, 23, 31]]
    for part, again in zip(parts, split(rows, PORTS), strict=True):
        np.testing.assert_array_equal(part, again)
    assert (IMAGE.size, VECTOR.size, NUMBER.size, count_values(PORTS)) == (6, 2, 1, 9)
    assert value_specs(PORTS) == (*[COARSE] * 6, FINE, FINE, COARSE)


def test_rows_of_no_events_keep_their_shapes():
    assert [part.shape for part in split(np.zeros((0, 9)), PORTS)] == [(0, 2, 3), (0, 2), (0,)]
    assert join(split(np.zeros((0, 9)), PORTS)).shape == (0, 9)


@given(st.integers(0, 2**31), st.integers(0, 5))
def test_splitting_and_joining_are_inverse(seed, events):
    rows = random_rows(np.random.default_rng(seed), PORTS, events)
    np.testing.assert_array_equal(join(split(rows, PORTS)), rows)
    check_rows(rows, PORTS)


def test_arrays_come_in_any_usual_form():
    image, vector, number = values()
    rows = as_rows((image, vector, number), PORTS)
    assert (rows.dtype, rows.shape) == (np.float64, (4, 9))
    for form in (
        [image, vector, number],
        {"number": number, "image": image, "vector": vector},
        (image.reshape(4, 6), vector.astype(np.float32), number[:, None]),
        [image.tolist(), vector.tolist(), number.tolist()],
    ):
        np.testing.assert_array_equal(as_rows(form, PORTS), rows)


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: (x,), lambda x: {"vector": x}, np.ndarray.tolist]
)
def test_a_single_port_takes_its_array_alone(wrap):
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert as_rows(wrap(x), (VECTOR,)).tolist() == x.tolist()
    assert as_rows(wrap(x[:1]), (VECTOR,)).tolist() == x[:1].tolist()


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (values()[:2], "2 arrays are given for a model with 3 ports"),
        ({"image": 0, "vektor": 0, "number": 0}, "did you mean 'vector'.*ports are image, vector, number"),
        ({"image": 0}, "arrays are given for image; the model's ports are image, vector, number"),
        ([*values()[:2], np.zeros(3)], r"different numbers of events: \[4, 4, 3\]"),
        ([values()[0], np.zeros((4, 3)), values()[2]], r"\(4, 3\) do not fit port 'vector' of shape \(events, 2\)"),
        ([np.zeros((4, 3, 2)), *values()[1:]], r"\(4, 3, 2\) do not fit port 'image' of shape \(events, 2, 3\)"),
        ([values()[0], 1.0, values()[2]], r"inputs of shape \(\) do not fit port 'vector'"),
        ([values()[0], [["a", "b"]], values()[2]], "the values for port 'vector' are no array of numbers"),
        ([values()[0], [[1, 2], [3]], values()[2]], "the values for port 'vector' are no array of numbers"),
    ],
)
def test_wrong_arrays_are_refused(x, text):
    with pytest.raises(InputError, match=text):
        as_rows(x, PORTS)


def test_every_port_has_its_own_type():
    rows = as_rows((np.full((1, 2, 3), 2.5), [[2.5, 5.0]], [100.0]), PORTS)
    codes = encode_rows(rows, PORTS)
    assert codes.dtype == np.int64
    assert codes.tolist() == [[3] * 6 + [40, 80 - 64, 7]]
    assert decode_rows(codes, PORTS).tolist() == [[3.0] * 6 + [2.5, 1.0, 7.0]]
    with pytest.raises(InputError, match="1 values are NaN or infinite"):
        encode_rows(np.full((1, 9), 1.0) * [1, 1, 1, 1, 1, 1, 1, np.nan, 1], PORTS)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda rows: rows[:, :8], r"codes of shape \(2, 8\) do not fit the ports: \(events, 9\)"),
        (lambda rows: rows[0], r"codes of shape \(9,\) do not fit"),
        (lambda rows: rows + 8 * (np.arange(9) == 5), r"codes from 0 to 8 are outside fixed<4,4,RND,SAT> .* 'image'"),
        (lambda rows: rows - (np.arange(9) == 7), r"codes from -1 to 0 are outside ufixed<6,2> of port 'vector'"),
        (lambda rows: rows - 9 * (np.arange(9) == 8), r"codes from -9 to -9 are outside .* of port 'number'"),
    ],
)
def test_codes_outside_their_port_are_refused(change, text):
    rows = np.zeros((2, 9), dtype=np.int64)
    check_rows(rows, PORTS)
    with pytest.raises(InputError, match=text):
        check_rows(change(rows), PORTS)
