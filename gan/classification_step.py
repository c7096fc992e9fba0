"""The players of adversarial classification: the generator gives labels of images.

Real are an image x and its label y, generated are x and y ~ g(y|x); the discriminator sees the
pair, and the generator learns from nothing else (Hjelm et al. 2018, arXiv 1702.08431). Both kinds
of pairs are about the same images, which so pass the discriminator once: `gan.models.classifier`.

What `gan.discrete_step` says of symbols holds here with an image in the place of the latent vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan.config import Config
from gan.data.batches import Labelled
from gan.discrete_step import RelaxingPlayers, Symbolic, WeighingPlayers
from gan.pixels import to_network
from gan.relaxation import one_hot
from gan.symbols import Alphabet


def make_classifying_players(
    config: Config, shape: Sequence[int], device: torch.device, alphabet: Alphabet | None
) -> Symbolic:
    """The players of the game of labels that `objective` describes.

    Args:
        config: `seed`, `model`, `objective` and `train` are used.
        shape: of an image, `(C, S, S)`.
        device: where to play.
        alphabet: of labels.

    Raises:
        ValueError: it is none of labels.
    """
    if alphabet is None or alphabet.labels is None:
        raise ValueError("a classifier needs an alphabet of labels")
    if config.objective.discrete.relaxes:
        return RelaxingClassifier(config, shape, device, alphabet)
    return WeighingClassifier(config, shape, device, alphabet)


class _Classifying(Symbolic):
    """What both share: examples are labels, about the images of the round."""

    # Of the round, [B, C, S, S] in [−1, 1].
    _images: Tensor

    def _real_examples(self, batch: Labelled) -> Tensor:
        """The labels of `batch`, uint8 `[B]`; its images are those of the round from here on."""
        self._images = to_network(batch.examples)
        return batch.labels.to(torch.uint8)

    def _generate(self) -> tuple[Tensor, Tensor]:
        """The images, flat as latent vectors are, `[B, C·S·S]`, and the logits of their labels."""
        with self._precision():
            return self._images.flatten(1), self.generator(self._images)

    def _verdict(self, examples: Tensor) -> Tensor:
        return look_up(self.discriminator(self._images), examples)

    def _verdicts(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        table = self.discriminator(self._images)  # [B, V]
        return look_up(table, real), look_up(table, fake)


class WeighingClassifier(_Classifying, WeighingPlayers):
    """Importance and reinforce: M labels are drawn for each image, and weighed."""


class RelaxingClassifier(_Classifying, RelaxingPlayers):
    """Straight-through and relaxed: F(x, ·) is averaged over one-hot labels or probabilities."""

    def _real_examples(self, batch: Labelled) -> Tensor:
        return one_hot(super()._real_examples(batch), self.alphabet.size)


def look_up(table: Tensor, labels: Tensor) -> Tensor:
    """F(x, y) of pairs, out of F(x, ·).

    Args:
        table: `[B, V]`.
        labels: for each image in turn, M times: integers `[M·B]`. Or probabilities `[B, V]`, over
            which F is averaged: Σ_y p(y|x) F(x, y).

    Returns:
        `[M·B]` or `[B]`, differentiable in table and probabilities.
    """
    if labels.is_floating_point():
        return (labels * table).sum(1)
    rows = labels.view(-1, len(table)).long()  # [M, B]
    return table.mT.gather(0, rows).flatten()
