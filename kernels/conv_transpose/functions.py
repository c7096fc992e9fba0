"""The convolutions as functions of tensors, with bias and activation."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dispatch import Operator, register
from .products import convolve, spread

ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid")
NEGATIVE_SLOPE = 0.2


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    impl: str = "auto",
) -> Tensor:
    """activation(conv_transpose2d(x, weight, bias, stride=2, padding=1)), kernel 4.

    y[n, :, 2h+a, 2w+b] = Σ_{r,s} x[n, :, h+a−r, w+b−s] · weight[:, :, 1−a+2r, 1−b+2s] over
    r, s ∈ {0, 1}, for each phase a, b ∈ {0, 1} of the output.

    Args:
        x: [N, Cin, H, W], floating point; channels_last in gives channels_last out.
        weight: [Cin, Cout, 4, 4], dtype and device of `x` (any float dtype under autocast);
            fastest in channels_last, too.
        bias: [Cout] or None.
        activation: None, "relu", "leaky_relu" (slope 0.2), "tanh" or "sigmoid".
        impl: "auto", "triton" or "torch", see `kernels.explain`.

    Returns:
        [N, Cout, 2H, 2W], of the inputs' dtype (autocast's under autocast).

    Raises:
        RuntimeError: an argument's rank, shape, dtype or device does not fit the others.
        ValueError: unknown `activation` or `impl`.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    check_activation(activation)
    check_tensors(x, weight, bias, transposed=True)
    return _CONV_TRANSPOSE.run(impl, x, weight, bias, activation)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    impl: str = "auto",
) -> Tensor:
    """activation(conv2d(x, weight, bias, stride=2, padding=1)), kernel 4.

    Args:
        x: [N, Cin, H, W] with H and W at least 2, floating point; channels_last in gives
            channels_last out.
        weight: [Cout, Cin, 4, 4], dtype and device of `x` (any float dtype under autocast);
            fastest in channels_last, too.
        bias: [Cout] or None.
        activation: None, "relu", "leaky_relu" (slope 0.2), "tanh" or "sigmoid".
        impl: "auto", "triton" or "torch", see `kernels.explain`.

    Returns:
        [N, Cout, ⌊H/2⌋, ⌊W/2⌋], of the inputs' dtype (autocast's under autocast).

    Raises:
        RuntimeError: an argument's rank, shape, dtype or device does not fit the others.
        ValueError: unknown `activation` or `impl`.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    check_activation(activation)
    check_tensors(x, weight, bias, transposed=False)
    return _CONV.run(impl, x, weight, bias, activation)


def activate(y: Tensor, activation: str | None) -> Tensor:
    """Apply an activation in place: nothing but the activation reads a product's result."""
    return y if activation is None else _IN_PLACE[activation](y)


_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "leaky_relu": lambda y: F.leaky_relu_(y, NEGATIVE_SLOPE),
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
}


def check_activation(activation: str | None) -> None:
    """Raise ValueError for an unknown activation."""
    if activation is not None and activation not in ACTIVATIONS:
        known = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(f"activation={activation!r} is not known; known: None, {known}")


def check_tensors(x: Tensor, weight: Tensor, bias: Tensor | None, *, transposed: bool) -> None:
    """Raise RuntimeError, torch's own kind for convolutions, naming the argument that is wrong."""
    layout = "[Cin, Cout, 4, 4]" if transposed else "[Cout, Cin, 4, 4]"
    if weight.dim() != 4 or weight.shape[2:] != (4, 4):
        raise RuntimeError(
            f"weight has shape {list(weight.shape)}: expected {layout}; "
            "only kernel 4 with stride 2 and padding 1 is supported"
        )
    if x.dim() != 4:
        raise RuntimeError(f"x has shape {list(x.shape)}: expected [N, Cin, H, W]")
    channels_in, channels_out = weight.shape[:2] if transposed else weight.shape[1::-1]
    if x.shape[1] != channels_in:
        raise RuntimeError(
            f"x has {x.shape[1]} channels (shape {list(x.shape)}), but weight of shape "
            f"{list(weight.shape)} = {layout} takes {channels_in}"
        )
    least = 1 if transposed else 2
    if x.shape[2] < least or x.shape[3] < least:
        raise RuntimeError(
            f"x has shape {list(x.shape)}: its height and width must be at least {least}"
        )
    if bias is not None and bias.shape != (channels_out,):
        raise RuntimeError(
            f"bias has shape {list(bias.shape)}: expected [{channels_out}], one per output channel"
        )
    _check_like_x(x, weight, "weight")
    if bias is not None:
        _check_like_x(x, bias, "bias")


def _check_like_x(x: Tensor, other: Tensor, argument: str) -> None:
    if other.device != x.device:
        raise RuntimeError(
            f"{argument} is on {other.device} and x on {x.device}: both must be on one device"
        )
    if not (x.is_floating_point() and other.is_floating_point()):
        wrong, dtype = (argument, other.dtype) if x.is_floating_point() else ("x", x.dtype)
        raise RuntimeError(f"{wrong} has dtype {dtype}: it must be floating point")
    if other.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise RuntimeError(
            f"{argument} has dtype {other.dtype} and x {x.dtype}: outside torch.autocast both must "
            "have the same dtype"
        )


def _conv_transpose_torch(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None
) -> Tensor:
    return activate(spread(x, weight, bias), activation)


def _conv_torch(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    return activate(convolve(x, weight, bias), activation)


_CONV_TRANSPOSE = register(Operator("conv_transpose2d", _conv_transpose_torch))
_CONV = register(Operator("conv2d", _conv_torch))
