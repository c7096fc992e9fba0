"""What each player of the game minimises, as `objective` in the configuration says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fusedgan_kernels import (
    DiscriminatorStatistics,
    GeneratorLossName,
    GeneratorStatistics,
    discriminator_loss,
    discriminator_objective,
    generator_loss,
    update_log_z,
)
from gan.config import LeastSquaresConfig, ObjectiveConfig
from gan.config.soundness import OF_DIVERGENCES
from gan.game.penalties import Seen, penalty

# Losses that a constant added to every logit leaves as they are: no logit means "either".
FREE_LEVEL = ("wasserstein", "relativistic")
# Generator losses that answer the discriminator's of the same name, which is no f-divergence.
ANSWERS: dict[str, GeneratorLossName] = {
    "least_squares": "least_squares",
    "hinge": "hinge",
    "wasserstein": "wasserstein",
    "relativistic": "relativistic",
}
# What a vanished gradient is divided by: the ratio stays finite, and so does a run.
SMALLEST = 1e-12


@dataclass(frozen=True)
class Game:
    """Two losses over the discriminator's logits; formulas: `kernels.losses.definitions`."""

    config: ObjectiveConfig

    def discriminator_loss(
        self, real_logits: Tensor, fake_logits: Tensor
    ) -> tuple[Tensor, DiscriminatorStatistics]:
        """The discriminator's loss (fp32 scalar), and what the logits say, on their device."""
        a, b = self._targets
        loss, statistics = discriminator_loss(
            real_logits,
            fake_logits,
            loss=self.config.discriminator,
            output=self.config.output,
            return_statistics=True,
            a=a,
            b=b,
        )
        return loss, statistics

    def _opposed(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        a, b = self._targets
        return discriminator_loss(
            real_logits,
            fake_logits,
            loss=self.config.discriminator,
            output=self.config.output,
            a=a,
            b=b,
        )

    @property
    def _targets(self) -> tuple[float, float]:
        """Targets a and b of the least-squares loss; others take nothing but the defaults."""
        targets = self.config.least_squares
        if self.config.discriminator != "least_squares":
            targets = LeastSquaresConfig()
        return targets.a, targets.b

    @property
    def generator_sees_real(self) -> bool:
        """Whether the generator's loss needs the logits of real samples."""
        return self.config.generator == "relativistic"

    def generator_loss(
        self,
        fake_logits: Tensor,
        real_logits: Tensor | None = None,
        log_z: Tensor | None = None,
    ) -> tuple[Tensor, GeneratorStatistics]:
        """The generator's loss (fp32 scalar), and what the logits say, on their device.

        Args:
            fake_logits: `[B]`.
            real_logits: `[B]`, constants; where `generator_sees_real`.
            log_z: 0-d, where `objective.centred`.
        """
        return self._generator_loss(
            self.config.generator,
            fake_logits,
            real_logits if self.generator_sees_real else None,
            log_z if self.config.centred else None,
        )

    def non_saturating_loss(self, fake_logits: Tensor, real_logits: Tensor) -> Tensor:
        """The generator's loss that adds up with the discriminator's, whatever it is trained on.

        Of an f-divergence the non-saturating one; of the others, which saturate nowhere, the one
        that answers the discriminator's loss.
        """
        discriminator = self.config.discriminator
        name = ANSWERS.get(discriminator, "non_saturating")
        real = real_logits if discriminator == "relativistic" else None
        return self._generator_loss(name, fake_logits, real, None)[0]

    def _generator_loss(
        self,
        name: GeneratorLossName,
        fake_logits: Tensor,
        real_logits: Tensor | None,
        log_z: Tensor | None,
    ) -> tuple[Tensor, GeneratorStatistics]:
        targets = self.config.least_squares if name == "least_squares" else LeastSquaresConfig()
        loss, statistics = generator_loss(
            fake_logits,
            loss=name,
            divergence=self.config.discriminator if name in OF_DIVERGENCES else "gan",
            output=self.config.output if name in OF_DIVERGENCES else "nowozin",
            return_statistics=True,
            c=targets.c,
            real_logits=real_logits,
            log_z=log_z,
        )
        return loss, statistics

    def next_log_z(self, log_z: Tensor, statistics: GeneratorStatistics) -> Tensor:
        """The log Z after a generator step of these statistics; unchanged if not centred."""
        if not self.config.centred or statistics.log_z is None:
            return log_z
        return update_log_z(log_z, statistics.log_z, rate=self.config.log_z_rate)

    # --- penalties -------------------------------------------------------------------------

    def penalty_due(self, discriminator_step: int) -> bool:
        """Whether this discriminator step, counted from 0, pays for the penalties."""
        penalties = self.config.penalties
        return penalties.any and discriminator_step % penalties.every == 0

    def penalty(
        self,
        discriminator: torch.nn.Module,
        real: Seen,
        fake: Seen,
        rng: torch.Generator,
    ) -> Tensor:
        """The penalties of a step that pays for them; see `gan.game.penalties.penalty`."""
        return penalty(self.config.penalties, discriminator, real, fake, rng)

    # --- instruments -----------------------------------------------------------------------

    @property
    def meaningless(self) -> tuple[str, ...]:
        """Columns of the history that say nothing about this game.

        A Wasserstein critic is defined up to a constant, so that its logits' sign is no verdict. A
        single sample has no share of a weight.
        """
        free = self.config.discriminator == "wasserstein"
        return (
            *(("real_accuracy", "fake_accuracy") if free else ()),
            *(("effective_sample_size",) if self.config.discrete.samples == 1 else ()),
        )

    @torch.no_grad()
    def equilibrium_distance(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """E|2D − 1| over real and generated samples alike: 0 where D = ½ everywhere, 1 at most.

        D = σ(F − F₀), where F₀ is the logit that means "either": what the loss says, or, where it
        knows differences only, the mean of this batch.
        """
        logits = torch.cat([real_logits.flatten(), fake_logits.flatten()]).float()
        if self.config.discriminator in FREE_LEVEL:
            level: Tensor | float = logits.mean()
        else:
            level = discriminator_objective(
                self.config.discriminator, self.config.output, *self._targets
            ).threshold
        # 2σ(x) − 1 = tanh(x/2)
        return ((logits - level) / 2).tanh().abs().mean()

    def total_and_ratio(self, real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Two instruments that tell how the game stands, both on the same logits `[B]`, detached.

        - The total loss: the discriminator's plus the generator's non-saturating one. Neither
          hides the other, and it does not depend on which loss the generator is trained with.
        - The gradient ratio ‖∂/∂F of the minimax loss‖₁ / ‖∂/∂F of the non-saturating loss‖₁ over
          the generated samples: near 0 where the minimax game has no gradient left, 1 at D = ½.
        """
        real, fake = real_logits.detach(), fake_logits.detach().requires_grad_()
        # Minus the minimax loss of the generator, but for what does not depend on it.
        opposed, answer = self._opposed(real, fake), self.non_saturating_loss(fake, real)
        (minimax,) = torch.autograd.grad(opposed, fake)
        (other,) = torch.autograd.grad(answer, fake)
        ratio = minimax.float().abs().sum() / other.float().abs().sum().clamp(min=SMALLEST)
        return (opposed + answer).detach(), ratio
