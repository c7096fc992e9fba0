"""What every generator and every discriminator offers, whatever its family."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from gan.config import ModelConfig
from gan.pixels import Kind
from gan.private import recorded
from gan.symbols import Alphabet, Colours

Network = TypeVar("Network", bound=nn.Module)

# Height and width where a generator of images begins, and a DCGAN's discriminator ends.
FIRST_SIZE = 4


class Generator(nn.Module):
    """A network from latent vectors `[B, latent_size]` to examples `[B, *shape]`, or to logits.

    Images `[B, C, S, S]` are in [−1, 1]; points `[B, D]` are as the data has them. With an
    alphabet of V symbols the network gives the logits of a distribution over symbols instead, at
    every position by itself: of Bernoullis, `[B, *positions]`, where V is 2, otherwise of
    categoricals, `[B, V, *positions]`.
    """

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        super().__init__()
        self.config = config
        # Of one example: (C, S, S) of an image, (D,) of a point, (L,) of a text.
        self.shape = shape
        # What symbols mean; None where examples are numbers.
        self.alphabet = alphabet
        # Where the weights come from; filled by `gan.load_generator`.
        self.provenance: dict[str, Any] = {}

    @property
    def latent_size(self) -> int:
        """Length of a latent vector."""
        return self.config.latent_size

    @property
    def positions(self) -> tuple[int, ...] | None:
        """Where an example has one symbol each: (S, S) of an image, (L,) of a text, () of a label.

        None where examples are not made of symbols.
        """
        return None if self.alphabet is None else self.alphabet.positions(self.shape)

    @property
    def kind(self) -> Kind:
        """What the examples are; images of symbols are images."""
        if self.alphabet is not None:
            return self.alphabet.kind
        return "images" if len(self.shape) == 3 else "points"

    def draw_latent(self, count: int, rng: torch.Generator) -> Tensor:
        """`count` latent vectors `[count, latent_size]` from the prior, on `rng`'s device.

        The prior is N(0, I), or uniform in [−1, 1] where `model.latent` is `uniform`. Drawn as
        fp32, whatever the precision of the weights.
        """
        shape = (count, self.latent_size)
        if self.config.latent == "uniform":
            return torch.rand(shape, generator=rng, device=rng.device).mul_(2).sub_(1)
        return torch.randn(shape, generator=rng, device=rng.device)

    def flat_latent(self, latent: Tensor) -> Tensor:
        """Latent vectors `[B, latent_size]`, as they are or from `[B, latent_size, 1, 1]`.

        The second is what DCGANs take whose first layer is a convolution too.

        Raises:
            TypeError, ValueError: as `check_latent`.
        """
        self.check_latent(latent)
        return latent.flatten(1)

    def check_latent(self, latent: Tensor, *others: tuple[int, ...]) -> None:
        """Refuse what are no latent vectors of this generator.

        Args:
            latent: `[B, latent_size]` or `[B, latent_size, 1, 1]`, floating point.
            *others: more shapes that one latent vector may have.

        Raises:
            TypeError: they are not of floating point.
            ValueError: they have another shape.
        """
        # A trace would keep what is found of its example as a constant.
        if recorded(latent):
            return
        if not latent.is_floating_point():
            raise TypeError(f"latent is {latent.dtype}, expected floating point")
        known = ((self.latent_size,), (self.latent_size, 1, 1), *others)
        if latent.dim() == 0 or tuple(latent.shape[1:]) not in known:
            expected = " or ".join(f"[B, {', '.join(map(str, shape))}]" for shape in known)
            raise ValueError(f"latent has shape {list(latent.shape)}, expected {expected}")

    def __call__(self, latent: Tensor) -> Tensor:
        """`[B, latent_size]` to `[B, *shape]`, or to logits `[B, (V,) *positions]`.

        Raises:
            TypeError, ValueError: as `check_latent`.
        """
        return cast(Tensor, super().__call__(latent))


class Discriminator(nn.Module):
    """A network from examples `[B, *shape]`, images in [−1, 1], to logits `[B]`.

    Symbols of images are told from each other by their colours, `Colours.table`, so that
    one network judges images of either sort. Symbols of texts come as they are, integers `[B, L]`,
    or relaxed, as probabilities `[B, V, L]`.
    """

    def __call__(self, examples: Tensor) -> Tensor:
        """`[B, *shape]` to `[B]`."""
        return cast(Tensor, super().__call__(examples))


@contextlib.contextmanager
def evaluating(network: Network) -> Iterator[Network]:
    """`network` in evaluation mode, where asking it leaves no trace in it, and then as it was."""
    was_training = network.training
    network.eval()
    try:
        yield network
    finally:
        network.train(was_training)


def refuse_alphabet(family: str, alphabet: Alphabet | None) -> None:
    """Raise ValueError if there is an alphabet: `family` has no network for symbols."""
    if alphabet is not None:
        raise ValueError(f"examples are made of symbols, but {family} has no network for these")


def image_outputs(shape: tuple[int, ...], alphabet: Alphabet | None) -> int:
    """Numbers a pixel that a generator of images gives: C colours, or logits of symbols.

    One logit for the two symbols of a Bernoulli, V for more.

    Raises:
        ValueError: `shape` is not `(C, S, S)`, or the alphabet is not one of such colours.
    """
    channels, _ = image_shape(shape)
    if alphabet is None:
        return channels
    if not isinstance(alphabet, Colours):
        raise ValueError(
            f"the alphabet is of {alphabet.noun}, expected colours, for an image of symbols"
        )
    if alphabet.channels != channels:
        raise ValueError(
            f"the alphabet's colours have {alphabet.channels} channels, but an image has {channels}"
        )
    return logits_a_position(alphabet)


def logits_a_position(alphabet: Alphabet) -> int:
    """How many logits one symbol is drawn from: 1 of a Bernoulli, V of a categorical."""
    return 1 if alphabet.size == 2 else alphabet.size


def as_logits(outputs: Tensor, alphabet: Alphabet) -> Tensor:
    """`[B, logits_a_position, *positions]` without the dimension that a Bernoulli has no use for.

    Returns:
        Bernoulli `[B, *positions]`, or categorical `[B, V, *positions]`.
    """
    return outputs.squeeze(1) if alphabet.size == 2 else outputs


def categorical_logits(logits: Tensor, size: int) -> Tensor:
    """Logits of V categories in dimension 1, fp32; those of Bernoullis as two, 0 and ℓ.

    Args:
        logits: `[B, *positions]` where `size` is 2, else `[B, V, *positions]`.
        size: V.
    """
    wide = logits.float()
    return torch.stack([torch.zeros_like(wide), wide], 1) if size == 2 else wide


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
