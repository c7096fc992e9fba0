"""Layers on Triton: the function `layers.run_layers` with fused kernels.

A normalised block in training runs as

    product, with the moments of its result in its epilogue  →  a few numbers per channel
      →  either one pass that applies normalisation and activation,
      →  or none: the next product applies them while it loads the tensor (`folding`).

On CUDA the second is for where it was measured to win (`tiles.folds`). Then the activated tensor
never exists: forward neither writes nor saves it, and backward computes again what it needs of it.
Two functions with derivatives are enough for both:

    _Product    x, W, b          ↦ activation(product(x, W, b))
                y, γ, β, W, b    ↦ activation(product(f(normalise(y, γ, β)), W, b))
    _Normalise  y, γ, β          ↦ f(normalise(y, γ, β))

where normalise uses the moments of y itself, so that they are functions of y in every derivative;
the moments that the product before has computed are handed along as numbers. First derivatives
run on the fused kernels. Under `create_graph` both compute their function once more as a
composition of differentiable operators, its products on Triton still, and differentiate that:
derivatives of any order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...private import intercepted, looked_into
from .. import tiles, twin
from ..activations import ActivationName
from ..definitions.normalisation import BatchNorm, ChannelMoments, Coefficients, normalised
from ..definitions.products import Prologue, WithStatistics
from ..launch import normalisation as launch
from ..launch.products import dgrad, fprop, wgrad
from ..layers import TORCH, Convolutions, Layer, folded, product
from ..layers import run_layers as composition
from ..layout import in_layout
from . import products

Gradients = tuple[Tensor | None, ...]


# Not the public functions: whoever calls layers on Triton has asked dispatch already, and between
# two layers everything stays in channels_last.
TRITON = Convolutions(products.dgrad, products.fprop)
# The same, whose derivatives may be torch's.
AUTOMATIC = Convolutions(
    partial(products.dgrad, automatic=True), partial(products.fprop, automatic=True)
)


class _Pending(NamedTuple):
    """A tensor f(normalise(y)) that is not computed yet."""

    y: Tensor
    norm: BatchNorm
    coefficients: Coefficients
    activation: ActivationName | None


def run_layers(
    x: Tensor, layers: Sequence[Layer], folding: bool | None = None, automatic: bool = False
) -> Tensor:
    """All layers on Triton.

    Args:
        x: [N, C, H, W]; bf16, fp16, fp32 or fp64.
        layers: what to compute, one after the other.
        folding: let a product apply the normalisation before it, rather than a pass of its own;
            None for what the table says of each product, and always in the interpreter.
        automatic: ask for each product of the derivatives whether torch's is to be preferred.
    """
    weights = [layer.weight for layer in layers]
    if torch.compiler.is_compiling() or intercepted(x):
        return in_layout(composition(x, layers, _convolutions(automatic)), x, *weights)
    held: Tensor | _Pending = x
    for layer in layers:
        held = _run(held, _cast(folded(layer), x.device.type), folding, automatic)
    return in_layout(_tensor(held), x, *weights)


def _convolutions(automatic: bool) -> Convolutions:
    return AUTOMATIC if automatic else TRITON


def _folds(y: Tensor, layer: Layer) -> bool:
    """Whether the table says that the layer's product had better normalise y while loading it."""
    if y.device.type != "cuda":  # interpreted
        return True
    assert layer.weight is not None
    op: tiles.Operation = "dgrad" if layer.transposed else "fprop"
    scale = 1 if layer.transposed else 2
    b, a = layer.weight.shape[:2]
    precision, _ = tiles.precision_of(y.dtype, y.device.type)
    positions = y.shape[0] * (y.shape[2] // scale) * (y.shape[3] // scale)
    return tiles.folds(op, precision, b, a, positions, tiles.architecture_of(y.device))


def _run(
    held: Tensor | _Pending, layer: Layer, folding: bool | None, automatic: bool
) -> Tensor | _Pending:
    if layer.weight is None:
        return _normalisation_alone(_tensor(held), layer)
    if isinstance(held, _Pending) and not (_folds(held.y, layer) if folding is None else folding):
        held = _tensor(held)
    if isinstance(held, Tensor):
        held = held.to(layer.weight.dtype)  # differs under autocast only
    if layer.norm is None:
        if isinstance(held, Tensor):  # without a prologue it is an operator of its own
            return product(held, layer, _convolutions(automatic))
        alone: Tensor = _product(held, layer, automatic)
        return alone
    y, mean, m2, count = _product(held, layer, automatic)
    numbers = launch.coefficients(ChannelMoments(mean, m2, count), _detached(layer.norm))
    return _Pending(y, layer.norm, numbers, layer.activation)


def _normalisation_alone(x: Tensor, layer: Layer) -> Tensor | _Pending:
    """What a layer without a convolution is: by the batch's statistics, else by PyTorch."""
    if layer.norm is None or not layer.norm.training:
        return composition(x, [layer])
    numbers = launch.coefficients(launch.moments(x.detach()), _detached(layer.norm))
    return _Pending(x, layer.norm, numbers, layer.activation)


def _tensor(held: Tensor | _Pending) -> Tensor:
    if isinstance(held, Tensor):
        return held
    norm = held.norm
    return _normalise_op(
        held.y, norm.weight, norm.bias, held.coefficients, norm.eps, held.activation
    )


def _detached(norm: BatchNorm) -> BatchNorm:
    return norm._replace(
        weight=None if norm.weight is None else norm.weight.detach(),
        bias=None if norm.bias is None else norm.bias.detach(),
    )


def _cast(layer: Layer, device: str) -> Layer:
    """Convolution's parameters as autocast casts them: everything but float64."""
    if layer.weight is None or not torch.is_autocast_enabled(device):
        return layer
    dtype = torch.get_autocast_dtype(device)
    if layer.weight.dtype == torch.float64:
        return layer
    bias = None if layer.bias is None else layer.bias.to(dtype)
    return layer._replace(weight=layer.weight.to(dtype), bias=bias)


class _How(NamedTuple):
    """Of a product: everything but tensors."""

    transposed: bool
    activation: ActivationName | None  # of the result
    statistics: bool  # return the moments of the result
    normalised: bool  # whether the operand is, on its way in
    before: ActivationName | None  # its activation then
    eps: float
    automatic: bool  # ask again for each product of a derivative


def _product(held: Tensor | _Pending, layer: Layer, automatic: bool) -> Any:
    """The layer's product, [N, Cout, …]; with moments where the layer is normalised."""
    statistics = layer.norm is not None
    activation = None if statistics else layer.activation
    if isinstance(held, Tensor):
        how = _How(layer.transposed, activation, statistics, False, None, 0.0, automatic)
        return _product_op(held, layer.weight, layer.bias, None, None, None, how)
    norm = held.norm
    how = _How(layer.transposed, activation, statistics, True, held.activation, norm.eps, automatic)
    return _product_op(
        held.y, layer.weight, layer.bias, norm.weight, norm.bias, held.coefficients, how
    )


class _Product(torch.autograd.Function):
    """(x, W, b, γ, β, coefficients, how) ↦ the product, and its mean, M2 and count on request.

    With coefficients x is read through normalisation and activation, without them as it is.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        numbers: Coefficients | None,
        how: _How,
    ) -> Any:
        run = dgrad if how.transposed else fprop
        result = run(
            x,
            weight,
            bias,
            how.activation,
            statistics=how.statistics,
            prologue=_prologue(numbers, how),
        )
        # The activation's derivative is a function of its result.
        output = result if isinstance(result, Tensor) and how.activation is not None else None
        ctx.how = how
        ctx.save_for_backward(x, weight, bias, gamma, beta, output, *(numbers or ()))
        ctx.set_materialize_grads(False)
        if isinstance(result, WithStatistics):
            ctx.mark_non_differentiable(result.mean, result.m2)
            return tuple(result)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *_: Any) -> Gradients:
        x, weight, bias, gamma, beta, output, *numbers = ctx.saved_tensors
        need = ctx.needs_input_grad[:5]
        if g is None:
            return (None,) * 7
        batched = looked_into(g)  # stands for a batch of gradients, to PyTorch's operators alone
        if batched or torch.is_grad_enabled():
            own = _convolutions(ctx.how.automatic)
            composed = _composed_product(ctx.how, TORCH if batched else own)
            grads = _differentiated(composed, (x, weight, bias, gamma, beta), g, need)
        else:
            coefficients = Coefficients(*numbers) if numbers else None
            grads = _product_backward(
                g, x, weight, output, coefficients, ctx.how, need, (bias, gamma, beta)
            )
        return *grads, None, None


def _product_backward(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    output: Tensor | None,
    numbers: Coefficients | None,
    how: _How,
    need: tuple[bool, ...],
    vectors: tuple[Tensor | None, Tensor | None, Tensor | None],
) -> Gradients:
    need_x, need_weight, need_bias, need_gamma, need_beta = need
    bias, gamma, beta = vectors
    prologue = _prologue(numbers, how)
    dx = dweight = dbias = dgamma = dbeta = None
    if output is not None:
        g, total = launch.output_gradient(g, output, how.activation)
        dbias = total if need_bias else None
    elif need_bias:
        dbias = g.sum((0, 2, 3))
    if need_weight:
        dweight = _weight_grad(g, x, prologue, how)
    if need_x or need_gamma or need_beta:
        dx = _operand_grad(g, x, weight, how)
        if numbers is not None:
            dx, dgamma, dbeta = launch.apply_backward(dx, x, numbers, how.before)
    return (
        dx if need_x else None,
        dweight,
        _like(dbias, bias, need_bias),
        _like(dgamma, gamma, need_gamma),
        _like(dbeta, beta, need_beta),
    )


def _weight_grad(g: Tensor, x: Tensor, prologue: Prologue | None, how: _How) -> Tensor:
    large, small = (g, x) if how.transposed else (x, g)
    if not _torchs("wgrad", large, small, how):
        on_x, on_y = (None, prologue) if how.transposed else (prologue, None)
        return wgrad(large, small, x_prologue=on_x, y_prologue=on_y)
    if prologue is not None:
        x = launch.apply(x, *prologue)
    return twin.wgrad_again(*((g, x) if how.transposed else (x, g)))


def _operand_grad(g: Tensor, x: Tensor, weight: Tensor, how: _How) -> Tensor:
    """Of what the product reads, in its shape, that of x."""
    if how.transposed:
        torchs = _torchs("fprop", g, x, how)
        result = twin.fprop_again(g, weight) if torchs else fprop(g, weight)
    else:
        size = (x.shape[2], x.shape[3])
        torchs = _torchs("dgrad", x, g, how)
        result = twin.dgrad_again(g, weight, size) if torchs else dgrad(g, weight, size=size)
    assert isinstance(result, Tensor)  # no statistics were asked for
    return result


def _torchs(op: tiles.Operation, large: Tensor, small: Tensor, how: _How) -> bool:
    """Whether a product of a derivative is left to torch."""
    n, b, h, w = small.shape
    return how.automatic and products.prefers_torch(op, small, b, large.shape[1], n * h * w)


def _like(grad: Tensor | None, parameter: Tensor | None, need: bool) -> Tensor | None:
    if grad is None or parameter is None or not need:
        return None
    return grad.to(parameter.dtype)


def _prologue(numbers: Coefficients | None, how: _How) -> Prologue | None:
    return None if numbers is None else Prologue(numbers.scale, numbers.shift, how.before)


def _composed_product(how: _How, convolutions: Convolutions) -> Callable[..., Tensor]:
    def compute(
        x: Tensor, weight: Tensor, bias: Tensor | None, gamma: Tensor | None, beta: Tensor | None
    ) -> Tensor:
        if how.normalised:
            x = normalised(x, gamma, beta, how.eps, how.before)
        layer = Layer(weight, bias, None, how.activation, how.transposed)
        return product(x, layer, convolutions)

    return compute


class _Normalise(torch.autograd.Function):
    """(y, γ, β, coefficients, ε, activation) ↦ activation(normalise(y))."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        numbers: Coefficients,
        eps: float,
        activation: str | None,
    ) -> Tensor:
        ctx.eps, ctx.activation = eps, activation
        ctx.save_for_backward(y, gamma, beta, *numbers)
        return launch.apply(y, numbers.scale, numbers.shift, activation)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        (g,) = grads
        y, gamma, beta, *numbers = ctx.saved_tensors
        need = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled() or looked_into(g):

            def compute(y: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
                return normalised(y, gamma, beta, ctx.eps, ctx.activation)

            found = _differentiated(compute, (y, gamma, beta), g, need)
        else:
            dy, dgamma, dbeta = launch.apply_backward(g, y, Coefficients(*numbers), ctx.activation)
            found = (
                dy if need[0] else None,
                _like(dgamma, gamma, need[1]),
                _like(dbeta, beta, need[2]),
            )
        return *found, None, None, None


def _differentiated(
    compute: Callable[..., Tensor],
    tensors: tuple[Tensor | None, ...],
    g: Tensor,
    need: tuple[bool, ...],
) -> Gradients:
    """Derivatives of `compute` at `tensors`, along g; themselves so where gradients are enabled."""
    # Aliases: one of the tensors may itself be a function of another, and what it contributes
    # through that is not this function's derivative.
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        aliases = [None if each is None else each.view_as(each) for each in tensors]
        wanted = [each for each, needed in zip(aliases, need, strict=True) if needed]
        result = compute(*aliases)
    found = iter(torch.autograd.grad(result, wanted, g, create_graph=again))  # type: ignore[arg-type]
    return tuple(next(found) if needed else None for needed in need)


_product_op: Callable[..., Any] = _Product.apply
_normalise_op: Callable[..., Tensor] = _Normalise.apply
