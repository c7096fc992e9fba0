"""Adversarial losses: what each player minimises, as a function of the discriminator's logits."""

from .functions import DiscriminatorStatistics, discriminator_loss, generator_loss

__all__ = ["DiscriminatorStatistics", "discriminator_loss", "generator_loss"]
