"""Every name that the losses take: literal types for a type checker, and other words for them."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

DivergenceName = Literal[
    "gan",
    "jensen_shannon",
    "kl",
    "reverse_kl",
    "pearson",
    "squared_hellinger",
    "total_variation",
]
DiscriminatorLossName = Literal[
    DivergenceName, "least_squares", "hinge", "wasserstein", "relativistic"
]
GeneratorLossName = Literal[
    "saturating",
    "non_saturating",
    "boundary_seeking",
    "least_squares",
    "hinge",
    "wasserstein",
    "relativistic",
]
OutputName = Literal["f_gan", "log_ratio"]
Reduction = Literal["mean", "sum", "none"]

DEFAULT_OUTPUT: OutputName = "f_gan"

# What a type checker lets pass: the names, and the other words of the tables below.
DiscriminatorLossWord = Literal[
    DiscriminatorLossName,
    "bce",
    "vanilla",
    "logistic",
    "minimax",
    "nsgan",
    "js",
    "jsd",
    "forward_kl",
    "rkl",
    "pearson_chi2",
    "hellinger",
    "tv",
    "lsgan",
    "wgan",
    "rpgan",
]
GeneratorLossWord = Literal[
    GeneratorLossName,
    "bce",
    "vanilla",
    "logistic",
    "minimax",
    "nsgan",
    "ns",
    "bgan",
    "lsgan",
    "wgan",
    "rpgan",
]
OutputWord = Literal[OutputName, "nowozin"]


class Alias(NamedTuple):
    """What another word for a loss stands for.

    Attributes:
        discriminator: the loss of a discriminator, also as the `divergence` of a generator; None
            where the word names no such thing.
        generator: the loss of a generator, likewise.
        divergence: the only divergence for which the word names that loss of a generator; None for
            any.
    """

    discriminator: DiscriminatorLossName | None
    generator: GeneratorLossName | None
    divergence: DivergenceName | None = None


# Only words that mean one thing wherever they are used. "wgan_gp", "r3gan" or "dragan" name
# penalties too, "ragan" compares with averages, "mse" is twice least_squares: none of them is here.
# The generator's half of what the papers' code calls "bce", "vanilla" or "logistic" is the
# cross-entropy of generated samples with the label of real ones, which does not saturate; "minimax"
# is the game of the 2014 paper.
ALIASES: Mapping[str, Alias] = {
    "bce": Alias("gan", "non_saturating", "gan"),
    "vanilla": Alias("gan", "non_saturating", "gan"),
    "logistic": Alias("gan", "non_saturating", "gan"),
    "nsgan": Alias("gan", "non_saturating", "gan"),
    "minimax": Alias("gan", "saturating"),
    "ns": Alias(None, "non_saturating"),
    "bgan": Alias(None, "boundary_seeking"),
    "js": Alias("jensen_shannon", None),
    "jsd": Alias("jensen_shannon", None),
    "forward_kl": Alias("kl", None),
    "rkl": Alias("reverse_kl", None),
    "pearson_chi2": Alias("pearson", None),
    "hellinger": Alias("squared_hellinger", None),
    "tv": Alias("total_variation", None),
    "lsgan": Alias("least_squares", "least_squares"),
    "wgan": Alias("wasserstein", "wasserstein"),
    "rpgan": Alias("relativistic", "relativistic"),
}
"""Words that people type for a loss, by word."""

OUTPUT_ALIASES: Mapping[str, OutputName] = {"nowozin": "f_gan"}
"""Other words for an output activation: the first author of the f-GAN paper, its name before."""


def discriminator_name(loss: str) -> str:
    """The name of a discriminator's loss (a divergence's, too) that a word stands for, or it."""
    alias = ALIASES.get(loss)
    return loss if alias is None or alias.discriminator is None else alias.discriminator


def generator_name(loss: str) -> str:
    """The name of a generator's loss that a word stands for, or the word itself."""
    alias = ALIASES.get(loss)
    return loss if alias is None or alias.generator is None else alias.generator


def output_name(output: str) -> str:
    """The name of an output activation that a word stands for, or the word itself."""
    return OUTPUT_ALIASES.get(output, output)
