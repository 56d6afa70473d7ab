"""Jet images: momenta and counts on a small grid, centred and rotated (arXiv:1511.05190)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from l1dl.data.dataset import PixelScale
from l1dl.data.features import FloatArray, IntArray
from l1dl.data.settings import Channel

IMAGE_SIZE = 16
IMAGE_HALF_WIDTH = 0.4
COUNT_STEP = 8
"""What one constituent adds to a pixel of the channel ``multiplicity``: 32 of them and more fill it."""

_FULL_SCALE = 255
_ROOT = "round(255 * sqrt({} / sum of all pt of the jet))"

ENCODINGS: Mapping[Channel, str] = MappingProxyType(
    {
        Channel.PT: _ROOT.format("pt"),
        Channel.CHARGED: _ROOT.format("pt of tracks"),
        Channel.NEUTRAL: _ROOT.format("pt of calorimeter cells"),
        Channel.MULTIPLICITY: f"min({COUNT_STEP} * number of constituents, 255)",
    }
)
"""The byte that stands for a pixel, in words, as recorded in files."""

SCALES: Mapping[Channel, PixelScale] = MappingProxyType(
    {
        Channel.PT: PixelScale.ROOT,
        Channel.CHARGED: PixelScale.ROOT,
        Channel.NEUTRAL: PixelScale.ROOT,
        Channel.MULTIPLICITY: PixelScale.COUNT,
    }
)


def jet_images(pt: FloatArray, eta: FloatArray, phi: FloatArray, offsets: IntArray) -> FloatArray:
    """Return the image of each jet: the share of its transverse momentum in each pixel.

    The grid covers ±0.4 around the centroid; its first axis runs along the jet's principal axis, with the longer
    tail (positive third moment) at high row numbers. Constituents outside the grid are lost, so that an image's
    sum is at most 1.

    Parameters
    ----------
    pt, eta, phi, offsets
        Constituents of all jets, as in `l1dl.data.features.jet_features`.

    Returns
    -------
    numpy.ndarray
        float64 of shape (jets, 16, 16).
    """
    pixel, share = _locate(pt, eta, phi, offsets)
    return _fill(pixel, share, offsets.size - 1)


def image_bytes(
    pt: FloatArray,
    eta: FloatArray,
    phi: FloatArray,
    offsets: IntArray,
    *,
    charged: npt.NDArray[np.bool_],
    channels: Sequence[Channel],
) -> npt.NDArray[np.uint8]:
    """Return the images of all jets as bytes, encoded as `ENCODINGS` says.

    All channels have the frame of `jet_images`, that of the whole jet, and the momenta are shares of its whole
    transverse momentum.

    Parameters
    ----------
    pt, eta, phi, offsets
        Constituents of all jets, as in `l1dl.data.features.jet_features`.
    charged
        Whether a constituent is a track, bool of shape (C,).
    channels
        At least one channel.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (jets, 16, 16, channels); (jets, 16, 16) where `Channel.PT` is the only channel.
    """
    pixel, share = _locate(pt, eta, phi, offsets)
    jets = offsets.size - 1
    momenta = {Channel.PT: share, Channel.CHARGED: share * charged, Channel.NEUTRAL: share * ~charged}
    images = [
        encode_counts(_fill(pixel, np.ones_like(share), jets))
        if channel is Channel.MULTIPLICITY
        else encode_images(_fill(pixel, momenta[channel], jets))
        for channel in channels
    ]
    return images[0] if tuple(channels) == (Channel.PT,) else np.stack(images, axis=-1)


def encode_images(images: FloatArray) -> npt.NDArray[np.uint8]:
    """Return images as bytes, ``round(255 * sqrt(share))``; the root keeps soft pixels visible."""
    return np.asarray(np.rint(_FULL_SCALE * np.sqrt(np.clip(images, 0, 1))), np.uint8)


def encode_counts(images: FloatArray) -> npt.NDArray[np.uint8]:
    """Return numbers of constituents as bytes, ``min(8 * number, 255)``."""
    return np.minimum(COUNT_STEP * images, _FULL_SCALE).astype(np.uint8)


def _locate(pt: FloatArray, eta: FloatArray, phi: FloatArray, offsets: IntArray) -> tuple[IntArray, FloatArray]:
    """Return for each constituent its pixel, counted over all images, or -1, and its share of the momentum."""
    from l1dl.data import kernels

    pixel, share = np.empty(pt.size, np.int64), np.empty(pt.size)
    kernels.find_pixels(pt, eta, phi, offsets, IMAGE_HALF_WIDTH, IMAGE_SIZE, pixel, share)
    return pixel, share


def _fill(pixel: IntArray, weight: FloatArray, jets: int) -> FloatArray:
    inside = pixel >= 0
    out = np.bincount(pixel[inside], weights=weight[inside], minlength=jets * IMAGE_SIZE * IMAGE_SIZE)
    return out.astype(np.float64, copy=False).reshape(jets, IMAGE_SIZE, IMAGE_SIZE)
