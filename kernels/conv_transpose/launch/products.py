"""The three products on Triton: the signatures and results of `definitions.products`.

Operands are read, and results written, in channels_last; others are converted first, and counted.
A weight in channels_last is read in place: every product finds its tiles there as runs of at least
one block of channels, so that packing it once an update would cost a copy and gain nothing.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...dispatch import launching_on
from .. import tiles
from ..definitions.products import (
    Prologue,
    Size,
    WithStatistics,
    accumulated_dtype,
    check_epilogue,
)
from ..layout import channels_last, empty_channels_last
from ..triton.dgrad import dgrad_kernel, dgrad_packed_kernel
from ..triton.fprop import fprop_kernel
from ..triton.statistics import combine_statistics_kernel
from ..triton.wgrad import sum_splits_kernel, wgrad_kernel

_TYPES = {
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
}
# Offsets within a tensor of more elements are computed in 64 bits. The margin is for positions
# beyond the last, which are computed before they are masked.
LARGEST_INT32 = 2**31 - 2**24
# Elements that one program sums over all splits.
SUMMED_AT_ONCE = 1024


class _StatisticsBlock(NamedTuple):
    combined: int  # partial statistics that one program makes one
    rows: int
    columns: int


STATISTICS_BLOCK = _StatisticsBlock(256, 64, 32)
# The fewest steps along the sum that are worth a split of their own.
_STEPS_A_SPLIT = 8


def dgrad(
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    *,
    statistics: bool = False,
    prologue: Prologue | None = None,
    size: Size | None = None,
    config: tiles.TileConfig | None = None,
) -> Tensor | WithStatistics:
    """activation(conv_transpose2d(prologue(y), weight, bias)), see `definitions.products.dgrad`.

    Args:
        y: [N, B, h, w]; bf16, fp16, fp32 or fp64.
        weight: [B, A, 4, 4], of y's dtype and device.
        bias: [A] or None.
        activation: of the result.
        statistics: also return mean and M2 of the result.
        prologue: applied to y.
        size: (H, W) of the result.
        config: how to launch it; `tiles.config` by default.

    Raises:
        ValueError: `activation` together with `statistics`, or unknown.
    """
    check_epilogue(activation, statistics)
    y, weight = channels_last(y), channels_last(weight)
    n, b, h, w = y.shape
    a = weight.shape[1]
    height, width = size if size is not None else (2 * h, 2 * w)
    x = empty_channels_last(y, n, a, height, width)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    positions = n * rows * columns
    packed = a <= tiles.PACKED_CHANNELS
    heavy = statistics or prologue is not None
    options, precision, chosen = _options(
        "dgrad", y, b, a, n * h * w, config, (y, weight, x), heavy
    )
    tiles_m = triton.cdiv(positions, chosen.block_m)
    parts = Parts(x, a, 4 * tiles_m) if statistics else None
    if x.numel() > 0:
        kernel = dgrad_packed_kernel if packed else dgrad_kernel
        grid = tiles_m if packed else tiles_m * triton.cdiv(a, chosen.block_n) * 4
        with launching_on(x.device):
            kernel[(grid,)](
                y, weight, bias, *_prologue_arguments(prologue), x, *_part_arguments(parts),
                positions, rows, columns, h, w, height, width, b, a,
                activation, prologue is not None, prologue and prologue.activation,
                statistics, PRECISION=precision, NESTED=chosen.nested, **options,
            )  # fmt: skip
    return x if parts is None else WithStatistics(x, *parts.combined(), n * height * width)


def fprop(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    *,
    statistics: bool = False,
    prologue: Prologue | None = None,
    config: tiles.TileConfig | None = None,
) -> Tensor | WithStatistics:
    """activation(conv2d(prologue(x), weight, bias)), see `definitions.products.fprop`.

    Args:
        x: [N, A, H, W]; bf16, fp16, fp32 or fp64.
        weight: [B, A, 4, 4], of x's dtype and device.
        bias: [B] or None.
        activation: of the result.
        statistics: also return mean and M2 of the result.
        prologue: applied to x.
        config: how to launch it; `tiles.config` by default.

    Raises:
        ValueError: `activation` together with `statistics`, or unknown.
    """
    check_epilogue(activation, statistics)
    x, weight = channels_last(x), channels_last(weight)
    n, a, height, width = x.shape
    b = weight.shape[0]
    h, w = height // 2, width // 2
    y = empty_channels_last(x, n, b, h, w)
    positions = n * h * w
    heavy = statistics or prologue is not None
    options, precision, chosen = _options(
        "fprop", x, b, a, positions, config, (x, weight, y), heavy
    )
    tiles_m = triton.cdiv(positions, chosen.block_m)
    parts = Parts(y, b, tiles_m) if statistics else None
    if y.numel() > 0:
        with launching_on(y.device):
            fprop_kernel[(tiles_m * triton.cdiv(b, chosen.block_n),)](
                x, weight, bias, *_prologue_arguments(prologue), y, *_part_arguments(parts),
                positions, height, width, h, w, b, a,
                activation, prologue is not None, prologue and prologue.activation,
                statistics, PRECISION=precision, NESTED=chosen.nested,
                NARROW=a <= tiles.NARROW_CHANNELS, **options,
            )  # fmt: skip
    return y if parts is None else WithStatistics(y, *parts.combined(), positions)


def wgrad(
    x: Tensor,
    y: Tensor,
    *,
    x_prologue: Prologue | None = None,
    y_prologue: Prologue | None = None,
    config: tiles.TileConfig | None = None,
) -> Tensor:
    """The correlation of prologue(x) and prologue(y), see `definitions.products.wgrad`.

    Args:
        x: [N, A, H, W]; bf16, fp16, fp32 or fp64.
        y: [N, B, ⌊H/2⌋, ⌊W/2⌋], of x's dtype and device.
        x_prologue: applied to x.
        y_prologue: applied to y.
        config: how to launch it; `tiles.config` by default.

    Returns:
        [B, A, 4, 4] of y's dtype in channels_last.
    """
    x, y = channels_last(x), channels_last(y)
    n, a, height, width = x.shape
    b, h, w = y.shape[1:]
    positions = n * h * w
    weight = empty_channels_last(y, b, a, 4, 4)
    if positions == 0 or weight.numel() == 0:
        return weight.zero_()
    narrow = a <= tiles.NARROW_CHANNELS
    options, precision, chosen = _options("wgrad", y, b, a, positions, config, (x, y))
    columns = 16 * a if narrow else a
    tiles_mn = triton.cdiv(b, chosen.block_m) * triton.cdiv(columns, chosen.block_n)
    tiles_mn = tiles_mn if narrow else 16 * tiles_mn
    splits, per_split = _split(positions, tiles_mn, chosen.block_k, _processors(y.device))
    accumulated = accumulated_dtype(y.dtype)
    parts = weight
    if splits > 1:
        parts = torch.empty((splits, weight.numel()), dtype=accumulated, device=y.device)
    if parts.numel() > LARGEST_INT32:
        options["INT64"] = True
    with launching_on(y.device):
        wgrad_kernel[(tiles_mn * splits,)](
            x, y, *_prologue_arguments(x_prologue), *_prologue_arguments(y_prologue), parts,
            positions, per_split, height, width, h, w, b, a,
            x_prologue is not None, x_prologue and x_prologue.activation,
            y_prologue is not None, y_prologue and y_prologue.activation,
            PRECISION=precision, NARROW=narrow, **options,
        )  # fmt: skip
        if splits > 1:
            sum_splits_kernel[(triton.cdiv(weight.numel(), SUMMED_AT_ONCE),)](
                parts, weight, weight.numel(), splits, BLOCK=SUMMED_AT_ONCE
            )
    return weight


class Parts:
    """Where the tiles of one product leave their statistics."""

    def __init__(self, like: Tensor, channels: int, rows: int) -> None:
        dtype = accumulated_dtype(like.dtype)
        self.counts = torch.empty((rows,), dtype=dtype, device=like.device)
        self.means = torch.empty((rows, channels), dtype=dtype, device=like.device)
        self.m2s = torch.empty_like(self.means)

    def combined(self) -> tuple[Tensor, Tensor]:
        """Mean and M2 over all rows, each [C]."""
        parts = self
        while True:
            rows, channels = parts.means.shape
            splits = max(1, triton.cdiv(rows, STATISTICS_BLOCK.combined))
            out = Parts(self.means, channels, splits)
            grid = (triton.cdiv(channels, STATISTICS_BLOCK.columns), splits)
            with launching_on(self.means.device):
                combine_statistics_kernel[grid](
                    parts.counts, parts.means, parts.m2s, out.counts, out.means, out.m2s,
                    rows, STATISTICS_BLOCK.combined, C=channels,
                    BLOCK_R=STATISTICS_BLOCK.rows, BLOCK_C=STATISTICS_BLOCK.columns,
                )  # fmt: skip
            if splits == 1:
                return out.means[0], out.m2s[0]
            parts = out


def _options(
    op: tiles.Operation,
    like: Tensor,
    b: int,
    a: int,
    positions: int,
    config: tiles.TileConfig | None,
    tensors: tuple[Tensor, ...],
    heavy: bool = False,
) -> tuple[dict[str, Any], str, tiles.TileConfig]:
    """The constants of a launch that every product has, its precision and its configuration."""
    name, precision = tiles.precision_of(like.dtype, like.device.type)
    if config is None:
        config = tiles.config(op, name, b, a, positions, tiles.architecture_of(like.device))
    if heavy:
        config = tiles.lighter(config, name)
    operand = _TYPES[like.dtype]
    if like.dtype == torch.bfloat16 and _interpreted():
        operand = tl.float32  # numpy has no bf16, and the interpreter computes with its bits
    options = {
        "OPERAND": operand,
        "ACCUMULATOR": _TYPES[accumulated_dtype(like.dtype)],
        "INT64": any(tensor.numel() > LARGEST_INT32 for tensor in tensors),
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_K": config.block_k,
        "num_warps": config.warps,
        "num_stages": config.stages,
    }
    return options, precision, config


def _split(positions: int, programs: int, block_k: int, processors: int) -> tuple[int, int]:
    """How many parts to split the sum over positions into, and the positions of each."""
    steps = triton.cdiv(positions, block_k)
    wanted = triton.cdiv(2 * processors, programs)
    splits = max(1, min(wanted, steps // _STEPS_A_SPLIT))
    steps_each = triton.cdiv(steps, splits)
    return triton.cdiv(steps, steps_each), steps_each * block_k


def _prologue_arguments(prologue: Prologue | None) -> tuple[Tensor | None, Tensor | None]:
    if prologue is None:
        return None, None
    return prologue.scale.contiguous(), prologue.shift.contiguous()


def _part_arguments(parts: Parts | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    return (None, None, None) if parts is None else (parts.counts, parts.means, parts.m2s)


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count
