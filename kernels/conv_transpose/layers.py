"""A chain of convolutions, normalisations and activations as data, and what it computes.

A `Layer` is one block's arithmetic at one call: product, normalisation, activation, each optional
but one of the first two. Modules make layers of their parameters (`blocks`, `chains`); here they
are computed one operator after the other, and `autograd.layers` computes the same with fused
kernels. Nothing here asks which implementation runs.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import twin
from .activations import ActivationName, activate
from .definitions.normalisation import BatchNorm, batch_norm, fold


class Promise:
    """What is known of a tensor before it exists, for the checks of the layer that reads it."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device

    def dim(self) -> int:
        """As of a tensor."""
        return len(self.shape)

    def numel(self) -> int:
        """As of a tensor."""
        return math.prod(self.shape)


# (x, weight, bias, activation) ↦ activation(convolution)
Convolution = Callable[[Tensor, Tensor, Tensor | None, str | None], Tensor]


class Layer(NamedTuple):
    """activation(norm(product(x))).

    Attributes:
        weight: of the convolution, [Cin, Cout, 4, 4] transposed, else [Cout, Cin, 4, 4]; None
            for a layer without one, which has a norm.
        bias: of the convolution, [Cout] or None.
        norm: the normalisation at this call, or None.
        activation: None, "relu", "leaky_relu", "tanh" or "sigmoid".
        transposed: whether the convolution is.
    """

    weight: Tensor | None
    bias: Tensor | None
    norm: BatchNorm | None
    activation: ActivationName | None
    transposed: bool

    @property
    def out_dim(self) -> int:
        """Which dimension of the weight is Cout."""
        return 1 if self.transposed else 0


def folded(layer: Layer) -> Layer:
    """The layer with a normalisation by running statistics folded into weight and bias.

    The layer itself where there is none, or no convolution to fold it into.
    """
    if layer.norm is None or layer.norm.training or layer.weight is None:
        return layer
    weight, bias = fold(layer.weight, layer.bias, layer.norm, layer.out_dim)
    return layer._replace(weight=weight, bias=bias, norm=None)


class Convolutions(NamedTuple):
    """One implementation of both convolutions, each with its bias and activation."""

    transposed: Convolution
    direct: Convolution


def _dgrad(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    return activate(twin.dgrad(x, weight, bias), activation)


def _fprop(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    return activate(twin.fprop(x, weight, bias), activation)


TORCH = Convolutions(_dgrad, _fprop)


def run_layers(x: Tensor, layers: Sequence[Layer], convolutions: Convolutions = TORCH) -> Tensor:
    """All layers, one operator after the other; differentiable, to any order.

    Args:
        x: [N, C, H, W].
        layers: what to compute.
        convolutions: whose they are; everything else is PyTorch's.
    """
    for layer in map(folded, layers):
        if layer.weight is not None:
            x = product(x, layer, convolutions)
        if layer.norm is not None:
            x = activate(batch_norm(x, layer.norm), layer.activation)
    return x


def product(x: Tensor, layer: Layer, convolutions: Convolutions) -> Tensor:
    """The layer's convolution with bias, and with the activation where no normalisation follows."""
    assert layer.weight is not None
    activation = layer.activation if layer.norm is None else None
    run = convolutions.transposed if layer.transposed else convolutions.direct
    return run(x, layer.weight, layer.bias, activation)
