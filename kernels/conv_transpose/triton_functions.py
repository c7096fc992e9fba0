"""The three products on Triton as differentiable operators, of any order.

    convolve(x, w)    = y
    spread(y, w)      = x
    weight_grad(x, y) = w

Each is linear in both arguments and each one's derivatives are the other two, so every derivative
runs on the same kernels: R1, gradient penalties and path lengths included. An activation in the
epilogue is differentiated in terms of its output, which is saved instead of its input.

In eager mode these are plain autograd functions; under `torch.compile` they are operators of
`torch.library`, opaque to the compiler. The library's own dispatch would cost every eager call some
ten microseconds. Both have the same derivatives, written once over the set of operators to use.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import triton_products
from .activations import activation_backward
from .geometry import Geometry
from .layout import channels_last, empty_channels_last

Grads = tuple[Tensor | None, ...]


def conv_transpose2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, geometry: Geometry
) -> Tensor:
    """`functions.conv_transpose2d` on Triton. Arguments are checked there."""
    y, weight, bias = _cast(x, weight, bias)
    return _products().spread(y, weight, bias, activation, 2 * y.shape[2], 2 * y.shape[3])


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, geometry: Geometry
) -> Tensor:
    """`functions.conv2d` on Triton. Arguments are checked there."""
    x, weight, bias = _cast(x, weight, bias)
    return _products().convolve(x, weight, bias, activation)


def conv_transpose2d_weight_grad(x: Tensor, grad: Tensor) -> Tensor:
    """`functions.conv_transpose2d_weight_grad` on Triton. Arguments are checked there."""
    y, grad, _ = _cast(x, grad, None)
    return _products().weight_grad(grad, y)


class _Products(NamedTuple):
    """One set of the three operators."""

    spread: Callable[..., Tensor]
    convolve: Callable[..., Tensor]
    weight_grad: Callable[..., Tensor]


def _products() -> _Products:
    return _LIBRARY if torch.compiler.is_compiling() else _EAGER


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


# --- spread: (y, w, bias, activation, H, W) ↦ x ---


def _spread_body(
    y: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, height: int, width: int
) -> Tensor:
    x = triton_products.spread(y, weight, bias, activation, size=(height, width))
    assert isinstance(x, Tensor)  # no statistics were asked for
    return x


def _spread_fake(
    y: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, height: int, width: int
) -> Tensor:
    return empty_channels_last(y, y.shape[0], weight.shape[1], height, width)


def _save_operands(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    operand, weight, _, activation, *_ = inputs
    ctx.activation = activation
    ctx.save_for_backward(operand, weight, output if activation is not None else None)


def _spread_backward(products: _Products, ctx: Any, g: Tensor) -> Grads:
    y, weight, x = ctx.saved_tensors
    need_y, need_weight, need_bias = ctx.needs_input_grad[:3]
    g = channels_last(activation_backward(g, x, ctx.activation))
    return (
        products.convolve(g, weight, None, None) if need_y else None,
        products.weight_grad(g, y) if need_weight else None,
        g.sum((0, 2, 3)) if need_bias else None,
        None,
        None,
        None,
    )


# --- convolve: (x, w, bias, activation) ↦ y ---


def _convolve_body(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None
) -> Tensor:
    y = triton_products.convolve(x, weight, bias, activation)
    assert isinstance(y, Tensor)  # no statistics were asked for
    return y


def _convolve_fake(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None
) -> Tensor:
    return empty_channels_last(x, x.shape[0], weight.shape[0], x.shape[2] // 2, x.shape[3] // 2)


def _convolve_backward(products: _Products, ctx: Any, g: Tensor) -> Grads:
    x, weight, y = ctx.saved_tensors
    need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
    g = channels_last(activation_backward(g, y, ctx.activation))
    return (
        products.spread(g, weight, None, None, x.shape[2], x.shape[3]) if need_x else None,
        products.weight_grad(x, g) if need_weight else None,
        g.sum((0, 2, 3)) if need_bias else None,
        None,
    )


# --- weight_grad: (x, y) ↦ w ---


def _weight_grad_body(x: Tensor, y: Tensor) -> Tensor:
    return triton_products.weight_grad(x, y)


def _weight_grad_fake(x: Tensor, y: Tensor) -> Tensor:
    return empty_channels_last(y, y.shape[1], x.shape[1], 4, 4)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _weight_grad_backward(products: _Products, ctx: Any, g: Tensor) -> Grads:
    x, y = ctx.saved_tensors
    need_x, need_y = ctx.needs_input_grad
    g = channels_last(g)
    return (
        products.spread(y, g, None, None, x.shape[2], x.shape[3]) if need_x else None,
        products.convolve(x, g, None, None) if need_y else None,
    )


# --- eager: autograd functions around the bodies ---


class _Spread(torch.autograd.Function):
    forward = staticmethod(_spread_body)
    setup_context = staticmethod(_save_operands)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return _spread_backward(_EAGER, ctx, *grads)


class _Convolve(torch.autograd.Function):
    forward = staticmethod(_convolve_body)
    setup_context = staticmethod(_save_operands)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return _convolve_backward(_EAGER, ctx, *grads)


class _WeightGrad(torch.autograd.Function):
    forward = staticmethod(_weight_grad_body)
    setup_context = staticmethod(_save_inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        return _weight_grad_backward(_EAGER, ctx, *grads)


_EAGER = _Products(_Spread.apply, _Convolve.apply, _WeightGrad.apply)


# --- compiled: operators of torch.library around the same ---


def _operator(
    name: str,
    body: Callable[..., Tensor],
    fake: Callable[..., Tensor],
    save: Callable[..., None],
    backward: Callable[..., Grads],
) -> Callable[..., Tensor]:
    # Of this package's name, so that a copy of it under another name registers its own.
    namespace = __name__.rpartition(".")[0].replace(".", "_")
    operator = torch.library.custom_op(f"{namespace}::{name}", body, mutates_args=())
    operator.register_fake(fake)
    operator.register_autograd(
        lambda ctx, g: backward(_LIBRARY, ctx, g), setup_context=_unpacked(save)
    )
    return operator


def _unpacked(save: Callable[..., None]) -> Callable[..., None]:
    # The library calls by keyword.
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        save(ctx, inputs, output)

    return setup_context


_LIBRARY = _Products(
    _operator("spread", _spread_body, _spread_fake, _save_operands, _spread_backward),
    _operator("convolve", _convolve_body, _convolve_fake, _save_operands, _convolve_backward),
    _operator("weight_grad", _weight_grad_body, _weight_grad_fake, _save_inputs,
              _weight_grad_backward),
)  # fmt: skip
