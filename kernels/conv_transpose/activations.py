"""The activations that a convolution can end in."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

ActivationName = Literal["relu", "leaky_relu", "tanh", "sigmoid"]
ACTIVATIONS: tuple[ActivationName, ...] = get_args(ActivationName)
NEGATIVE_SLOPE = 0.2


def check_activation(activation: str | None) -> None:
    """Raise ValueError for an unknown activation."""
    if activation is not None and activation not in ACTIVATIONS:
        known = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(f"activation={activation!r} is not known; known: None, {known}")


def activate(y: Tensor, activation: str | None) -> Tensor:
    """Apply an activation in place: nothing but the activation reads a product's result."""
    return y if activation is None else _IN_PLACE[activation](y)


def activation_backward(g: Tensor, y: Tensor, activation: str | None) -> Tensor:
    """Gradient g · f′ in terms of the activation's output y = f(z), which determines it for each.

    Differentiable in g and y, so that a derivative taken of it runs through y to what y was
    computed from.
    """
    return g if activation is None else _BACKWARD[activation](g, y)


_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "leaky_relu": lambda y: F.leaky_relu_(y, NEGATIVE_SLOPE),
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
}

# torch's own, in one pass each and with the arithmetic of a wider type inside.
_BACKWARD: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda g, y: torch.ops.aten.threshold_backward(g, y, 0),
    "leaky_relu": lambda g, y: torch.ops.aten.leaky_relu_backward(g, y, NEGATIVE_SLOPE, True),
    "tanh": torch.ops.aten.tanh_backward,
    "sigmoid": torch.ops.aten.sigmoid_backward,
}
