"""Convolutional networks over characters, for a CPU, after language models of the literature.

WGAN-GP's language model has five residual blocks of width 512 in either player (Gulrajani et al.
2017, arXiv 1704.00028, section 5.2), boundary-seeking GANs three of 256 (Hjelm et al. 2018, arXiv
1702.08431). A block adds 0.3 times two convolutions (kernel 5), each behind BatchNorm and ReLU, to
what comes in. Here the generator is made of such blocks, `depth` of them at full length: a dense
layer to L vectors of `generator_width`, the blocks, and, behind one more BatchNorm and ReLU, the
logits of the character at every position. These last two give the logits features of one scale
whatever the depth, and let them depend more on the latent vector from the start.

The discriminator sees M samples of every latent vector, so nearly all of the time goes there. It
has a vector for every character, `depth` convolutions (kernel 5, stride 2), each with what
`discriminator_norm` says and LeakyReLU, and a dense layer over the positions that are left to one
logit. Half the length at every layer costs less than blocks at full length, and sees further: 13
characters after two layers.

Initially the discriminator's characters have standard normal vectors, the convolutions in blocks
and layers uniform weights of He's variance, all others of Glorot's, and biases are zero.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gan.config import ModelConfig
from gan.models import base
from gan.models.layers import add_spectral_norm, initialise, normalisation
from gan.symbols import Alphabet, Characters

KERNEL = 5
RESIDUAL_SCALE = 0.3
SLOPE = 0.2


class TextBlock(nn.Module):
    """x + 0.3·convolution(ReLU(norm(convolution(ReLU(norm(x)))))), norm being BatchNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1 = nn.BatchNorm1d(width)
        self.conv_1 = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)
        self.norm_2 = nn.BatchNorm1d(width)
        self.conv_2 = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, W, L]` to `[B, W, L]`."""
        y = self.conv_1(F.relu(self.norm_1(x)))
        z: Tensor = self.conv_2(F.relu(self.norm_2(y)))
        return x + RESIDUAL_SCALE * z


class Layer(nn.Module):
    """LeakyReLU(norm(convolution(x))), at half the length."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(width, width, KERNEL, stride=2, padding=KERNEL // 2)
        self.norm_1 = normalisation(norm, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, W, L]` to `[B, W, ⌈L/2⌉]`."""
        return F.leaky_relu(self.norm_1(self.conv_1(x)), SLOPE)


class Generator(base.Generator):
    """`[B, latent_size]` to logits of characters, `[B, V, L]`; `[B, L]` where V is 2."""

    alphabet: Alphabet

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        alphabet = _characters(alphabet)
        super().__init__(config, shape, alphabet)
        width = config.generator_width
        self.dense = nn.Linear(config.latent_size, width * _length(shape))
        self.blocks = nn.Sequential(*(TextBlock(width) for _ in range(config.depth)))
        self.norm = nn.BatchNorm1d(width)
        self.conv = nn.Conv1d(width, base.logits_a_position(alphabet), 1)
        initialise(self)

    def forward(self, latent: Tensor) -> Tensor:
        """`[B, latent_size]` to `[B, V, L]` or `[B, L]`."""
        x = self.dense(self.flat_latent(latent)).unflatten(1, (-1, *self.shape))  # [B, W, L]
        x = self.conv(F.relu(self.norm(self.blocks(x))))  # [B, V or 1, L]
        return base.as_logits(x, self.alphabet)


class Discriminator(base.Discriminator):
    """Texts to logits `[B]`: symbols, integers `[B, L]`, or relaxed, floating point `[B, V, L]`."""

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        super().__init__()
        alphabet = _characters(alphabet)
        width = config.discriminator_width
        # A 1×1 convolution over one-hot symbols: one vector a character, which holds its bias.
        self.embedding = nn.Conv1d(alphabet.size, width, 1, bias=False)
        self.layers = nn.Sequential(
            *(Layer(width, config.discriminator_norm) for _ in range(config.depth))
        )
        left = _length(shape)
        for _ in range(config.depth):
            left = (left + 1) // 2
        self.dense = nn.Linear(width * left, 1)
        initialise(self)
        nn.init.normal_(self.embedding.weight)
        if config.spectral_norm:
            add_spectral_norm(self)

    def forward(self, examples: Tensor) -> Tensor:
        """`[B, L]` or `[B, V, L]` to `[B]`."""
        x = self.layers(self._embedded(examples))  # [B, W, L / 2^depth, rounded up]
        logits: Tensor = self.dense(x.flatten(1))  # [B, 1]
        return logits.squeeze(1)

    def _embedded(self, examples: Tensor) -> Tensor:
        """Each position's vector, `[B, W, L]`: the same for a symbol and for its one-hot."""
        if examples.is_floating_point():
            embedded: Tensor = self.embedding(examples)
            return embedded
        # Looked up: one-hot symbols would be V times as large.
        vectors = self.embedding.weight.squeeze(2).mT  # [V, W]
        return F.embedding(examples.int(), vectors).mT


def _characters(alphabet: Alphabet | None) -> Characters:
    if not isinstance(alphabet, Characters):
        found = "no alphabet" if alphabet is None else f"an alphabet of {alphabet.noun}"
        raise ValueError(f"found {found}, expected one of characters, for networks of texts")
    return alphabet


def _length(shape: tuple[int, ...]) -> int:
    """Characters of a text."""
    if len(shape) != 1:
        raise ValueError(f"shape is {list(shape)}, expected that of a text, [L]")
    return shape[0]
