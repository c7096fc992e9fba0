"""The three products behind a k4 s2 p1 convolution, in PyTorch.

With x the large image [N, A, H, W], y the small one [N, B, ⌊H/2⌋, ⌊W/2⌋] and one weight layout
[B, A, 4, 4] for all three:

    fprop(x, w)    = y    conv2d
    dgrad(y, w)      = x    conv_transpose2d
    wgrad(x, y) = w    their correlation

Each is linear in both arguments and each one's derivatives are the other two: they are closed
under differentiation, so gradients of any order run on the same formulations. On the CPU these are
chosen for speed in channels_last; elsewhere and under `torch.compile` torch's own operators and
derivatives are used.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..private import looked_into
from .layout import empty_channels_last, empty_in_layout, in_layout

Size = tuple[int, int]


def fprop(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """conv2d(x, weight, bias, stride=2, padding=1)."""
    if not _formulated_here(x):
        return F.conv2d(x, weight, bias, stride=2, padding=1)
    return _fprop_op(*_autocast(x, weight, bias))


def dgrad(y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """conv_transpose2d(y, weight, bias, stride=2, padding=1)."""
    if not _formulated_here(y):
        return F.conv_transpose2d(y, weight, bias, stride=2, padding=1)
    size = (2 * y.shape[2], 2 * y.shape[3])
    return _dgrad_op(*_autocast(y, weight, bias), size)


def wgrad(x: Tensor, y: Tensor) -> Tensor:
    """∂/∂w ⟨fprop(x, w), y⟩, [B, A, 4, 4]."""
    x, y = _autocast(x, y)  # type: ignore[assignment]
    if looked_into():
        return _wgrad(x, y)
    return in_layout(_wgrad_op(x, y) if _formulated_here(y) else _wgrad(x, y), x, y)


def _formulated_here(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.is_floating_point()
        and not torch.compiler.is_compiling()
        and not looked_into()
    )


def _autocast(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Cast as autocast does around torch's convolutions: everything but float64."""
    device = next(t.device.type for t in tensors if t is not None)
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors)


class _Fprop(torch.autograd.Function):
    """(x, w, bias) ↦ y."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _fprop(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grads
        x, weight = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return _first_order(g, x, weight, transposed=False, need=ctx.needs_input_grad)
        need_x, need_weight, need_bias = ctx.needs_input_grad
        return (
            dgrad_again(g, weight, tuple(x.shape[2:])) if need_x else None,
            wgrad_again(x, g) if need_weight else None,
            g.sum((0, 2, 3)) if need_bias else None,
        )


class _Dgrad(torch.autograd.Function):
    """(y, w, bias, size of x) ↦ x."""

    @staticmethod
    def forward(y: Tensor, weight: Tensor, bias: Tensor | None, size: Size) -> Tensor:
        if size == (2 * y.shape[2], 2 * y.shape[3]) and _planes_pay(weight):
            return _dgrad_planes(y, weight, bias)
        return _dgrad(y, weight, bias, size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        y, weight, _, _ = inputs
        ctx.save_for_backward(y, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grads
        y, weight = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return *_first_order(g, y, weight, transposed=True, need=ctx.needs_input_grad), None
        need_y, need_weight, need_bias, _ = ctx.needs_input_grad
        return (
            fprop_again(g, weight) if need_y else None,
            wgrad_again(g, y) if need_weight else None,
            g.sum((0, 2, 3)) if need_bias else None,
            None,
        )


class _Wgrad(torch.autograd.Function):
    """(x, y) ↦ w."""

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return _wgrad_matmul(x, y) if _matmul_pays(y) else _wgrad(x, y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grads
        x, y = ctx.saved_tensors
        need_x, need_y = ctx.needs_input_grad
        return (
            dgrad_again(y, g, tuple(x.shape[2:])) if need_x else None,
            fprop_again(x, g) if need_y else None,
        )


_fprop_op: Callable[..., Tensor] = _Fprop.apply
_dgrad_op: Callable[..., Tensor] = _Dgrad.apply
_wgrad_op: Callable[..., Tensor] = _Wgrad.apply


# Derivatives, which may be differentiated again. Where a transform is active, of a batch of
# gradients for example, its rules are for torch's operators and not for the functions above.


def fprop_again(x: Tensor, weight: Tensor) -> Tensor:
    """`fprop` of operands that are cast already."""
    return _fprop(x, weight, None) if looked_into(x, weight) else _fprop_op(x, weight, None)


def dgrad_again(y: Tensor, weight: Tensor, size: Size) -> Tensor:
    """`dgrad` of operands that are cast already, to an x of height and width `size`."""
    plain = looked_into(y, weight)
    return _dgrad(y, weight, None, size) if plain else _dgrad_op(y, weight, None, size)


def wgrad_again(x: Tensor, y: Tensor) -> Tensor:
    """`wgrad` of operands that are cast already."""
    return _wgrad(x, y) if looked_into(x, y) else _wgrad_op(x, y)


def _first_order(
    g: Tensor, operand: Tensor, weight: Tensor, *, transposed: bool, need: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The derivatives that will not be differentiated again, by as few calls as possible."""
    x, y = (g, operand) if transposed else (operand, g)
    extra = (x.shape[2] - 2 * y.shape[2], x.shape[3] - 2 * y.shape[3])
    plain = looked_into(g)
    by_planes = need[0] and not transposed and not plain and extra == (0, 0) and _planes_pay(weight)
    by_matmul = need[1] and not plain and _matmul_pays(y)
    need_operand = need[0] and not by_planes
    need_weight = need[1] and not by_matmul
    need_bias = need[2] and need_weight  # alone it would cost torch the weight's gradient too
    grads: list[Tensor | None] = [None, None, None]
    if need_operand or need_weight:
        grads[:] = torch.ops.aten.convolution_backward(
            g,
            operand,
            weight,
            [g.shape[1]],
            (2, 2),
            (1, 1),
            (1, 1),
            transposed,
            extra if transposed else (0, 0),
            1,
            (need_operand, need_weight, need_bias),
        )
    if by_planes:
        grads[0] = _dgrad_planes(g, weight, None)
    if by_matmul:
        grads[1] = _wgrad_matmul(x, y)
    if need[2] and not need_bias:
        grads[2] = g.sum((0, 2, 3))
    return grads[0], grads[1], grads[2]


# Formulations. Operands are cast already: what autocast would cast is avoided, torch.convolution
# stands for F.conv2d, so that derivatives taken inside an autocast block keep their dtype.


def _fprop(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.convolution(x, weight, bias, (2, 2), (1, 1), (1, 1), False, (0, 0), 1)


def _dgrad(y: Tensor, weight: Tensor, bias: Tensor | None, size: Size) -> Tensor:
    # An odd size is a gradient of `fprop`: its last row or column is beyond 2·H.
    extra = (size[0] - 2 * y.shape[2], size[1] - 2 * y.shape[3])
    return torch.convolution(y, weight, bias, (2, 2), (1, 1), (1, 1), True, extra, 1)


def _planes_pay(weight: Tensor) -> bool:
    """Whether x has so few channels that a vectorised transposed convolution is mostly padding."""
    # In bf16 and fp16 oneDNN's is fast enough, and sums of rounded planes would lose accuracy.
    return weight.shape[1] <= 4 and weight.dtype in (torch.float32, torch.float64)


def _dgrad_planes(y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`dgrad` as one matrix product into 16·A planes, added up along rows, then columns.

    With p[i, j] the plane of kernel element (i, j), the rows of phase a = 0, 1 are
    u[0] = p[1] + (p[3] one row down) and u[1] = p[2] + (p[0] one row up); likewise the columns.
    """
    n, b, h, w = y.shape
    a = weight.shape[1]
    rows = y.permute(0, 2, 3, 1).reshape(n, h * w, b)
    with torch.autocast("cpu", enabled=False):  # forward has cast; backward keeps its dtype
        planes = torch.matmul(weight.reshape(b, a * 16).t(), rows.transpose(1, 2))
    p = planes.reshape(n, a, 4, 4, h, w)
    u = p[:, :, 1:3].clone()  # [N, A, 2, 4, H, W]
    u[:, :, 0, :, 1:] += p[:, :, 3, :, :-1]
    u[:, :, 1, :, :-1] += p[:, :, 0, :, 1:]
    v = u[:, :, :, 1:3].clone()  # [N, A, 2, 2, H, W]
    v[:, :, :, 0, :, 1:] += u[:, :, :, 3, :, :-1]
    v[:, :, :, 1, :, :-1] += u[:, :, :, 0, :, 1:]
    if bias is not None:
        v += bias.view(a, 1, 1, 1, 1)
    # Written into place rather than returned as a view, which no activation could work on in place.
    x = empty_in_layout((n, a, 2 * h, 2 * w), y, weight)
    if x.is_contiguous():
        x.view(n, a, h, 2, w, 2).copy_(v.permute(0, 1, 4, 2, 5, 3))
    else:
        x.permute(0, 2, 3, 1).view(n, h, 2, w, 2, a).copy_(v.permute(0, 4, 2, 5, 3, 1))
    return x


def _matmul_pays(y: Tensor) -> bool:
    """Whether the weights are large against the image.

    oneDNN computes their gradient in a blocked layout and reorders it, at a cost that goes with
    the number of weights, 16·A·B; gathering windows costs in proportion to 16·A·positions, and
    half of that in 16 bits. With B large against the positions the products win up to ten times.
    """
    n, b, h, w = y.shape
    return n * h * w <= b * (32 if y.dtype in (torch.bfloat16, torch.float16) else 8)


def _wgrad_matmul(x: Tensor, y: Tensor) -> Tensor:
    """`wgrad` as a matrix product over windows for each kernel row, in channels_last."""
    n, a, _, _ = x.shape
    b, h, w = y.shape[1:]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()  # [N, H+2, W+2, A]
    windows = padded.unfold(1, 4, 2).unfold(2, 4, 2).permute(4, 0, 1, 2, 5, 3)
    rows = y.permute(0, 2, 3, 1).reshape(n * h * w, b).t()  # [B, N·h·w]
    weight = empty_channels_last(y, b, a, 4, 4)
    by_row = weight.permute(0, 2, 3, 1).view(b, 4, 4 * a)
    # One kernel row at a time: all windows are four times x, and would not stay in the cache.
    gathered = torch.empty((n, h, w, 4, a), dtype=x.dtype, device=x.device)
    for row in range(4):
        gathered.copy_(windows[row])
        torch.mm(rows, gathered.view(n * h * w, 4 * a), out=by_row[:, row])
    return weight


def _wgrad(x: Tensor, y: Tensor) -> Tensor:
    # Only its shape and layout are read: they decide in which layout torch works.
    shape = (y.shape[1], x.shape[1], 4, 4)
    weight = y.new_empty(shape) if looked_into(x, y) else empty_channels_last(y, *shape)
    _, grad, _ = torch.ops.aten.convolution_backward(
        y, x, weight, None, (2, 2), (1, 1), (1, 1), False, (0, 0), 1, (False, True, False)
    )
    result: Tensor = grad
    return result
