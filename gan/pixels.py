"""Examples as the data has them and as the networks take them.

Images are uint8 levels in the data and values in [−1, 1] in the networks. Points are fp32 in both,
as they are.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# What examples are. Images of symbols are images; labels are of images, given by a classifier.
# `gan.judges`, `gan.evaluation` and `gan.figures` have a module for each.
Kind = Literal["images", "points", "text", "labels"]

# uint8 [N, C, H, W], memory-mapped or not.
Images = npt.NDArray[np.uint8]
# fp32 [N, D].
Points = npt.NDArray[np.float32]
# Symbols too: uint16 are of texts, of alphabets that a byte cannot tell apart.
Examples = npt.NDArray[np.uint8 | np.uint16 | np.float32]
# int64 [N].
Labels = npt.NDArray[np.int64]


def to_uint8(images: Tensor) -> Tensor:
    """Images in [−1, 1] to uint8 levels 0…255 of the same shape; 8-bit input comes back exactly."""
    return images.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """uint8 levels 0…255 to fp32 in [−1, 1], of the same shape and memory format."""
    return images.to(torch.float32).div_(127.5).sub_(1)


def to_network(examples: Tensor) -> Tensor:
    """A batch of the data as the networks take it: fp32 of the same shape and memory format.

    Args:
        examples: images, uint8 `[B, C, H, W]`, or points, fp32 `[B, D]`. Points are handed on as
            they are, not copied.
    """
    return from_uint8(examples) if examples.dtype == torch.uint8 else examples


def from_network(outputs: Tensor) -> Tensor:
    """What a generator gave as the data would have it.

    Args:
        outputs: images `[B, C, H, W]` in [−1, 1], to uint8; or points `[B, D]`, to fp32.
    """
    return to_uint8(outputs) if outputs.ndim == 4 else outputs.float()
