"""Images that are arrays already, of one shape, to the examples that they become."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from einops import rearrange

from gan.pixels import Images
from gan.preparation.fit import Fit, fit_batch

# The luma of ITU-R 601 in parts of 65536, as Pillow has it.
_LUMA = (19595, 38470, 7471)


def as_examples(
    images: npt.NDArray[np.uint8], size: int, channels: Literal[1, 3], fit: Fit
) -> Images:
    """`images`, uint8 `[B, H, W, C]` with C 1 or 3, to uint8 `[B, channels, size, size]`.

    The same pixels as those of `gan.preparation.decode` for PNGs of the images: first grey or RGB,
    then the fit.

    Raises:
        DoesNotFitError: `pad`, and the images are larger than `size`.
    """
    count, _, _, found = images.shape
    if found > channels:
        red, green, blue = (images[..., place].astype(np.uint32) for place in range(3))
        grey = (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue + 0x8000) >> 16
        images = grey.astype(np.uint8)[..., None]
    # Pillow fits each channel by itself, so channels are as good as images.
    planes = fit_batch(rearrange(images, "b h w c -> (b c) h w"), size, fit)
    examples = rearrange(planes, "(b c) h w -> b c h w", b=count)
    return np.repeat(examples, channels, axis=1) if examples.shape[1] < channels else examples
