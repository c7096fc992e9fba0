"""DCGAN (Radford, Metz, Chintala 2016, arXiv 1511.06434) for square images of 4·2ᵏ pixels.

Generator: a dense layer to 4×4, then k transposed convolutions (kernel 4, stride 2), BatchNorm and
ReLU after each but the last, which ends in tanh. Discriminator: k convolutions of the same geometry
with LeakyReLU(0.2), normalised in all but the first as `discriminator_norm` says (`batch` as in
the paper), then a dense layer to one logit. Of images of symbols the generator gives logits: its
last convolution has as many channels as a symbol has logits, and no tanh.
Weights are drawn from N(0, 0.02), BatchNorm scales from N(1, 0.02), as in the paper.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from einops import rearrange
from torch import Tensor, nn

from fusedgan_kernels import ConvBlock, ConvTransposeBlock, FusedSequential, chain
from gan.config import ModelConfig
from gan.models import base
from gan.models.layers import add_spectral_norm, in_channels_last, normalisation
from gan.symbols import Alphabet

Norm = Literal["batch", "layer", "none"]
NEGATIVE_SLOPE = 0.2  # of LeakyReLU, as in `ConvBlock`

# The published 64×64 pair stops doubling its width at eight times the narrowest layer.
MAX_WIDENING = 8


def _widths(narrowest: int, levels: int) -> list[int]:
    """Channels at each resolution, from the largest images to the 4×4 ones."""
    return [narrowest * min(2**level, MAX_WIDENING) for level in range(levels)]


class Generator(base.Generator):
    """`[B, latent_size]` to images `[B, C, S, S]` in [−1, 1], or to logits `[B, (V,) S, S]`."""

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        super().__init__(config, shape, alphabet)
        outputs = base.image_outputs(shape, alphabet)
        _, size = base.image_shape(shape)
        widths = _widths(config.generator_width, base.doublings(size))[::-1]
        self.dense = nn.Linear(config.latent_size, widths[0] * base.FIRST_SIZE**2, bias=False)
        self.dense_norm = nn.BatchNorm2d(widths[0])
        self.dense_activation = nn.ReLU()
        self.blocks = in_channels_last(
            nn.Sequential(
                *(ConvTransposeBlock(a, b) for a, b in pairwise(widths)),
                ConvTransposeBlock(
                    widths[-1],
                    outputs,
                    norm="none",
                    activation="tanh" if alphabet is None else None,
                ),
            )
        )
        _initialise(self)

    def forward(self, latent: Tensor) -> Tensor:
        """`[B, latent_size]` to `[B, C, S, S]`, or to logits `[B, S, S]` or `[B, V, S, S]`."""
        x = self.dense(self.flat_latent(latent))  # [B, 4·4·W]
        # Height and width outermost: in memory this is the channels_last layout, without a copy.
        x = rearrange(x, "b (h w c) -> b c h w", h=base.FIRST_SIZE, w=base.FIRST_SIZE)
        x = chain(x, self.dense_norm, self.dense_activation, *self.blocks)  # [B, C or 1 or V, S, S]
        return x if self.alphabet is None else base.as_logits(x, self.alphabet)


class Discriminator(base.Discriminator):
    """Images `[B, C, S, S]` to logits `[B]`; images of symbols by their colours."""

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        super().__init__()
        base.image_outputs(shape, alphabet)  # raises what the generator would
        channels, size = base.image_shape(shape)
        self.blocks, width = downwards(
            channels, size, config.discriminator_width, config.discriminator_norm
        )
        self.dense = nn.Linear(base.FIRST_SIZE**2 * width, 1)
        _initialise(self)
        if config.spectral_norm:
            add_spectral_norm(self)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, S, S]` to `[B]`."""
        x = self.blocks(images)  # [B, W, 4, 4]
        x = rearrange(x, "b c h w -> b (h w c)")  # no copy in channels_last
        logits: Tensor = self.dense(x)  # [B, 1]
        return logits.squeeze(1)


def downwards(channels: int, size: int, narrowest: int, norm: Norm) -> tuple[FusedSequential, int]:
    """Convolutions from images `[B, channels, size, size]` to `[B, W, 4, 4]`, and W.

    Args:
        channels: of the images.
        size: of the images, 4·2ᵏ.
        narrowest: channels of the first layer, which is not normalised.
        norm: `batch`, `layer` or `none`, of all other layers.

    Raises:
        ValueError: another size.
    """
    widths = _widths(narrowest, base.doublings(size))
    blocks = FusedSequential(
        ConvBlock(channels, widths[0]), *(_down(a, b, norm) for a, b in pairwise(widths))
    )
    return in_channels_last(blocks), widths[-1]


def _down(inputs: int, outputs: int, norm: Norm) -> nn.Module:
    """A convolution that halves the image, its normalisation and its activation."""
    if norm != "layer":  # what the fused block knows
        return ConvBlock(inputs, outputs, norm=norm)
    return nn.Sequential(
        ConvBlock(inputs, outputs, norm="none", activation=None),
        normalisation(norm, outputs, 2),
        nn.LeakyReLU(NEGATIVE_SLOPE),
    )


def _initialise(module: nn.Module) -> None:
    for each in module.modules():
        if isinstance(each, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(each.weight, 0.0, 0.02)
            if each.bias is not None:
                nn.init.zeros_(each.bias)
        elif isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.weight, 1.0, 0.02)
            nn.init.zeros_(each.bias)
