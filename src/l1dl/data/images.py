"""Jet images: transverse momentum on a small grid, centred and rotated (arXiv:1511.05190)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from l1dl.data.features import FloatArray, IntArray

IMAGE_SIZE = 16
IMAGE_HALF_WIDTH = 0.4
_FULL_SCALE = 255


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
    from l1dl.data import kernels

    out = np.zeros((offsets.size - 1, IMAGE_SIZE, IMAGE_SIZE))
    kernels.fill_images(pt, eta, phi, offsets, IMAGE_HALF_WIDTH, out)
    return out


def encode_images(images: FloatArray) -> npt.NDArray[np.uint8]:
    """Return images as bytes, ``round(255 * sqrt(share))``; the root keeps soft pixels visible."""
    return np.asarray(np.rint(_FULL_SCALE * np.sqrt(np.clip(images, 0, 1))), np.uint8)
