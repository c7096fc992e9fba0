"""DCGAN (Radford, Metz, Chintala 2016, arXiv 1511.06434) for square images of 4·2ᵏ pixels.

Generator: a dense layer to 4×4, then k transposed convolutions (kernel 4, stride 2), BatchNorm and
ReLU after each but the last, which ends in tanh. Discriminator: k convolutions of the same geometry
with LeakyReLU(0.2), BatchNorm in all but the first where `discriminator_norm` is `batch` as in the
paper, then a dense layer to one logit.
Weights are drawn from N(0, 0.02), BatchNorm scales from N(1, 0.02), as in the paper.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from gan.config import ModelConfig
from gan.models import base
from kernels import ConvBlock, ConvTransposeBlock

FIRST_SIZE = 4
# The published 64×64 pair stops doubling its width at eight times the narrowest layer.
MAX_WIDENING = 8


def _levels(size: int) -> int:
    """How many times 4 is doubled to reach `size`."""
    levels = round(math.log2(size / FIRST_SIZE))
    if levels < 1 or FIRST_SIZE * 2**levels != size:
        raise ValueError(f"size is {size}, expected 4·2ᵏ with k ≥ 1: 8, 16, 32, 64, 128, …")
    return levels


def _widths(narrowest: int, levels: int) -> list[int]:
    """Channels at each resolution, from the largest images to the 4×4 ones."""
    return [narrowest * min(2**level, MAX_WIDENING) for level in range(levels)]


class Generator(base.Generator):
    """`[B, latent_size]` to `[B, channels, size, size]` in [−1, 1]."""

    def __init__(self, config: ModelConfig, channels: int, size: int) -> None:
        super().__init__(config, channels, size)
        widths = _widths(config.generator_width, _levels(size))[::-1]
        self.dense = nn.Linear(config.latent_size, widths[0] * FIRST_SIZE**2, bias=False)
        self.dense_norm = nn.BatchNorm2d(widths[0])
        self.blocks = nn.Sequential(
            *(ConvTransposeBlock(a, b) for a, b in pairwise(widths)),
            ConvTransposeBlock(widths[-1], channels, norm="none", activation="tanh"),
        )
        _initialise(self)

    def forward(self, latent: Tensor) -> Tensor:
        """`[B, latent_size]` to `[B, C, S, S]`."""
        x = self.dense(latent)  # [B, 4·4·W]
        # Height and width outermost: in memory this is the channels_last layout, without a copy.
        x = rearrange(x, "b (h w c) -> b c h w", h=FIRST_SIZE, w=FIRST_SIZE)
        x = F.relu(self.dense_norm(x))  # [B, W, 4, 4]
        images: Tensor = self.blocks(x)  # [B, C, S, S]
        return images


class Discriminator(base.Discriminator):
    """`[B, channels, size, size]` to logits `[B]`."""

    def __init__(self, config: ModelConfig, channels: int, size: int) -> None:
        super().__init__()
        widths = _widths(config.discriminator_width, _levels(size))
        self.blocks = nn.Sequential(
            ConvBlock(channels, widths[0]),
            *(ConvBlock(a, b, norm=config.discriminator_norm) for a, b in pairwise(widths)),
        )
        self.dense = nn.Linear(FIRST_SIZE**2 * widths[-1], 1)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, S, S]` to `[B]`."""
        x = self.blocks(images)  # [B, W, 4, 4]
        x = rearrange(x, "b c h w -> b (h w c)")  # no copy in channels_last
        logits: Tensor = self.dense(x)  # [B, 1]
        return logits.squeeze(1)


def _initialise(module: nn.Module) -> None:
    for each in module.modules():
        if isinstance(each, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(each.weight, 0.0, 0.02)
            if each.bias is not None:
                nn.init.zeros_(each.bias)
        elif isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.weight, 1.0, 0.02)
            nn.init.zeros_(each.bias)
