"""The figures of a network on images, and the correlation that they show."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from l1dl.flow.image_study import _twin, correlation
from l1dl.report import ReportInputs, build_report, render_html
from l1dl.report.figures import all_figures
from l1dl.report.inputs import FeatureMaps, ImageStudy


def study(*, filters: int = 11, real: bool = True, classes: int = 3) -> ImageStudy:
    rng = np.random.default_rng(1)
    firmware = rng.uniform(0, 1, (2, 4, 4, 5))
    names = tuple(f"class {index}" for index in range(classes))
    return ImageStudy(
        classes=names,
        means=rng.uniform(0, 1, (classes, 6, 6)),
        examples=rng.uniform(0, 1, (classes, 6, 6)),
        filters=rng.normal(0, 1, (filters, 3, 3)) if filters else None,
        maps=FeatureMaps("relu", firmware + 0.01 if real else None, firmware) if filters else None,
        outputs=names,
        correlation=rng.uniform(-1, 1, (classes, 6, 6)),
    )


@pytest.mark.parametrize("options", [{}, {"real": False}, {"filters": 1}, {"classes": 7}])
def test_all_figures_are_drawn(options: dict[str, int], make_inputs: Callable[..., ReportInputs]) -> None:
    inputs = make_inputs(images=study(**options))
    figures = all_figures(inputs)
    assert {"image_examples", "image_filters", "image_maps", "image_correlation"} <= set(figures)
    rows = {"firmware 1", "firmware 2"} | ({"float 1", "float 2"} if options.get("real", True) else set())
    assert {axes.get_ylabel() for axes in figures["image_maps"].axes} - {""} == rows
    page = render_html(build_report(inputs), figures)
    assert 'href="#images"' in page
    assert "Where the image counts" in page
    assert page.count("<figure") == len(figures)


def test_without_a_convolution_two_figures_are_left(make_inputs: Callable[..., ReportInputs]) -> None:
    figures = all_figures(make_inputs(images=study(filters=0)))
    assert {name for name in figures if name.startswith("image")} == {"image_examples", "image_correlation"}


def test_no_images_no_section(make_inputs: Callable[..., ReportInputs]) -> None:
    inputs = make_inputs()
    assert 'href="#images"' not in render_html(build_report(inputs), all_figures(inputs))


def test_the_correlation_is_pearsons() -> None:
    rng = np.random.default_rng(2)
    images, outputs = rng.normal(0, 1, (50, 2, 3)), rng.normal(0, 1, (50, 2))
    images[:, 0, 0] = 3.0
    found = correlation(images, outputs)
    assert found.shape == (2, 2, 3)
    assert np.all(found[:, 0, 0] == 0)
    assert found[1, 1, 2] == pytest.approx(np.corrcoef(images[:, 1, 2], outputs[:, 1])[0, 1])
    assert correlation(images, images[:, 1, :])[0, 1, 0] == pytest.approx(1)


def test_the_float_layer_of_a_split_relu_is_found() -> None:
    def layer(name: str, activation: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, activation=SimpleNamespace(__name__=activation))

    model = SimpleNamespace(layers=[layer("one", "relu"), layer("two", "linear"), layer("three_relu", "relu")])
    assert _twin(model, "one_relu") is model.layers[0]
    assert _twin(model, "two_relu") is None
    assert _twin(model, "three_relu") is model.layers[2]
    assert _twin(model, "four") is None
