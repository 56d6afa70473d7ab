from __future__ import annotations

import numpy as np
import pytest

from l1dl.emulate.compare import NO_CODE, Agreement, Difference, compare, exact_codes, require
from l1dl.errors import InputError, MismatchError
from l1dl.fixed import FixedSpec


def test_equal_codes_agree():
    codes = np.arange(6).reshape(3, 2)
    agreement = compare("csim_emulator", codes, codes.copy())
    assert agreement == Agreement("csim_emulator", 3, 0)
    require(agreement)
    assert agreement.to_json() == {"events": 3, "mismatches": 0, "first": []}


def test_every_difference_is_counted_and_the_first_five_are_kept():
    left, right = np.zeros((10, 2), dtype=np.int64), np.zeros((10, 2), dtype=np.int64)
    right[2:9, 1], right[4, 0] = np.arange(1, 8), -3
    agreement = compare("emulator_rtl", left, right)
    assert (agreement.events, agreement.mismatches) == (10, 8)
    assert agreement.first == (
        Difference(2, 1, 0, 1), Difference(3, 1, 0, 2), Difference(4, 0, 0, -3), Difference(4, 1, 0, 3),
        Difference(5, 1, 0, 4),
    )  # fmt: skip
    with pytest.raises(MismatchError) as caught:
        require(agreement, "Look at the waveform.")
    assert str(caught.value) == (
        "emulator and rtl disagree in 8 output codes of 10 events. First: "
        "event 2 output 1: emulator 0, rtl 1; event 3 output 1: emulator 0, rtl 2; "
        "event 4 output 0: emulator 0, rtl -3; event 4 output 1: emulator 0, rtl 3; "
        "event 5 output 1: emulator 0, rtl 4. Look at the waveform."
    )
    assert caught.value.exit_code == 1
    assert agreement.to_json()["first"][2] == {"event": 4, "output": 0, "left": 0, "right": -3}


@pytest.mark.parametrize("shapes", [((3, 2), (2, 2)), ((3, 2), (3,)), ((0, 2), (0, 2)), ((3, 0), (3, 0))])
def test_nothing_to_compare_is_an_error(shapes):
    with pytest.raises(InputError, match=r"keras_csim: codes of shape \(.*\) and \(.*\) cannot be compared"):
        compare("keras_csim", *(np.zeros(shape, dtype=np.int64) for shape in shapes))


def test_values_off_the_grid_or_out_of_range_have_no_code():
    spec = FixedSpec(True, 4, 2)
    values = np.array([0.0, -0.0, 0.25, 1.75, -2.0, 0.26, 2.0, -2.25, 1e300, np.nan, np.inf, -np.inf, 5e-324])
    assert exact_codes(values, spec).tolist() == [0, 0, 1, 7, -8] + 8 * [NO_CODE]
    assert exact_codes(np.array([[1.0], [3.0]]), FixedSpec(False, 2, 3)).tolist() == [[NO_CODE], [NO_CODE]]


def test_no_code_is_outside_every_type():
    assert FixedSpec(True, 62, 62).minimum_code > NO_CODE


def test_values_off_the_grid_agree_with_nothing():
    off_grid = np.array([[NO_CODE], [3]])
    assert compare("keras_csim", off_grid, off_grid).mismatches == 1
