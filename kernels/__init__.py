"""Operators for generative adversarial networks, fused where that pays.

Every function takes `impl="auto"`: a Triton version where there is one that runs and is not known
to be slower, plain PyTorch otherwise. `use_impl` and the environment variable `FUSEDGAN_IMPL` ask
for one or the other, `explain()` says which runs and why.

The folder depends on torch alone (triton when it is there) and works when copied into another
project under another name.
"""

from .conv_transpose import (
    ActivationName,
    BatchNormActivation,
    ConvBlock,
    ConvTransposeBlock,
    FusedSequential,
    chain,
    conv2d,
    conv_transpose2d,
    conv_transpose2d_weight_grad,
)
from .dispatch import Impl, ImplUnavailableError, explain, use_impl
from .losses import (
    DiscriminatorLoss,
    DiscriminatorLossName,
    DiscriminatorStatistics,
    DivergenceName,
    GeneratorLoss,
    GeneratorLossName,
    GeneratorStatistics,
    Objective,
    OutputName,
    Reduction,
    discriminator_loss,
    discriminator_objective,
    generator_loss,
    generator_objective,
    update_log_z,
)
from .policy_gradient import (
    Samples,
    effective_sample_size,
    log_normaliser,
    log_prob,
    normalised_weights,
    sample_bernoulli,
    sample_categorical,
    weighted_log_prob,
)

__version__ = "0.1.0"

__all__ = [
    "ActivationName",
    "BatchNormActivation",
    "ConvBlock",
    "ConvTransposeBlock",
    "DiscriminatorLoss",
    "DiscriminatorLossName",
    "DiscriminatorStatistics",
    "DivergenceName",
    "FusedSequential",
    "GeneratorLoss",
    "GeneratorLossName",
    "GeneratorStatistics",
    "Impl",
    "ImplUnavailableError",
    "Objective",
    "OutputName",
    "Reduction",
    "Samples",
    "chain",
    "conv2d",
    "conv_transpose2d",
    "conv_transpose2d_weight_grad",
    "discriminator_loss",
    "discriminator_objective",
    "effective_sample_size",
    "explain",
    "generator_loss",
    "generator_objective",
    "log_normaliser",
    "log_prob",
    "normalised_weights",
    "sample_bernoulli",
    "sample_categorical",
    "update_log_z",
    "use_impl",
    "weighted_log_prob",
]
