"""A classifier as one of two players: it gives g(y|x), labels y of images x.

Adversarial classification, the sanity check of Hjelm et al. 2018 (arXiv 1702.08431): the image
takes the place of the latent vector, and the label is the one symbol that is generated. Both
networks are the convolutions of a DCGAN's discriminator, with BatchNorm in the generator and what
`discriminator_norm` says in the discriminator, and one dense layer. Weights are drawn as PyTorch
does, uniform in ±1/√fan_in.

The discriminator's logit F(x, y) is one entry of a row of V that it computes from x. Nothing is
lost by that: every function of x and one of V labels is V functions of x. So an image passes once,
whatever the number of labels that are asked about, and each of these is a look-up.
"""

from __future__ import annotations

import math

from einops import rearrange
from torch import Tensor, nn

from gan.config import ModelConfig
from gan.models import base
from gan.models.dcgan import downwards
from gan.models.layers import add_spectral_norm
from gan.symbols import Alphabet, ClassNames


class Generator(base.Generator):
    """Images `[B, C, S, S]` in [−1, 1] to logits of labels, `[B, V]`, or `[B]` of two labels."""

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        super().__init__(config, shape, alphabet)
        labels = _labels(alphabet)
        channels, size = base.image_shape(shape)
        self.blocks, width = downwards(channels, size, config.generator_width, "batch")
        self.dense = nn.Linear(base.FIRST_SIZE**2 * width, base.logits_a_position(labels))

    @property
    def latent_size(self) -> int:
        """Numbers of an image, which takes the place of the latent vector."""
        return math.prod(self.shape)

    def forward(self, latent: Tensor) -> Tensor:
        """Images `[B, C, S, S]` or `[B, C·S·S]` to logits `[B, V]`, or `[B]` of two labels."""
        self.check_latent(latent, self.shape)
        x = self.blocks(latent.reshape(latent.shape[0], *self.shape))  # [B, W, 4, 4]
        logits = self.dense(rearrange(x, "b c h w -> b (h w c)"))  # [B, V or 1]
        return base.as_logits(logits, _labels(self.alphabet))


class Discriminator(base.Discriminator):
    """Images `[B, C, S, S]` to the logits of all pairs of image and label, `[B, V]`."""

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        super().__init__()
        labels = _labels(alphabet)
        channels, size = base.image_shape(shape)
        self.blocks, width = downwards(
            channels, size, config.discriminator_width, config.discriminator_norm
        )
        self.dense = nn.Linear(base.FIRST_SIZE**2 * width, labels.size)
        if config.spectral_norm:
            add_spectral_norm(self)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, S, S]` to `[B, V]`."""
        x = self.blocks(images)  # [B, W, 4, 4]
        table: Tensor = self.dense(rearrange(x, "b c h w -> b (h w c)"))
        return table


def _labels(alphabet: Alphabet | None) -> ClassNames:
    if not isinstance(alphabet, ClassNames):
        found = "no alphabet" if alphabet is None else f"one of {alphabet.noun}"
        raise ValueError(f"found {found}, expected an alphabet of labels, for a classifier")
    return alphabet
