"""Images as the data has them, uint8 levels, and as the networks take them, values in [−1, 1]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# uint8 [N, C, H, W], memory-mapped or not.
Images = npt.NDArray[np.uint8]


def to_uint8(images: Tensor) -> Tensor:
    """Images in [−1, 1] to uint8 levels 0…255 of the same shape; 8-bit input comes back exactly."""
    return images.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """uint8 levels 0…255 to fp32 in [−1, 1], of the same shape and memory format."""
    return images.to(torch.float32).div_(127.5).sub_(1)
