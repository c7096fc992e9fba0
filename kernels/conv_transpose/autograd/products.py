"""The three products on Triton as differentiable operators, of any order.

    fprop(x, w)    = y
    dgrad(y, w)      = x
    wgrad(x, y) = w

Each is linear in both arguments and each one's derivatives are the other two, so every derivative
runs on the same kernels: R1, gradient penalties and path lengths included. An activation in the
epilogue is differentiated in terms of its output, which is saved instead of its input.

Under "auto" dispatch has asked for the product itself whether Triton is the faster one. Each
product of its derivatives, another one of other shapes, is asked for in turn (`prefers_torch`).

In eager mode these are plain autograd functions; under `torch.compile` they are operators of
`torch.library`, opaque to the compiler, and so they are where something else takes operators for
itself: counters of operations, fake tensors. The library's own dispatch would cost every eager
call some ten microseconds. All have the same derivatives, written once over the set of operators
to use.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...private import count_operations, intercepted, looked_into
from .. import twin
from ..activations import activation_backward
from ..functions import why_torch
from ..geometry import Geometry
from ..launch import products as launch
from ..layout import channels_last, empty_channels_last, in_layout
from ..tiles import Operation

Grads = tuple[Tensor | None, ...]


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    geometry: Geometry,
    automatic: bool = False,
) -> Tensor:
    """`functions.conv_transpose2d` on Triton. Arguments are checked there.

    Here and below, `automatic` has each product of the derivatives asked for by itself.
    """
    return in_layout(dgrad(x, weight, bias, activation, automatic), x, weight)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    geometry: Geometry,
    automatic: bool = False,
) -> Tensor:
    """`functions.conv2d` on Triton. Arguments are checked there."""
    return in_layout(fprop(x, weight, bias, activation, automatic), x, weight)


def conv_transpose2d_weight_grad(x: Tensor, grad: Tensor, automatic: bool = False) -> Tensor:
    """`functions.conv_transpose2d_weight_grad` on Triton. Arguments are checked there."""
    y, cast_grad, _ = _cast(x, grad, None)
    return in_layout(_products(automatic, cast_grad, y).wgrad(cast_grad, y), x, grad)


def dgrad(
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    automatic: bool = False,
) -> Tensor:
    """activation(dgrad(y, weight) + bias) in channels_last, whatever the operands are in."""
    y, weight, bias = _cast(y, weight, bias)
    size = (2 * y.shape[2], 2 * y.shape[3])
    return _products(automatic, y, weight).dgrad(y, weight, bias, activation, *size)


def fprop(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    automatic: bool = False,
) -> Tensor:
    """activation(fprop(x, weight) + bias) in channels_last, whatever the operands are in."""
    x, weight, bias = _cast(x, weight, bias)
    return _products(automatic, x, weight).fprop(x, weight, bias, activation)


def prefers_torch(op: Operation, operand: Tensor, b: int, a: int, positions: int) -> bool:
    """Whether "auto" leaves a product of derivatives to torch; asked as `functions.why_torch`."""
    return why_torch(op, operand, b, a, positions) is not None


class _Products(NamedTuple):
    """One set of the three operators."""

    dgrad: Callable[..., Tensor]
    fprop: Callable[..., Tensor]
    wgrad: Callable[..., Tensor]


def _products(automatic: bool, *operands: Tensor) -> _Products:
    if torch.compiler.is_compiling() or intercepted(*operands):
        return _LIBRARY_AUTOMATIC if automatic else _LIBRARY
    return _EAGER_AUTOMATIC if automatic else _EAGER


def _asking(own: _Products) -> _Products:
    """Products without bias and activation, torch's where the table prefers those."""

    def dgrad(y: Tensor, weight: Tensor, _: None, __: None, height: int, width: int) -> Tensor:
        b, a = weight.shape[:2]
        positions = y.shape[0] * y.shape[2] * y.shape[3]
        products = _TORCH if prefers_torch("dgrad", y, b, a, positions) else own
        return products.dgrad(y, weight, None, None, height, width)

    def fprop(x: Tensor, weight: Tensor, _: None, __: None) -> Tensor:
        b, a = weight.shape[:2]
        positions = x.shape[0] * (x.shape[2] // 2) * (x.shape[3] // 2)
        products = _TORCH if prefers_torch("fprop", x, b, a, positions) else own
        return products.fprop(x, weight, None, None)

    def wgrad(x: Tensor, y: Tensor) -> Tensor:
        positions = y.shape[0] * y.shape[2] * y.shape[3]
        found = prefers_torch("wgrad", y, y.shape[1], x.shape[1], positions)
        return (_TORCH if found else own).wgrad(x, y)

    return _Products(dgrad, fprop, wgrad)


def _for(products: _Products, g: Tensor) -> tuple[_Products, Tensor]:
    """Which operators take a gradient further, and the gradient in the layout that they want.

    PyTorch's where it stands for a batch of them, which no kernel can look into.
    """
    if looked_into(g):
        return _TORCH, g
    if intercepted(g):
        asking = products is _EAGER_ASKING or products is _LIBRARY_ASKING
        products = _LIBRARY_ASKING if asking else _LIBRARY
    return products, channels_last(g)


def _cast(x: Tensor, other: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast as autocast does around torch's convolutions, all but float64; and in channels_last.

    Converted here and not by the product, a tensor is converted once and saved as it is read.
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, other = (t if t.dtype == torch.float64 else t.to(dtype) for t in (x, other))
        if bias is not None and bias.dtype != torch.float64:
            bias = bias.to(dtype)
    if torch.compiler.is_compiling():  # the operator converts: its layouts are known at run time
        return x, other, bias
    return channels_last(x), channels_last(other), bias


# --- dgrad: (y, w, bias, activation, H, W) ↦ x ---


def _dgrad_body(
    y: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, height: int, width: int
) -> Tensor:
    x = launch.dgrad(y, weight, bias, activation, size=(height, width))
    assert isinstance(x, Tensor)  # no statistics were asked for
    return x


def _dgrad_fake(
    y: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, height: int, width: int
) -> Tensor:
    return empty_channels_last(y, y.shape[0], weight.shape[1], height, width)


def _save_operands(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    operand, weight, _, activation, *_ = inputs
    ctx.activation = activation
    ctx.save_for_backward(operand, weight, output if activation is not None else None)


def _dgrad_backward(products: _Products, ctx: Any, g: Tensor) -> Grads:
    y, weight, x = ctx.saved_tensors
    need_y, need_weight, need_bias = ctx.needs_input_grad[:3]
    products, g = _for(products, activation_backward(g, x, ctx.activation))
    return (
        products.fprop(g, weight, None, None) if need_y else None,
        products.wgrad(g, y) if need_weight else None,
        g.sum((0, 2, 3)) if need_bias else None,
        None,
        None,
        None,
    )


# --- fprop: (x, w, bias, activation) ↦ y ---


def _fprop_body(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    y = launch.fprop(x, weight, bias, activation)
    assert isinstance(y, Tensor)  # no statistics were asked for
    return y


def _fprop_fake(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    return empty_channels_last(x, x.shape[0], weight.shape[0], x.shape[2] // 2, x.shape[3] // 2)


def _fprop_backward(products: _Products, ctx: Any, g: Tensor) -> Grads:
    x, weight, y = ctx.saved_tensors
    need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
    products, g = _for(products, activation_backward(g, y, ctx.activation))
    return (
        products.dgrad(g, weight, None, None, x.shape[2], x.shape[3]) if need_x else None,
        products.wgrad(x, g) if need_weight else None,
        g.sum((0, 2, 3)) if need_bias else None,
        None,
    )


# --- wgrad: (x, y) ↦ w ---


def _wgrad_body(x: Tensor, y: Tensor) -> Tensor:
    return launch.wgrad(x, y)


def _wgrad_fake(x: Tensor, y: Tensor) -> Tensor:
    return empty_channels_last(y, y.shape[1], x.shape[1], 4, 4)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _wgrad_backward(products: _Products, ctx: Any, g: Tensor) -> Grads:
    x, y = ctx.saved_tensors
    need_x, need_y = ctx.needs_input_grad
    products, g = _for(products, g)
    return (
        products.dgrad(y, g, None, None, x.shape[2], x.shape[3]) if need_x else None,
        products.fprop(x, g, None, None) if need_y else None,
    )


# --- eager: autograd functions around the bodies ---


class _Dgrad(torch.autograd.Function):
    forward = staticmethod(_dgrad_body)
    setup_context = staticmethod(_save_operands)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return _dgrad_backward(_EAGER, ctx, *grads)


class _Fprop(torch.autograd.Function):
    forward = staticmethod(_fprop_body)
    setup_context = staticmethod(_save_operands)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return _fprop_backward(_EAGER, ctx, *grads)


class _Wgrad(torch.autograd.Function):
    forward = staticmethod(_wgrad_body)
    setup_context = staticmethod(_save_inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return _wgrad_backward(_EAGER, ctx, *grads)


class _DgradAutomatic(_Dgrad):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return _dgrad_backward(_EAGER_ASKING, ctx, *grads)


class _FpropAutomatic(_Fprop):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return _fprop_backward(_EAGER_ASKING, ctx, *grads)


class _WgradAutomatic(_Wgrad):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return _wgrad_backward(_EAGER_ASKING, ctx, *grads)


_EAGER = _Products(_Dgrad.apply, _Fprop.apply, _Wgrad.apply)
_EAGER_AUTOMATIC = _Products(_DgradAutomatic.apply, _FpropAutomatic.apply, _WgradAutomatic.apply)
_EAGER_ASKING = _asking(_EAGER_AUTOMATIC)


# Of derivatives alone, which have neither bias nor activation.
_TORCH = _Products(
    lambda y, weight, _, __, height, width: twin.dgrad_again(y, weight, (height, width)),
    lambda x, weight, _, __: twin.fprop_again(x, weight),
    twin.wgrad_again,
)


# --- compiled: operators of torch.library around the same ---


# By the package's own name: a copy of it under another name can be loaded in the same process.
_NAMESPACE = __name__.removesuffix(".autograd.products").replace(".", "_")


def _library(suffix: str, derivatives: Callable[[], _Products]) -> _Products:
    """The operators, whose derivatives are products of the set that `derivatives` gives."""

    def operator(
        name: str,
        body: Callable[..., Tensor],
        fake: Callable[..., Tensor],
        save: Callable[..., None],
        backward: Callable[..., Grads],
    ) -> Callable[..., Tensor]:
        made = torch.library.custom_op(f"{_NAMESPACE}::{name}{suffix}", body, mutates_args=())
        made.register_fake(fake)
        made.register_autograd(
            lambda ctx, g: backward(derivatives(), ctx, g), setup_context=_unpacked(save)
        )
        return made

    return _Products(
        operator("dgrad", _dgrad_body, _dgrad_fake, _save_operands, _dgrad_backward),
        operator("fprop", _fprop_body, _fprop_fake, _save_operands, _fprop_backward),
        operator("wgrad", _wgrad_body, _wgrad_fake, _save_inputs, _wgrad_backward),
    )


def _unpacked(save: Callable[..., None]) -> Callable[..., None]:
    # The library calls by keyword.
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        save(ctx, inputs, output)

    return setup_context


_LIBRARY: _Products = _library("", lambda: _LIBRARY)
_LIBRARY_AUTOMATIC: _Products = _library("_automatic", lambda: _LIBRARY_ASKING)
_LIBRARY_ASKING: _Products = _asking(_LIBRARY_AUTOMATIC)


# Two operations a multiplication: 16 taps of A·B weights at every pixel of the small image, in
# whichever of the three, as PyTorch counts its convolutions and their derivatives.


def _dgrad_count(y: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    return 2 * y[0] * y[2] * y[3] * math.prod(weight)


def _fprop_count(
    x: Sequence[int], weight: Sequence[int], *_: object, out_shape: Sequence[int], **__: object
) -> int:
    return _dgrad_count(out_shape, weight)


def _wgrad_count(
    x: Sequence[int], y: Sequence[int], *_: object, out_shape: Sequence[int], **__: object
) -> int:
    return _dgrad_count(y, out_shape)


for _name, _count in (("dgrad", _dgrad_count), ("fprop", _fprop_count), ("wgrad", _wgrad_count)):
    for _suffix in ("", "_automatic"):
        count_operations(getattr(getattr(torch.ops, _NAMESPACE), _name + _suffix), _count)
