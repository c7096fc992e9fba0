"""What each player of the game minimises, as `objective` in the configuration says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gan.config import ObjectiveConfig
from kernels import discriminator_loss, generator_loss
from kernels.losses import DiscriminatorStatistics


@dataclass(frozen=True)
class Game:
    """Two losses over the discriminator's logits; the formulas are in `kernels.losses.terms`."""

    config: ObjectiveConfig

    def discriminator_loss(
        self, real_logits: Tensor, fake_logits: Tensor
    ) -> tuple[Tensor, DiscriminatorStatistics]:
        """The discriminator's loss (fp32 scalar), and what the logits say, on their device."""
        loss, statistics = discriminator_loss(
            real_logits, fake_logits, loss=self.config.discriminator, return_statistics=True
        )
        return loss, statistics

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        """The generator's loss (fp32 scalar)."""
        return generator_loss(
            fake_logits, loss=self.config.generator, divergence=self.config.discriminator
        )

    def penalty_due(self, discriminator_step: int) -> bool:
        """Whether this discriminator step, counted from 0, pays for the penalty."""
        penalties = self.config.penalties
        return penalties.r1 > 0 and discriminator_step % penalties.every == 0

    def penalty(self, real_logits: Tensor, real: Tensor) -> Tensor:
        """The penalty of a step that pays for it (fp32 scalar, differentiable).

        Scaled by `penalties.every`, so that its mean over all steps is what it would be if every
        step paid (lazy regularisation, Karras et al. 2020, arXiv 1912.04958, appendix B).

        Args:
            real_logits: `[B]`, computed from `real`.
            real: `[B, C, S, S]`, a leaf that requires a gradient.
        """
        penalties = self.config.penalties
        return penalties.every * penalties.r1 / 2 * squared_gradient(real_logits, real)


def squared_gradient(logits: Tensor, inputs: Tensor) -> Tensor:
    """E‖∇F(x)‖² over a batch, differentiable: R1 on real samples (Mescheder et al. 2018, eq. 9).

    Args:
        logits: `[B]`; each must depend on its own sample alone.
        inputs: `[B, …]`, from which `logits` were computed.

    Returns:
        A scalar in fp32 or better.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    squares = gradient.flatten(1).to(torch.promote_types(gradient.dtype, torch.float32)).square()
    return squares.sum(1).mean()
