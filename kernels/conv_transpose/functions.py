"""The convolutions as functions of tensors, with bias and activation; and when Triton runs them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dispatch import PACKAGE, Impl, Operator, TritonImplementation, register
from ..private import looked_into
from . import tiles, twin
from .activations import ActivationName, activate, check_activation
from .boxes import taken
from .geometry import DEFAULT, KERNEL, Geometry, Numbers, PaddingWord, geometry
from .layers import Promise
from .layout import conversions


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 2,
    padding: Numbers = 1,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
    *,
    activation: ActivationName | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """activation(conv_transpose2d(x, weight, bias, stride=2, padding=1)), kernel 4.

    y[n, :, 2h+a, 2w+b] = Σ_{r,s} x[n, :, h+a−r, w+b−s] · weight[:, :, 1−a+2r, 1−b+2s] over
    r, s ∈ {0, 1}, for each phase a, b ∈ {0, 1} of the output.

    Arguments are in the order of `torch.nn.functional.conv_transpose2d`. Whatever else that one
    takes, other kernels and dtypes among it, is computed by it.

    Args:
        x: [N, Cin, H, W] or [Cin, H, W]; channels_last in gives channels_last out.
        weight: [Cin, Cout, 4, 4], dtype and device of `x` (any float dtype under autocast);
            fastest in channels_last, too.
        bias: [Cout] or None.
        stride: with another than 2 the call is torch's, and likewise below. One integer, or one
            for each direction.
        padding: another than 1.
        output_padding: another than 0.
        groups: another than 1: then `weight` is [Cin, Cout / groups, 4, 4].
        dilation: another than 1.
        activation: None, "relu", "leaky_relu" (slope 0.2), "tanh" or "sigmoid".
        impl: "auto", "triton" or "torch", see `kernels.explain`.

    Returns:
        [N, Cout, 2H, 2W] or [Cout, 2H, 2W], of the inputs' dtype (autocast's under autocast).

    Raises:
        RuntimeError: an argument's rank, shape, dtype, device or range does not fit the others.
        TypeError: a stride or the like is no integer, nor a sequence of them.
        ValueError: unknown `activation` or `impl`.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    check_activation(activation)
    moves = _moves(stride, padding, output_padding, groups, dilation)
    return _run(_CONV_TRANSPOSE, x, weight, bias, activation, moves, impl)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 2,
    padding: Numbers | PaddingWord = 1,
    dilation: Numbers = 1,
    groups: int = 1,
    *,
    activation: ActivationName | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """activation(conv2d(x, weight, bias, stride=2, padding=1)), kernel 4.

    Arguments are in the order of `torch.nn.functional.conv2d`. Whatever else that one takes, other
    kernels and dtypes among it, is computed by it.

    Args:
        x: [N, Cin, H, W] or [Cin, H, W] with H and W at least 2; channels_last in gives
            channels_last out.
        weight: [Cout, Cin, 4, 4], dtype and device of `x` (any float dtype under autocast);
            fastest in channels_last, too.
        bias: [Cout] or None.
        stride: with another than 2 the call is torch's, and likewise below. One integer, or one
            for each direction.
        padding: another than 1; "valid" and "same" are torch's as well.
        dilation: another than 1.
        groups: another than 1: then `weight` is [Cout, Cin / groups, 4, 4].
        activation: None, "relu", "leaky_relu" (slope 0.2), "tanh" or "sigmoid".
        impl: "auto", "triton" or "torch", see `kernels.explain`.

    Returns:
        [N, Cout, ⌊H/2⌋, ⌊W/2⌋] or [Cout, ⌊H/2⌋, ⌊W/2⌋], of the inputs' dtype (autocast's under
        autocast).

    Raises:
        RuntimeError: an argument's rank, shape, dtype, device or range does not fit the others.
        TypeError: a stride or the like is no integer, nor a sequence of them.
        ValueError: unknown `activation` or `impl`.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    check_activation(activation)
    moves = _moves(stride, padding, 0, groups, dilation)
    return _run(_CONV, x, weight, bias, activation, moves, impl)


def conv_transpose2d_weight_grad(x: Tensor, grad: Tensor, impl: Impl = "auto") -> Tensor:
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
    if not x.is_floating_point():
        raise RuntimeError(f"x has dtype {x.dtype}: it must be floating point")
    return _WEIGHT_GRAD.run(impl, x, grad)


def check_tensors(
    x: Tensor | Promise,
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
        raise RuntimeError(f"x has shape {list(x.shape)}: expected [N, Cin, H, W] or [Cin, H, W]")
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
    stride: Numbers,
    padding: Numbers | PaddingWord,
    output_padding: Numbers,
    groups: int,
    dilation: Numbers,
) -> Geometry:
    given = (stride, padding, output_padding, groups, dilation)
    if all(type(number) is int for number in given) and given == (2, 1, 0, 1, 1):
        return DEFAULT  # at no cost where nothing else is asked for
    return geometry(stride, padding, output_padding, dilation, groups)


def _run(
    operator: Operator[[Tensor, Tensor, Tensor | None, ActivationName | None, Geometry], Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: ActivationName | None,
    moves: Geometry,
    impl: Impl,
) -> Tensor:
    """The operator of a batch of images, or of one without a batch, as torch's take it."""
    images = x.unsqueeze(0) if x.dim() == 3 else x
    check_tensors(images, weight, bias, transposed=operator is _CONV_TRANSPOSE, geometry=moves)
    y = operator.run(impl, images, weight, bias, activation, moves)
    return y.squeeze(0) if x.dim() == 3 else y


def _check_like_x(x: Tensor | Promise, other: Tensor, argument: str) -> None:
    if other.device != x.device:
        raise RuntimeError(
            f"{argument} is on {other.device} and x on {x.device}: both must be on one device"
        )
    if other.dtype == x.dtype:
        return
    if not torch.is_autocast_enabled(x.device.type):
        raise RuntimeError(
            f"{argument} has dtype {other.dtype} and x {x.dtype}: outside torch.autocast both must "
            "have the same dtype"
        )
    if not (
        x.dtype.is_floating_point and other.dtype.is_floating_point
    ):  # autocast leaves others alone
        raise RuntimeError(
            f"{argument} has dtype {other.dtype} and x {x.dtype}: torch.autocast casts floating "
            "point alone"
        )


# --- in PyTorch ---


def _conv_transpose_torch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: ActivationName | None,
    geometry: Geometry,
) -> Tensor:
    if geometry == DEFAULT and weight.shape[2:] == KERNEL:
        return activate(twin.dgrad(x, weight, bias), activation)
    if isinstance(geometry.padding, str):
        raise TypeError(f"padding={geometry.padding!r}: expected integers")  # as torch's
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
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: ActivationName | None,
    geometry: Geometry,
) -> Tensor:
    if geometry == DEFAULT and weight.shape[2:] == KERNEL:
        return activate(twin.fprop(x, weight, bias), activation)
    y = F.conv2d(
        x, weight, bias, geometry.stride, geometry.padding, geometry.dilation, geometry.groups
    )
    return activate(y, activation)


def _weight_grad_torch(x: Tensor, grad: Tensor) -> Tensor:
    return twin.wgrad(grad, x)


# --- when Triton: what it supports, and where it is known to be faster. Imports no triton. ---

SCOPE = (
    "kernel 4, stride 2, padding 1, without output_padding, dilation and groups; bf16, fp16, fp32 "
    "(tf32 as torch's convolutions) and fp64; derivatives of any order"
)
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def _load_conv_transpose() -> Callable[..., Any]:
    from .autograd.products import conv_transpose2d

    return conv_transpose2d


def _load_conv() -> Callable[..., Any]:
    from .autograd.products import conv2d

    return conv2d


def _load_weight_grad() -> Callable[..., Any]:
    from .autograd.products import conv_transpose2d_weight_grad

    return conv_transpose2d_weight_grad


def _why_unsupported(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: ActivationName | None,
    geometry: Geometry,
) -> str | None:
    if weight.shape[2:] != KERNEL:
        return f"the kernel is {'×'.join(map(str, weight.shape[2:]))}"
    for name, given, wanted in zip(Geometry._fields, geometry, DEFAULT, strict=True):
        if given != wanted:
            return f"{name} is {given!r}"
    return why_unsupported(x, weight)


def why_unsupported(x: Tensor, other: Tensor) -> str | None:
    """Why Triton cannot compute a product of these operands, or None."""
    if looked_into():
        return (
            "a transform of torch.func, forward mode or torch.jit.trace is active, and the Triton "
            "products have no rule for it"
        )
    for tensor in (x, other):
        if tensor.dtype not in _DTYPES:
            return f"a tensor has dtype {tensor.dtype}"
        if tensor.shape[0] == 0 or tensor.shape[1] == 0:
            return f"a tensor of shape {list(tensor.shape)} is empty"
    return None


def _why_torch_conv_transpose(x: Tensor, weight: Tensor, *_: object) -> str | None:
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    return why_torch("dgrad", x, weight.shape[0], weight.shape[1], positions)


def _why_torch_conv(x: Tensor, weight: Tensor, *_: object) -> str | None:
    positions = x.shape[0] * (x.shape[2] // 2) * (x.shape[3] // 2)
    return why_torch("fprop", x, weight.shape[0], weight.shape[1], positions)


def _why_torch_weight_grad(x: Tensor, grad: Tensor) -> str | None:
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    return why_torch("wgrad", x, x.shape[1], grad.shape[1], positions)


def why_torch(
    op: tiles.Operation,
    operand: Tensor,
    b: int,
    a: int,
    positions: int,
    epilogue: tiles.Epilogue = "plain",
) -> str | None:
    """Why "auto" leaves a product to cuDNN, or None where the table says that Triton wins.

    Args:
        op: "dgrad", "fprop" or "wgrad".
        operand: of the product: its device and dtype count, autocast's dtype where that is on.
        b: channels of the small image.
        a: channels of the large image.
        positions: N·h·w of the small image.
        epilogue: one of `tiles.EPILOGUES`.
    """
    device = operand.device
    if device.type != "cuda":
        return f"the tensors are on {device.type}, where Triton only interprets"
    dtype = operand.dtype
    if torch.is_autocast_enabled("cuda") and dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cuda")
    precision, _ = tiles.precision_of(dtype, device.type)
    architecture = tiles.architecture_of(device)
    return tiles.why_torch(op, precision, b, a, positions, architecture, epilogue)


def why_torch_on(device: torch.device) -> str | None:
    """Why "auto" never takes Triton on a device, whatever the call, or None."""
    if device.type != "cuda":
        return None
    if (device.index or 0) >= torch.cuda.device_count():
        return f"PyTorch sees no {device}"
    architecture = tiles.architecture_of(device)
    if any(entry.verified for entry in tiles.table(architecture)):
        return None
    return (
        f"cuDNN, for no launch configuration for sm_{architecture} is verified yet: "
        f"python -m {PACKAGE}.tune measures them"
    )


def _note() -> str:
    """What has happened to layouts in this process, and how it launched, for `explain`."""
    said = f"NCHW tensors converted to channels_last so far: {conversions()}; {taken()}"
    if torch.cuda.is_available():
        architecture = tiles.architecture_of(torch.device("cuda", torch.cuda.current_device()))
        said += (
            f"; shapes that auto takes, each product of a backward asked again: "
            f"{tiles.won(architecture)}"
        )
    return said


_CONV_TRANSPOSE = register(
    Operator(
        "conv_transpose2d",
        _conv_transpose_torch,
        TritonImplementation(
            _load_conv_transpose,
            SCOPE,
            _why_unsupported,
            _why_torch_conv_transpose,
            why_torch_on,
            _note,
            lambda: partial(_load_conv_transpose(), automatic=True),
        ),
    )
)
_CONV = register(
    Operator(
        "conv2d",
        _conv_torch,
        TritonImplementation(
            _load_conv,
            SCOPE,
            _why_unsupported,
            _why_torch_conv,
            why_torch_on,
            _note,
            lambda: partial(_load_conv(), automatic=True),
        ),
    )
)
_WEIGHT_GRAD = register(
    Operator(
        "conv_transpose2d_weight_grad",
        _weight_grad_torch,
        TritonImplementation(
            _load_weight_grad,
            SCOPE,
            why_unsupported,
            _why_torch_weight_grad,
            why_torch_on,
            _note,
            lambda: partial(_load_weight_grad(), automatic=True),
        ),
    )
)
