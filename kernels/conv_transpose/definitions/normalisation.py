"""Batch normalisation and activation of a product's result, in PyTorch: the definition.

With y [N, C, H, W], n = N·H·W values per channel, μ and σ² their mean and biased variance (Ioffe
and Szegedy 2015, arXiv 1502.03167, algorithm 1 and section 3):

    x̂ = (y − μ)·r,    r = 1/√(σ² + ε)
    v = γ·x̂ + β       = scale·y + shift,   scale = γ·r,   shift = β − scale·μ
    z = activation(v)

and backward, with g = ∂L/∂z and u = g·activation′(v):

    ∂L/∂β = Σu,   ∂L/∂γ = Σu·x̂,   ∂L/∂y = scale·(u − Σu/n − x̂·Σu·x̂/n)

`launch.normalisation` has the same functions as kernels. Here each is a few operators that work in
any floating dtype, float64 included, on any device.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..activations import NEGATIVE_SLOPE, activate, activation_backward


class BatchNorm(NamedTuple):
    """What a batch normalisation is at one call, as `torch.nn.BatchNorm2d` would use it.

    Attributes:
        weight: γ, [C], or None for 1.
        bias: β, [C], or None for 0.
        running_mean: [C], or None; updated in place when `training`.
        running_var: [C], or None; updated in place when `training`, with the unbiased variance.
        training: normalise by the batch's statistics rather than the running ones.
        momentum: weight of the batch's statistics in the running ones; None for the cumulative
            average, 1/`num_batches_tracked`.
        num_batches_tracked: int64 scalar that counts this batch already; read where `momentum`
            is None, on its device.
        eps: ε, added to the variance.
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    training: bool
    momentum: float | None
    num_batches_tracked: Tensor | None
    eps: float


class ChannelMoments(NamedTuple):
    """Mean [C], sum of squared deviations from it [C], both fp32 (fp64 of fp64), and n."""

    mean: Tensor
    m2: Tensor
    n: int


class Coefficients(NamedTuple):
    """One normalisation as numbers per channel, [C], fp32 (fp64 of fp64): scale, shift, μ, r."""

    scale: Tensor
    shift: Tensor
    mean: Tensor
    rstd: Tensor


def batch_norm(y: Tensor, norm: BatchNorm) -> Tensor:
    """`torch.nn.functional.batch_norm` of y [N, C, H, W]; differentiable.

    Running statistics are updated, those of a cumulative average without a number that leaves the
    device.
    """
    mean, var = norm.running_mean, norm.running_var
    cumulative = norm.training and norm.momentum is None and mean is not None and var is not None
    if not cumulative:
        momentum = norm.momentum or 0.0
        return F.batch_norm(y, mean, var, norm.weight, norm.bias, norm.training, momentum, norm.eps)
    assert mean is not None
    assert var is not None
    assert norm.num_batches_tracked is not None  # else the momentum is a number
    # With a momentum of 1 "running" statistics are the batch's, the variance unbiased.
    batchs = torch.zeros_like(mean), torch.zeros_like(var)
    z = F.batch_norm(y, *batchs, norm.weight, norm.bias, True, 1.0, norm.eps)
    share = norm.num_batches_tracked.to(mean.dtype).reciprocal()
    with torch.no_grad():
        mean.lerp_(batchs[0], share)
        var.lerp_(batchs[1], share)
    return z


def normalised(
    y: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, activation: str | None
) -> Tensor:
    """Normalisation by the batch's statistics and activation, as a differentiable composition."""
    z = F.batch_norm(y, None, None, weight, bias, training=True, momentum=0.0, eps=eps)
    return activate(z, activation)


def _wide(y: Tensor) -> Tensor:
    return y if y.dtype == torch.float64 else y.float()


def _by_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def moments(y: Tensor) -> ChannelMoments:
    """Mean and sum of squared deviations per channel of y [N, C, H, W]."""
    wide = _wide(y)
    mean = wide.mean((0, 2, 3))
    m2 = (wide - _by_channel(mean)).square().sum((0, 2, 3))
    return ChannelMoments(mean, m2, y.numel() // y.shape[1])


def coefficients(of: ChannelMoments, norm: BatchNorm) -> Coefficients:
    """What the batch's statistics make of `norm`; running statistics are updated on the way."""
    mean, m2, n = of
    rstd = torch.rsqrt(m2 / n + norm.eps)
    scale = rstd if norm.weight is None else rstd * norm.weight
    shift = -mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    if norm.running_mean is not None and norm.running_var is not None:
        if norm.momentum is not None:
            share = mean.new_tensor(norm.momentum)
        else:
            assert norm.num_batches_tracked is not None
            share = norm.num_batches_tracked.to(mean.dtype).reciprocal()
        for running, batchs in ((norm.running_mean, mean), (norm.running_var, m2 / (n - 1))):
            running.copy_(torch.lerp(running.to(mean.dtype), batchs, share))
    return Coefficients(scale, shift, mean, rstd)


def apply(y: Tensor, scale: Tensor, shift: Tensor, activation: str | None) -> Tensor:
    """activation(scale·y + shift), [N, C, H, W], of y's dtype."""
    v = torch.addcmul(_by_channel(shift), _wide(y), _by_channel(scale))
    return activate(v, activation).to(y.dtype)


def activation_slope(v: Tensor, activation: str | None) -> Tensor:
    """activation′(v); at 0 as torch has it."""
    if activation is None:
        return torch.ones_like(v)
    if activation == "relu":
        return (v > 0).to(v.dtype)
    if activation == "leaky_relu":
        return torch.where(v > 0, 1.0, NEGATIVE_SLOPE).to(v.dtype)
    z = torch.tanh(v) if activation == "tanh" else torch.sigmoid(v)
    return 1 - z * z if activation == "tanh" else z * (1 - z)


def apply_backward(
    g: Tensor, y: Tensor, of: Coefficients, activation: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """∂L/∂y [N, C, H, W] of y's dtype, ∂L/∂γ and ∂L/∂β [C], fp32 (fp64 of fp64)."""
    wide = _wide(y)
    v = torch.addcmul(_by_channel(of.shift), wide, _by_channel(of.scale))
    u = _wide(g) * activation_slope(v, activation)
    x_hat = (wide - _by_channel(of.mean)) * _by_channel(of.rstd)
    count = y.numel() // y.shape[1]
    sum_u, sum_ux = u.sum((0, 2, 3)), (u * x_hat).sum((0, 2, 3))
    dy = u - _by_channel(sum_u / count) - x_hat * _by_channel(sum_ux / count)
    return (dy * _by_channel(of.scale)).to(y.dtype), sum_ux, sum_u


def fold(
    weight: Tensor, bias: Tensor | None, norm: BatchNorm, out_dim: int
) -> tuple[Tensor, Tensor]:
    """γ (W∗x + b − μ)·r + β as one convolution, μ and r running: W·γ·r, (b − μ)·γ·r + β.

    Args:
        weight: W, [·, ·, 4, 4].
        bias: b, [C], or None.
        norm: with running statistics.
        out_dim: which of W's dimensions is C.
    """
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None  # `training` is set where there are no running statistics
    assert var is not None
    scale = torch.rsqrt(var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = (-mean if bias is None else bias - mean) * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    shape = [1, 1, 1, 1]
    shape[out_dim] = -1
    return (weight * scale.view(shape)).to(weight.dtype), shift.to(weight.dtype)


def output_gradient(g: Tensor, z: Tensor, activation: str | None) -> tuple[Tensor, Tensor]:
    """g·activation′(v) [N, C, H, W] from z = activation(v), and its sum per channel [C]."""
    dv = activation_backward(_wide(g), _wide(z), activation)
    return dv.to(z.dtype), dv.sum((0, 2, 3))
