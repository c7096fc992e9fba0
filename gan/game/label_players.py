"""The players of adversarial classification: the generator gives labels of images.

Real are an image x and its label y, generated are x and y ~ g(y|x); the discriminator sees the
pair, and the generator learns from nothing else (Hjelm et al. 2018, arXiv 1702.08431). Both kinds
of pairs are about the same images, which so pass the discriminator once: `gan.models.classifier`.

What `gan.game.symbol_players` says of symbols holds here with an image in the place of the latent
vector.
"""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from torch import Tensor

from gan.config import Config
from gan.data.batches import Labelled
from gan.data.training_set import TrainingSet
from gan.game.relaxation import one_hot
from gan.game.symbol_players import RelaxingPlayers, Symbolic, WeighingPlayers
from gan.generators.prediction import predict
from gan.models.base import Generator
from gan.pixels import Images, Points, to_network


class _Classifying(Symbolic):
    """What both share: examples are labels, about the images of the round."""

    # A classifier is to be certain.
    never_alarming = ("generator_entropy",)
    # Of the round, [B, C, S, S] in [−1, 1].
    _images: Tensor

    def __init__(self, config: Config, data: TrainingSet, device: torch.device) -> None:
        super().__init__(config, data, device)
        self._first_images = cast(Images, data.examples[: config.train.sample_grid**2])

    def shown(self, average: Generator, count: int) -> Points:
        """Probabilities of the labels of the first training images, fp32 `[≤ count, V]`."""
        return predict(average, self._first_images[:count])

    def _real_examples(self, batch: Labelled) -> Tensor:
        """The labels of `batch`, uint8 `[B]`; its images are those of the round from here on."""
        self._images = to_network(batch.examples)
        return batch.labels.to(torch.uint8)

    def _generate(self) -> tuple[Tensor, Tensor]:
        """The images, flat as latent vectors are, `[B, C·S·S]`, and the logits of their labels."""
        with self._precision():
            return rearrange(self._images, "b c h w -> b (c h w)"), self._ask_generator(
                self._images
            )

    def _verdict(self, examples: Tensor) -> Tensor:
        return look_up(self._ask_discriminator(self._images), examples)

    def _verdicts(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        table = self._ask_discriminator(self._images)  # [B, V]
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
    rows = rearrange(labels, "(m b) -> m b", b=len(table)).long()
    return rearrange(table.mT.gather(0, rows), "m b -> (m b)")
