"""Convolutions of kernel 4, stride 2, padding 1, up and down, with normalisation and activation."""

from .activations import ActivationName
from .blocks import ConvBlock, ConvTransposeBlock
from .chains import BatchNormActivation, FusedSequential, chain
from .functions import conv2d, conv_transpose2d, conv_transpose2d_weight_grad

__all__ = [
    "ActivationName",
    "BatchNormActivation",
    "ConvBlock",
    "ConvTransposeBlock",
    "FusedSequential",
    "chain",
    "conv2d",
    "conv_transpose2d",
    "conv_transpose2d_weight_grad",
]
