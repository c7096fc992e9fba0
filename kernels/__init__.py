"""Operators for generative adversarial networks, fused where that pays.

Every function takes `impl="auto"`: a Triton version where there is one that runs and is not known
to be slower, plain PyTorch otherwise. `use_impl` and the environment variable `FUSEDGAN_IMPL` ask
for one or the other, `explain()` says which runs and why.

The folder depends on torch alone (triton when it is there) and works when copied into another
project under another name.
"""

from .conv_transpose import ConvBlock, ConvTransposeBlock, conv2d, conv_transpose2d
from .dispatch import ImplUnavailableError, explain, use_impl
from .losses import DiscriminatorStatistics, discriminator_loss, generator_loss

__version__ = "0.1.0"

__all__ = [
    "ConvBlock",
    "ConvTransposeBlock",
    "DiscriminatorStatistics",
    "ImplUnavailableError",
    "conv2d",
    "conv_transpose2d",
    "discriminator_loss",
    "explain",
    "generator_loss",
    "use_impl",
]
