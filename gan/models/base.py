"""What every generator and every discriminator offers, whatever its family."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from gan.config import ModelConfig

# Height and width where a generator of images begins, and a DCGAN's discriminator ends.
FIRST_SIZE = 4


class Generator(nn.Module):
    """A network from latent vectors `[B, latent_size]` to examples `[B, *shape]`.

    Images `[B, C, S, S]` are in [−1, 1]; points `[B, D]` are as the data has them.
    """

    def __init__(self, config: ModelConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.config = config
        # Of one example: (C, S, S) of an image, (D,) of a point.
        self.shape = shape
        # Where the weights come from; filled by `gan.load_generator`.
        self.provenance: dict[str, Any] = {}

    @property
    def latent_size(self) -> int:
        """Length of a latent vector."""
        return self.config.latent_size

    def draw_latent(self, count: int, rng: torch.Generator) -> Tensor:
        """`count` latent vectors `[count, latent_size]` from the prior, on `rng`'s device.

        The prior is N(0, I), or uniform in [−1, 1] where `model.latent` is `uniform`. Drawn as
        fp32, whatever the precision of the weights.
        """
        shape = (count, self.latent_size)
        if self.config.latent == "uniform":
            return torch.rand(shape, generator=rng, device=rng.device).mul_(2).sub_(1)
        return torch.randn(shape, generator=rng, device=rng.device)

    def __call__(self, latent: Tensor) -> Tensor:
        """`[B, latent_size]` to `[B, *shape]`."""
        return cast(Tensor, super().__call__(latent))


class Discriminator(nn.Module):
    """A network from examples `[B, *shape]`, images in [−1, 1], to logits `[B]`."""

    def __call__(self, examples: Tensor) -> Tensor:
        """`[B, *shape]` to `[B]`."""
        return cast(Tensor, super().__call__(examples))


def image_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Channels and size of a square image.

    Raises:
        ValueError: `shape` is not `(C, S, S)`.
    """
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"shape is {list(shape)}, expected that of a square image, [C, S, S]")
    return shape[0], shape[1]


def doublings(size: int) -> int:
    """How many times `FIRST_SIZE` is doubled to reach `size`.

    Raises:
        ValueError: it never is, or at once.
    """
    levels = round(math.log2(size / FIRST_SIZE))
    if levels < 1 or FIRST_SIZE * 2**levels != size:
        raise ValueError(f"size is {size}, expected 4·2ᵏ with k ≥ 1: 8, 16, 32, 64, 128, …")
    return levels
