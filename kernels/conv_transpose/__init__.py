"""Convolutions of kernel 4, stride 2, padding 1, up and down, with normalisation and activation."""

from .blocks import ConvBlock, ConvTransposeBlock
from .functions import conv2d, conv_transpose2d

__all__ = ["ConvBlock", "ConvTransposeBlock", "conv2d", "conv_transpose2d"]
