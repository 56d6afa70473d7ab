"""What fitted types and the tables of a softmax cost: differences, and decisions that stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from l1dl.emulate.compare import Agreement
from l1dl.errors import InputError
from l1dl.report import ReportInputs, build_report, render_html, summary_rows
from l1dl.report.loss import compare_softmax, measure_loss


def test_the_loss_of_one_output() -> None:
    real = np.array([[0.0, 1.0, 3.0], [2.0, 1.0, 0.0]])
    loss = measure_loss("logits", real, real + np.array([[0.0, 0.0, -2.5], [0.5, 0.0, 0.0]]))
    assert (loss.output, loss.events, loss.values) == ("logits", 2, 6)
    assert loss.rms == pytest.approx(np.sqrt((2.5**2 + 0.5**2) / 6))
    assert loss.maximum == 2.5
    assert loss.spread == pytest.approx(np.std(real))
    assert loss.argmax_agreement == 0.5


def test_a_single_value_has_no_argmax() -> None:
    assert measure_loss("score", np.zeros((4, 1)), np.ones((4, 1))).argmax_agreement is None


@pytest.mark.parametrize("shapes", [((3, 2), (3, 1)), ((0, 2), (0, 2))])
def test_what_cannot_be_compared_is_refused(shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    with pytest.raises(InputError, match=r"output 'logits'.*cannot be compared"):
        measure_loss("logits", *(np.zeros(shape) for shape in shapes))


def test_the_report_shows_the_loss_where_types_were_fitted(make_inputs: Callable[..., ReportInputs]) -> None:
    loss = measure_loss("logits", np.eye(3), np.eye(3) + 0.125)
    report = build_report(make_inputs(float_loss=(loss,)))
    assert report["float_loss"] == [vars(loss)]
    assert any(name == "float against RTL, logits" and "0.125" in text for name, text in summary_rows(report))
    page = render_html(report, {})
    assert "Float model against firmware" in page
    assert "0.125" in page
    plain = build_report(make_inputs())
    assert plain["float_loss"] == []
    assert not any(name.startswith("float against") for name, _ in summary_rows(plain))
    assert "Float model against firmware" not in render_html(plain, {})


def test_a_softmax_is_compared_by_its_decisions() -> None:
    keras = np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    firmware = np.array([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]])
    found = compare_softmax("soft", keras, firmware)
    assert (found.output, found.events, found.agreeing, found.tied, found.flipped) == ("soft", 4, 0.5, 0.25, 0.25)
    assert found.maximum == pytest.approx(0.55)


@pytest.mark.parametrize("shape", [(0, 3), (4, 2), (4,)])
def test_a_softmax_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"output 'soft': a softmax of shape .* cannot be compared"):
        compare_softmax("soft", np.zeros((4, 3)) if shape[0] else np.zeros(shape), np.zeros(shape))


def test_the_report_shows_a_softmax_that_was_kept(make_inputs: Callable[..., ReportInputs]) -> None:
    found = compare_softmax("soft", np.eye(4), np.eye(4) * 0.75)
    agreements = (Agreement("keras_emulator", 10, 0), Agreement("csim_emulator", 10, 0))
    report = build_report(make_inputs(softmax=(found,), agreements=agreements))
    assert report["softmax"] == [vars(found)]
    assert list(report["agreement"]) == ["keras_emulator", "csim_emulator", "emulator_rtl"]
    assert report["verdict"]["bit_exact"]
    assert any(name == "softmax soft" and "same class as Keras in 100" in text for name, text in summary_rows(report))
    page = render_html(report, {})
    assert "Softmax in firmware" in page
    assert "Keras against emulator" in page
    assert "Softmax in firmware" not in render_html(build_report(make_inputs()), {})
