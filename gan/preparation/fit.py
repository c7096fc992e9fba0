"""Fitting an image of any shape into the square that the models see."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Fit = Literal["pad", "resize"]


class DoesNotFitError(ValueError):
    """An image is larger than the square that it should be padded to."""


def fit_image(image: Image.Image, size: int, fit: Fit) -> Image.Image:
    """Bring `image` (mode L or RGB, any shape) to `size` × `size`.

    `pad` centres it on black without resampling; of an odd margin the larger half is below and to
    the right. `resize` crops the central square and resamples that: Lanczos with antialiasing to
    make it smaller, bicubic to make it larger.

    Raises:
        DoesNotFitError: `pad`, and the image is larger than `size`.
    """
    if fit == "pad":
        check_pad(image.height, image.width, size)
        square = Image.new(image.mode, (size, size))
        square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
        return square
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    if side == size:
        return image.crop(box)
    filter_ = Image.Resampling.LANCZOS if side > size else Image.Resampling.BICUBIC
    return image.resize((size, size), filter_, box=box)


def fit_batch(images: npt.NDArray[np.uint8], size: int, fit: Fit) -> npt.NDArray[np.uint8]:
    """`fit_image` for grey images of one shape: uint8 `[B, H, W]` to uint8 `[B, size, size]`.

    Raises:
        DoesNotFitError: `pad`, and the images are larger than `size`.
    """
    count, height, width = images.shape
    if (height, width) == (size, size):
        return images
    fitted = np.zeros((count, size, size), np.uint8)
    if fit == "pad":
        check_pad(height, width, size)
        top, left = (size - height) // 2, (size - width) // 2
        fitted[:, top : top + height, left : left + width] = images
    else:
        for index, image in enumerate(images):
            fitted[index] = np.asarray(fit_image(Image.fromarray(image), size, fit))
    return fitted


def check_pad(height: int, width: int, size: int) -> None:
    """Raise `DoesNotFitError` if an image of this shape cannot be padded to `size`."""
    if height > size or width > size:
        raise DoesNotFitError(
            f"{width} x {height} is larger than data.size {size} and cannot be padded: set "
            "data.fit to resize, or data.size to a larger one"
        )
