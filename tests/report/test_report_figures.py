"""Every figure is drawn, without warnings and without touching global state."""

import dataclasses
import io
import warnings
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest

from l1dl.emulate.profile import LayerProfile
from l1dl.report import Physics, ReportInputs, figures
from l1dl.report.html import to_svg

NAMES = ["roc", "confusion", "logit_tails", "profile_weights", "profile_activations", "training", "resources"]


def test_every_figure_is_drawn_without_warnings(inputs: ReportInputs) -> None:
    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = figures.all_figures(inputs)
        assert list(drawn) == NAMES
        for name, figure in drawn.items():
            svg = to_svg(name, figure)
            assert "currentColor" in svg
            assert "http" not in svg
            with figures.style():
                figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert dict(mpl.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_roc_has_float_solid_and_hardware_dashed(inputs: ReportInputs) -> None:
    figure = figures.roc_figure(inputs.physics)
    assert figure is not None
    axes = figure.axes[0]
    styles = [line.get_linestyle() for line in axes.lines]
    assert styles == ["-", "--"] * 5
    assert axes.get_yscale() == "log"
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(texts) == 5
    assert texts[0].startswith("g: 0.")


def test_svg_is_the_same_every_time(inputs: ReportInputs) -> None:
    first, second = (to_svg("roc", figures.roc_figure(inputs.physics)) for _ in range(2))
    assert first == second


def test_figures_without_data_are_left_out(make_inputs: Callable[..., ReportInputs]) -> None:
    bare = make_inputs(physics=None, profiles=(), history={})
    bare = dataclasses.replace(bare, resources=dataclasses.replace(bare.resources, stages=()))
    assert figures.all_figures(bare) == {}


@pytest.mark.parametrize("names", [("top",), ("a$b$", "_c")])
def test_awkward_physics(names: tuple[str, ...]) -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, 60)
    logit = labels + generator.normal(0, 0.5, 60)
    physics = Physics(names, labels, {"float": logit[:, None], "rtl": logit[:, None]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in (figures.roc_figure, figures.confusion_figure, figures.tails_figure):
            assert "<path" in to_svg("figure", draw(physics))
    constant = Physics(names, labels * 0, {"rtl": np.zeros((60, 1))})
    assert figures.roc_figure(constant) is None
    assert figures.tails_figure(constant) is None
    assert figures.confusion_figure(constant) is not None


def test_profiles_of_constant_zeros_and_of_one_code() -> None:
    profiles = [
        LayerProfile("zero", "dense", "ufixed<1,1>", 0.0, 1.0, (0.0,) * 7, 10, 0, 0),
        LayerProfile("wide", "dense", "fixed<16,16>", -32768.0, 32767.0, (-5.0, -4, -1, 0, 1, 4, 5), 10, 3, 0),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "<path" in to_svg("profile", figures.profile_figure(profiles))


def test_training_with_missing_curves() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figures.training_figure({"quantised": {"loss": [1.0, float("nan"), 0.5]}})
        to_svg("training", figure)
    assert len(figure.axes[0].lines) == 1
    assert len(figure.axes[1].lines) == 0
