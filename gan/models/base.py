"""What every generator and every discriminator offers, whatever its family."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from gan.config import ModelConfig


class Generator(nn.Module):
    """A network from latent vectors to images: `[B, latent_size]` to `[B, C, S, S]` in [−1, 1]."""

    def __init__(self, config: ModelConfig, channels: int, size: int) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.size = size
        # Where the weights come from; filled by `gan.load_generator`.
        self.provenance: dict[str, Any] = {}

    @property
    def latent_size(self) -> int:
        """Length of a latent vector."""
        return self.config.latent_size

    def draw_latent(self, count: int, rng: torch.Generator) -> Tensor:
        """`count` latent vectors `[count, latent_size]` from the prior N(0, I), on `rng`'s device.

        Drawn as fp32, whatever the precision of the weights.
        """
        return torch.randn(count, self.latent_size, generator=rng, device=rng.device)

    def __call__(self, latent: Tensor) -> Tensor:
        """`[B, latent_size]` to `[B, C, S, S]`."""
        return cast(Tensor, super().__call__(latent))


class Discriminator(nn.Module):
    """A network from images `[B, C, S, S]` in [−1, 1] to logits `[B]`."""

    def __call__(self, images: Tensor) -> Tensor:
        """`[B, C, S, S]` to `[B]`."""
        return cast(Tensor, super().__call__(images))
