"""What a network sees in its images: filters, feature maps in float and in firmware, and what counts where."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.fixed import Values, decode
from l1dl.flow.bench import Bench
from l1dl.flow.job import Truth
from l1dl.models.backend import import_keras, predict_arrays
from l1dl.nodes import Activation, Dense, Rearrange, Window
from l1dl.report.inputs import FeatureMaps, ImageStudy

MAP_EVENTS = 3
"""Events whose feature maps are shown."""

MAPS = 8
"""Most maps of one layer that are shown."""


def study_images(bench: Bench, truth: Truth, logits: Values) -> ImageStudy | None:
    """Return what the report shows of a network that reads one image and has labelled events; None for another.

    Parameters
    ----------
    logits
        Those of the firmware, shape (events, classes).
    """
    inputs, graph = bench.job.inputs(), bench.graph
    if truth.labels is None or len(inputs) != 1 or inputs[0].ndim != 4:
        return None
    images = np.asarray(inputs[0], dtype=np.float64)
    labels, classes = np.asarray(truth.labels), bench.job.classes
    first = [int(np.flatnonzero(labels == index)[0]) for index in np.unique(labels)]
    filters = _first_filters(graph.nodes)
    chosen = [node for node in graph.nodes if isinstance(node, Activation) and len(node.shape) == 3]
    maps = next((node.name for node in chosen if node.inputs[0] == (filters or ("",))[0]), None)
    return ImageStudy(
        classes=tuple(classes[index] if len(classes) > 1 else str(index) for index in np.unique(labels)),
        means=np.stack([images[labels == index].mean(axis=0).sum(axis=-1) for index in np.unique(labels)]),
        examples=images[first].sum(axis=-1),
        filters=None if filters is None else filters[1],
        maps=None if maps is None else _feature_maps(bench, maps, first[:MAP_EVENTS]),
        outputs=classes,
        correlation=correlation(images.sum(axis=-1), logits),
    )


def correlation(images: npt.NDArray[np.float64], outputs: Values) -> npt.NDArray[np.float64]:
    """Return Pearson's correlation of each pixel with each output, over events; 0 where one of them never changes.

    Parameters
    ----------
    images
        Shape (events, rows, columns).
    outputs
        Shape (events, outputs).

    Returns
    -------
    Shape (outputs, rows, columns).
    """
    x = images - images.mean(axis=0)
    y = outputs - outputs.mean(axis=0)
    spread = np.sqrt((x**2).sum(axis=0))[None] * np.sqrt((y**2).sum(axis=0))[:, None, None]
    product = np.einsum("nrc,no->orc", x, y)
    return np.asarray(np.divide(product, spread, out=np.zeros_like(product), where=spread > 0))


def _first_filters(nodes: Any) -> tuple[str, npt.NDArray[np.float64]] | None:
    """Return the name of the first convolution and its filters, shape (filters, rows, columns), channels added up."""
    known = {node.name: node for node in nodes}
    for node in nodes:
        if not isinstance(node, Dense) or node.groups != 1:
            continue
        source = known[node.inputs[0]]
        while isinstance(source, Rearrange) and len(source.inputs) == 1:
            source = known[source.inputs[0]]
        if isinstance(source, Window) and len(source.kernel) == 2:
            weight = decode(node.weight, node.weight_spec).reshape(*source.kernel, -1, node.shape[-1])
            return node.name, np.moveaxis(weight.sum(axis=2), -1, 0)
    return None


def _feature_maps(bench: Bench, name: str, events: list[int]) -> FeatureMaps:
    """Return the maps of one layer for some events, in firmware and in the float model."""
    few = tuple(part[events] for part in bench.job.inputs())
    codes = bench.emulator.trace(bench.test_rows[events])[name]
    firmware = decode(codes, bench.graph[name].result)[..., :MAPS]
    real, model = None, bench.job.float_model()
    twin = None if model is None else _twin(model, name)
    if model is not None and twin is not None:
        probe = import_keras().Model(model.inputs, twin.output)
        real = predict_arrays(probe, few)[0][..., :MAPS]
    return FeatureMaps(name, real, firmware)


def _twin(model: Any, name: str) -> Any | None:
    """Return the layer that gives the same as a node: of its name, or the one whose ReLU it was split off from."""
    layers = {layer.name: layer for layer in model.layers}
    whole = layers.get(name.removesuffix("_relu"))
    split = whole is not None and getattr(getattr(whole, "activation", None), "__name__", "") == "relu"
    return layers.get(name, whole if split else None)
