"""Changes of images that leave their class alone: reflections, small rotations, smeared pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.data.dataset import Pixels, PixelScale
from l1dl.errors import InputError

MAX_ROTATION_DEG = 45.0
MAX_SMEAR = 1.0
_BLOCK_IMAGES = 1_024

Images = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """What `augment` does; all of it is off by default.

    Attributes
    ----------
    reflect
        Mirror every second image, at random, left to right (its columns). For jets, a reflection in eta and one in
        phi are this one once the image is rotated to the principal axis. Not for digits: it changes their meaning.
    rotation_deg
        Turn each image about its centre by an angle drawn evenly from minus to plus this one, in degrees, 0 to 45.
    smear
        Multiply each pixel by a number drawn from a Gaussian around 1 with this standard deviation, 0 to 1.
    """

    reflect: bool = False
    rotation_deg: float = 0.0
    smear: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name, value, limit in (
            ("rotation_deg", self.rotation_deg, MAX_ROTATION_DEG), ("smear", self.smear, MAX_SMEAR),
        ):  # fmt: skip
            if not 0 <= value <= limit:
                msg = f"{name} is {value!r}; allowed: 0 to {limit:g}"
                raise InputError(msg)

    @property
    def changes(self) -> bool:
        """Whether anything is on."""
        return self.reflect or self.rotation_deg > 0 or self.smear > 0


def augment(images: Images, settings: Augmentation, rng: np.random.Generator, pixels: Pixels | None = None) -> Images:
    """Return images with random changes, on the grid that they had.

    Intensities are moved and smeared, also where a pixel holds their root; a smearing factor is common to the
    channels of a pixel and leaves counts alone. A rotation shares each pixel among the four nearest ones, so that it
    keeps the sum of the intensities but for what leaves the image and for the final rounding. Results are rounded to
    the nearest number of the grid, and cut off at its ends. Equal seeds give equal results.

    Parameters
    ----------
    images
        uint8 (codes of the grid) or floating (numbers on it), of shape (N, H, W) or (N, H, W, C); not changed.
    settings
        What to do.
    rng
        Source of all random numbers.
    pixels
        Grid and meaning of the pixels, as in ``Dataset.pixels``; by default, intensities on the 8-bit grid.

    Returns
    -------
    numpy.ndarray
        Same shape and type; `images` itself where everything is off.

    Raises
    ------
    InputError
        The images have another shape or type, are not square where they are to be rotated, or have another number of
        channels than `pixels`.
    """
    pixels = pixels or Pixels()
    scales = _check(images, settings, pixels)
    if not settings.changes or not len(images):
        return images
    angles = np.deg2rad(rng.uniform(-settings.rotation_deg, settings.rotation_deg, len(images)))
    mirrored = rng.random(len(images)) < 0.5 if settings.reflect else np.zeros(len(images), np.bool_)
    out = np.array(images)
    out[mirrored] = reflect(images[mirrored])
    if settings.rotation_deg == 0 and settings.smear == 0:
        return out
    step = 1.0 if images.dtype == np.uint8 else pixels.grid.step
    roots = np.array([scale is PixelScale.ROOT for scale in scales])
    counts = np.array([scale is PixelScale.COUNT for scale in scales])
    for start in range(0, len(images), _BLOCK_IMAGES):
        block = slice(start, start + _BLOCK_IMAGES)
        codes = (out[block].astype(np.float64) / step).reshape(*out[block].shape[:3], -1)
        codes = np.where(roots, codes**2, codes)
        if settings.rotation_deg > 0:
            codes = rotate(codes, angles[block])
        if settings.smear > 0:
            factor = np.maximum(1 + settings.smear * rng.standard_normal(codes.shape[:3]), 0)[..., None]
            codes = np.where(counts, codes, codes * factor)
        codes = np.rint(np.where(roots, np.sqrt(codes), codes))
        codes = np.clip(codes, pixels.grid.minimum_code, pixels.grid.maximum_code) * step
        out[block] = codes.reshape(out[block].shape).astype(images.dtype)
    return out


def reflect(images: Images) -> Images:
    """Return images (N, H, W) or (N, H, W, C) with their columns in reverse order."""
    return images[:, :, ::-1]


def rotate(images: FloatArray, angles: FloatArray) -> FloatArray:
    """Return images turned about their centres; each pixel is shared among the four nearest ones (bilinear).

    Parameters
    ----------
    images
        Intensities, float64 of shape (N, H, W, C).
    angles
        Angle of each image in radians, from the rows towards the columns, shape (N,).

    Returns
    -------
    numpy.ndarray
        float64 of the same shape, with the same sums but for what leaves the image.
    """
    count, height, width, channels = images.shape
    row = np.arange(height)[:, None] - (height - 1) / 2
    column = np.arange(width)[None, :] - (width - 1) / 2
    cosine, sine = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    new_row = cosine * row - sine * column + (height - 1) / 2
    new_column = sine * row + cosine * column + (width - 1) / 2
    top, left = np.floor(new_row).astype(np.int64), np.floor(new_column).astype(np.int64)
    out = np.zeros((count * height * width, channels))
    for below in (0, 1):
        for right in (0, 1):
            to_row, to_column = top + below, left + right
            inside = (to_row >= 0) & (to_row < height) & (to_column >= 0) & (to_column < width)
            weight = (1 - np.abs(new_row - to_row)) * (1 - np.abs(new_column - to_column))
            target = ((np.arange(count)[:, None, None] * height + to_row) * width + to_column)[inside]
            for channel in range(channels):
                values = (images[..., channel] * weight)[inside]
                out[:, channel] += np.bincount(target, weights=values, minlength=len(out))
    return out.reshape(images.shape)


def _check(images: Images, settings: Augmentation, pixels: Pixels) -> tuple[PixelScale, ...]:
    """Return the scale of each channel."""
    if images.ndim not in (3, 4) or (images.dtype != np.uint8 and images.dtype.kind != "f"):
        msg = (
            f"images are {images.dtype} of shape {images.shape}; allowed: uint8 or floating, (images, height, width) "
            "or (images, height, width, channels)"
        )
        raise InputError(msg)
    if images.dtype == np.uint8 and pixels.grid.maximum_code > np.iinfo(np.uint8).max:
        msg = f"images are uint8, but their grid has codes up to {pixels.grid.maximum_code}; pass numbers on the grid"
        raise InputError(msg)
    if settings.rotation_deg > 0 and images.shape[1] != images.shape[2]:
        msg = f"images of {images.shape[1]} x {images.shape[2]} pixels cannot be rotated; allowed: square ones"
        raise InputError(msg)
    channels = images.shape[3] if images.ndim == 4 else 1
    if len(pixels.scales) not in (1, channels):
        msg = f"images have {channels} channels, but scales are given for {len(pixels.scales)}; give one for each"
        raise InputError(msg)
    return pixels.scales if len(pixels.scales) == channels else pixels.scales * channels
