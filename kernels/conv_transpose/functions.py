"""The convolutions as functions of tensors, with bias and activation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dispatch import Operator, register
from . import products, triton_choice
from .activations import activate, check_activation
from .geometry import DEFAULT, KERNEL, Geometry, Pair, geometry


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    impl: str = "auto",
    *,
    stride: int | Pair = 2,
    padding: int | Pair = 1,
    output_padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
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
        stride: with another than 2 the call is torch's, and likewise below.
        padding: another than 1.
        output_padding: another than 0.
        dilation: another than 1.
        groups: another than 1: then `weight` is [Cin, Cout / groups, 4, 4].

    Returns:
        [N, Cout, 2H, 2W], of the inputs' dtype (autocast's under autocast).

    Raises:
        RuntimeError: an argument's rank, shape, dtype or device does not fit the others.
        ValueError: unknown `activation` or `impl`, or a geometry out of range.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    check_activation(activation)
    moves = _moves(stride, padding, output_padding, dilation, groups)
    check_tensors(x, weight, bias, transposed=True, geometry=moves)
    return _CONV_TRANSPOSE.run(impl, x, weight, bias, activation, moves)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    impl: str = "auto",
    *,
    stride: int | Pair = 2,
    padding: int | Pair = 1,
    dilation: int | Pair = 1,
    groups: int = 1,
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
        stride: with another than 2 the call is torch's, and likewise below.
        padding: another than 1.
        dilation: another than 1.
        groups: another than 1: then `weight` is [Cout, Cin / groups, 4, 4].

    Returns:
        [N, Cout, ⌊H/2⌋, ⌊W/2⌋], of the inputs' dtype (autocast's under autocast).

    Raises:
        RuntimeError: an argument's rank, shape, dtype or device does not fit the others.
        ValueError: unknown `activation` or `impl`, or a geometry out of range.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    check_activation(activation)
    moves = _moves(stride, padding, 0, dilation, groups)
    check_tensors(x, weight, bias, transposed=False, geometry=moves)
    return _CONV.run(impl, x, weight, bias, activation, moves)


def conv_transpose2d_weight_grad(x: Tensor, grad: Tensor, impl: str = "auto") -> Tensor:
    """Gradient of `conv_transpose2d(x, weight)` with respect to the weight, kernel 4.

    ∂/∂weight ⟨conv_transpose2d(x, weight), grad⟩: linear in both arguments, differentiable in
    both, and independent of the weight. That of `conv2d(x, weight)` is the same with the two
    exchanged: `conv_transpose2d_weight_grad(grad, x)`.

    Args:
        x: [N, Cin, H, W], floating point.
        grad: [N, Cout, 2H, 2W], dtype and device of `x` (any float dtype under autocast). One
            row or column more, 2H + 1, is what an even convolution leaves out of an odd image.
        impl: "auto", "triton" or "torch", see `kernels.explain`.

    Returns:
        [Cin, Cout, 4, 4], of the inputs' dtype (autocast's under autocast).

    Raises:
        RuntimeError: an argument's rank, shape, dtype or device does not fit the other.
        ValueError: unknown `impl`.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    for name, tensor in (("x", x), ("grad", grad)):
        if tensor.dim() != 4:
            raise RuntimeError(f"{name} has shape {list(tensor.shape)}: expected [N, C, H, W]")
    n, _, h, w = x.shape
    if grad.shape[0] != n or (grad.shape[2] // 2, grad.shape[3] // 2) != (h, w):
        raise RuntimeError(
            f"grad has shape {list(grad.shape)} and x {list(x.shape)}: expected "
            f"[{n}, Cout, {2 * h}, {2 * w}]"
        )
    _check_like_x(x, grad, "grad")
    return _WEIGHT_GRAD.run(impl, x, grad)


def check_tensors(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    transposed: bool,
    geometry: Geometry = DEFAULT,
) -> None:
    """Raise RuntimeError, torch's own kind for convolutions, naming the argument that is wrong."""
    layout = "[Cin, Cout, 4, 4]" if transposed else "[Cout, Cin, 4, 4]"
    if weight.dim() != 4:
        raise RuntimeError(f"weight has shape {list(weight.shape)}: expected {layout}")
    if x.dim() != 4:
        raise RuntimeError(f"x has shape {list(x.shape)}: expected [N, Cin, H, W]")
    groups = geometry.groups
    if transposed:
        channels_in, channels_out = weight.shape[0], weight.shape[1] * groups
    else:
        channels_in, channels_out = weight.shape[1] * groups, weight.shape[0]
    if x.shape[1] != channels_in:
        grouped = f" with groups={groups}" if groups > 1 else ""
        raise RuntimeError(
            f"x has {x.shape[1]} channels (shape {list(x.shape)}), but weight of shape "
            f"{list(weight.shape)} = {layout}{grouped} takes {channels_in}"
        )
    if weight.shape[2:] == KERNEL and geometry == DEFAULT:  # others are torch's, errors included
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


def _moves(
    stride: int | Pair,
    padding: int | Pair,
    output_padding: int | Pair,
    dilation: int | Pair,
    groups: int,
) -> Geometry:
    if (stride, padding, output_padding, dilation, groups) == (2, 1, 0, 1, 1):
        return DEFAULT  # at no cost where nothing else is asked for
    return geometry(stride, padding, output_padding, dilation, groups)


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
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, geometry: Geometry
) -> Tensor:
    if geometry == DEFAULT and weight.shape[2:] == KERNEL:
        return activate(products.spread(x, weight, bias), activation)
    y = F.conv_transpose2d(
        x,
        weight,
        bias,
        geometry.stride,
        geometry.padding,
        geometry.output_padding,
        geometry.groups,
        geometry.dilation,
    )
    return activate(y, activation)


def _conv_torch(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, geometry: Geometry
) -> Tensor:
    if geometry == DEFAULT and weight.shape[2:] == KERNEL:
        return activate(products.convolve(x, weight, bias), activation)
    y = F.conv2d(
        x, weight, bias, geometry.stride, geometry.padding, geometry.dilation, geometry.groups
    )
    return activate(y, activation)


def _weight_grad_torch(x: Tensor, grad: Tensor) -> Tensor:
    return products.weight_grad(grad, x)


_CONV_TRANSPOSE = register(
    Operator("conv_transpose2d", _conv_transpose_torch, triton_choice.CONV_TRANSPOSE)
)
_CONV = register(Operator("conv2d", _conv_torch, triton_choice.CONV))
_WEIGHT_GRAD = register(
    Operator("conv_transpose2d_weight_grad", _weight_grad_torch, triton_choice.WEIGHT_GRAD)
)
