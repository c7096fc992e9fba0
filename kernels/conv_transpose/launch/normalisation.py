"""Batch normalisation and activation on Triton: the functions of `definitions.normalisation`.

Tensors come out in channels_last; one that comes in otherwise is copied. fp32, fp16, bf16 and fp64.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from ...dispatch import launching_on
from ..definitions.normalisation import BatchNorm, ChannelMoments, Coefficients
from ..definitions.products import accumulated_dtype
from ..layout import channels_last
from ..tiles import MAX_BLOCK_C, tiling
from ..triton.normalisation import (
    apply_kernel,
    backward_apply_kernel,
    backward_sums_kernel,
    coefficients_kernel,
    merge_sums_kernel,
    moments_kernel,
    output_backward_kernel,
)
from .products import Parts

BLOCK_P = 32


def moments(y: Tensor) -> ChannelMoments:
    """Mean and sum of squared deviations per channel of y [N, C, H, W]."""
    y, rows, channels = _matrix(y)
    tiles = tiling(rows, channels)
    parts = Parts(y, channels, tiles.partials)
    with launching_on(y.device):
        moments_kernel[(tiles.partials, tiles.columns)](
            y, parts.counts, parts.means, parts.m2s, rows, tiles.rows_each,
            C=channels, BLOCK_M=tiles.block_m, BLOCK_C=tiles.block_c,
        )  # fmt: skip
    return ChannelMoments(*parts.combined(), rows)


def coefficients(of: ChannelMoments, norm: BatchNorm) -> Coefficients:
    """scale, shift, μ and r; running statistics move on.

    Everything stays on the device, the number of batches that a cumulative average divides by
    included.
    """
    mean, m2, count = of
    channels = mean.numel()
    scale, shift, rstd = mean.new_empty((3, channels)).unbind(0)
    tracked = norm.running_mean is not None and norm.running_var is not None
    block_c = min(triton.next_power_of_2(channels), MAX_BLOCK_C)
    with launching_on(mean.device):
        coefficients_kernel[(triton.cdiv(channels, block_c),)](
            mean, m2, norm.weight, norm.bias,
            norm.running_mean if tracked else None,
            norm.running_var if tracked else None,
            norm.num_batches_tracked if norm.momentum is None else None,
            scale, shift, rstd, count, float(norm.momentum or 0.0), float(norm.eps),
            C=channels, BLOCK_C=block_c,
        )  # fmt: skip
    return Coefficients(scale, shift, mean, rstd)


def apply(y: Tensor, scale: Tensor, shift: Tensor, activation: str | None) -> Tensor:
    """activation(scale·y + shift), [N, C, H, W] in channels_last, of y's dtype."""
    y, rows, channels = _matrix(y)
    z = torch.empty_like(y, memory_format=torch.channels_last)
    tiles = tiling(rows, channels)
    with launching_on(y.device):
        apply_kernel[(triton.cdiv(rows, tiles.block_m), tiles.columns)](
            y, z, scale, shift, rows,
            C=channels, ACTIVATION=activation, BLOCK_M=tiles.block_m, BLOCK_C=tiles.block_c,
        )  # fmt: skip
    return z


def apply_backward(
    g: Tensor, y: Tensor, of: Coefficients, activation: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """∂L/∂y, ∂L/∂γ and ∂L/∂β."""
    y, rows, channels = _matrix(y)
    g, _, _ = _matrix(g)
    dy = torch.empty_like(y, memory_format=torch.channels_last)
    tiles = tiling(rows, channels)
    sums = of.mean.new_empty((tiles.partials, 2, channels))
    constants: dict[str, Any] = {
        "C": channels,
        "ACTIVATION": activation,
        "BLOCK_M": tiles.block_m,
        "BLOCK_C": tiles.block_c,
    }
    with launching_on(y.device):
        backward_sums_kernel[(tiles.partials, tiles.columns)](
            g, y, *of, sums, rows, tiles.rows_each, **constants
        )
        totals = _merged(sums, 2 * channels)
        backward_apply_kernel[(triton.cdiv(rows, tiles.block_m), tiles.columns)](
            g, y, dy, *of, totals, rows, **constants
        )
    return dy, totals[channels:], totals[:channels]


def output_gradient(g: Tensor, z: Tensor, activation: str | None) -> tuple[Tensor, Tensor]:
    """g·activation′(v) [N, C, H, W] from z = activation(v), and its sum per channel [C]."""
    z, rows, channels = _matrix(z)
    g, _, _ = _matrix(g)
    dv = torch.empty_like(z, memory_format=torch.channels_last)
    tiles = tiling(rows, channels)
    sums = z.new_empty((tiles.partials, channels), dtype=accumulated_dtype(z.dtype))
    with launching_on(z.device):
        output_backward_kernel[(tiles.partials, tiles.columns)](
            g, z, dv, sums, rows, tiles.rows_each,
            C=channels, ACTIVATION=activation, BLOCK_M=tiles.block_m, BLOCK_C=tiles.block_c,
        )  # fmt: skip
        total = _merged(sums, channels)
    return dv, total


def _merged(sums: Tensor, width: int) -> Tensor:
    """[width]: the sum over the first dimension of `sums`, in its order."""
    totals = sums.new_empty(width)
    block_c = min(triton.next_power_of_2(width), BLOCK_P)
    merge_sums_kernel[(triton.cdiv(width, block_c),)](
        sums, totals, sums.shape[0], WIDTH=width, BLOCK_P=BLOCK_P, BLOCK_C=block_c
    )
    return totals


def _matrix(y: Tensor) -> tuple[Tensor, int, int]:
    """Returns y in channels_last, the number of rows of its matrix, and C."""
    n, channels, height, width = y.shape
    return channels_last(y), n * height * width, channels
