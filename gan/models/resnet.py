"""The residual pair of WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028, appendix F) for images.

Published for CIFAR-10, 32×32: pre-activation blocks of two 3×3 convolutions with ReLU, all of one
width, 128. Generator: a dense layer to 4×4, three blocks that double the image, BatchNorm, ReLU, a
convolution and tanh. Discriminator: two blocks that halve it to 8×8, two that leave it, ReLU, the
mean over pixels, and a dense layer. Other sizes have more or fewer blocks that resample.

What the paper leaves to its code is as there: upsampling (nearest neighbour) in front of the first
convolution; mean pooling behind the second; a 1×1 convolution in the shortcut wherever a block
resamples; no normalisation in the discriminator's first block, whose shortcut pools before it
convolves. He initialisation, but Glorot's for shortcuts, the generator's last and dense layers.
Of images of symbols the generator gives logits, from a last convolution without tanh.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from gan.config import ModelConfig
from gan.models import base
from gan.models.layers import add_spectral_norm, initialise, normalisation
from gan.symbols import Alphabet

LAST_SIZE = 8

Resample = Literal["up", "down", "none"]


class ResidualBlock(nn.Module):
    """Shortcut + convolution(ReLU(norm(convolution(ReLU(norm(x)))))), resampled on the way."""

    def __init__(self, width: int, norm: str, resample: Resample) -> None:
        super().__init__()
        self.resample = resample
        self.norm_1 = normalisation(norm, width, 2)
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm_2 = normalisation(norm, width, 2)
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Identity() if resample == "none" else nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, W, H, H]` to `[B, W, H', H']`, H' twice, half, or the same as H."""
        y = F.relu(self.norm_1(x))
        if self.resample == "up":
            y = F.interpolate(y, scale_factor=2.0, mode="nearest")
        y = F.relu(self.norm_2(self.conv_1(y)))
        y = self.conv_2(y)
        if self.resample == "down":
            y = F.avg_pool2d(y, 2)
            # A 1×1 convolution and a mean over pixels may change places: this way is cheaper.
            x = F.avg_pool2d(x, 2)
        x = self.shortcut(x)
        if self.resample == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return x + y


class FirstBlock(nn.Module):
    """The discriminator's first block: from pixels, so without activation in front; halves."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, width, 3, padding=1)
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, S, S]` to `[B, W, S/2, S/2]`."""
        y = F.avg_pool2d(self.conv_2(F.relu(self.conv_1(x))), 2)
        shortcut: Tensor = self.shortcut(F.avg_pool2d(x, 2))
        return shortcut + y


class Generator(base.Generator):
    """`[B, latent_size]` to images `[B, C, S, S]` in [−1, 1], or to logits `[B, (V,) S, S]`."""

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        super().__init__(config, shape, alphabet)
        outputs = base.image_outputs(shape, alphabet)
        _, size = base.image_shape(shape)
        width = config.generator_width
        self.dense = nn.Linear(config.latent_size, width * base.FIRST_SIZE**2)
        levels = base.doublings(size)
        self.blocks = nn.Sequential(*(ResidualBlock(width, "batch", "up") for _ in range(levels)))
        self.norm = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, outputs, 3, padding=1)
        initialise(self)

    def forward(self, latent: Tensor) -> Tensor:
        """`[B, latent_size]` to `[B, C, S, S]`, or to logits `[B, S, S]` or `[B, V, S, S]`."""
        x = self.dense(self.flat_latent(latent))  # [B, 4·4·W]
        # Height and width outermost: in memory this is the channels_last layout, without a copy.
        x = rearrange(x, "b (h w c) -> b c h w", h=base.FIRST_SIZE, w=base.FIRST_SIZE)
        x = self.blocks(x)  # [B, W, S, S]
        x = self.conv(F.relu(self.norm(x)))  # [B, C or 1 or V, S, S]
        return F.tanh(x) if self.alphabet is None else base.as_logits(x, self.alphabet)


class Discriminator(base.Discriminator):
    """Images `[B, C, S, S]` to logits `[B]`; images of symbols by their colours."""

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        super().__init__()
        base.image_outputs(shape, alphabet)  # raises what the generator would
        channels, size = base.image_shape(shape)
        width, norm = config.discriminator_width, config.discriminator_norm
        halvings = max(1, base.doublings(size) - base.doublings(LAST_SIZE))
        self.first = FirstBlock(channels, width)
        self.blocks = nn.Sequential(
            *(ResidualBlock(width, norm, "down") for _ in range(halvings - 1)),
            *(ResidualBlock(width, norm, "none") for _ in range(2)),
        )
        self.dense = nn.Linear(width, 1)
        initialise(self)
        if config.spectral_norm:
            add_spectral_norm(self)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, S, S]` to `[B]`."""
        x = self.blocks(self.first(images))  # [B, W, 8, 8]
        x = F.relu(x).mean(dim=(2, 3))  # [B, W]
        logits: Tensor = self.dense(x)  # [B, 1]
        return logits.squeeze(1)
