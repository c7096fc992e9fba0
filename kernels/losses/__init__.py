"""Adversarial losses: what each player minimises, as a function of the discriminator's logits."""

from .curves import EXPONENT_BOUND
from .definitions import DISCRIMINATOR_LOSSES, DIVERGENCES, GENERATOR_LOSSES
from .functions import discriminator_loss, generator_loss
from .modules import DiscriminatorLoss, GeneratorLoss
from .names import (
    ALIASES,
    DiscriminatorLossName,
    DivergenceName,
    GeneratorLossName,
    OutputName,
    Reduction,
)
from .objectives import Objective, discriminator_objective, generator_objective
from .statistics import DiscriminatorStatistics, GeneratorStatistics, update_log_z

__all__ = [
    "ALIASES",
    "DISCRIMINATOR_LOSSES",
    "DIVERGENCES",
    "EXPONENT_BOUND",
    "GENERATOR_LOSSES",
    "DiscriminatorLoss",
    "DiscriminatorLossName",
    "DiscriminatorStatistics",
    "DivergenceName",
    "GeneratorLoss",
    "GeneratorLossName",
    "GeneratorStatistics",
    "Objective",
    "OutputName",
    "Reduction",
    "discriminator_loss",
    "discriminator_objective",
    "generator_loss",
    "generator_objective",
    "update_log_z",
]
