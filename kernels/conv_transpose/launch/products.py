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
from .. import boxes, tiles
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
from . import boxes as on_boxes

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
    chosen = _config(_Call("dgrad", x, y, weight, prologue is not None, statistics), config)
    if chosen.tma:
        cut = boxes.cut(chosen.block_m, n, h, w)
        parts = Parts(x, a, 4 * cut.tiles) if statistics else None
        with launching_on(x.device):
            on_boxes.dgrad(
                y, weight, bias, activation, x, _part_arguments(parts), cut, chosen, _arithmetic(y)
            )
        return x if parts is None else WithStatistics(x, *parts.combined(), n * height * width)
    heavy = statistics or prologue is not None
    options, precision, chosen = _options(chosen, y, (y, weight, x), heavy)
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
    chosen = _config(_Call("fprop", x, y, weight, prologue is not None, statistics), config)
    if chosen.tma:
        cut = boxes.cut(chosen.block_m, n, h, w)
        parts = Parts(y, b, cut.tiles) if statistics else None
        with launching_on(y.device):
            on_boxes.fprop(
                x, weight, bias, activation, y, _part_arguments(parts), cut, chosen, _arithmetic(x)
            )
        return y if parts is None else WithStatistics(y, *parts.combined(), positions)
    heavy = statistics or prologue is not None
    options, precision, chosen = _options(chosen, x, (x, weight, y), heavy)
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
    normalised = x_prologue is not None or y_prologue is not None
    chosen = _config(_Call("wgrad", x, y, None, normalised), config)
    columns = 16 * a if narrow else a
    tiles_mn = triton.cdiv(b, chosen.block_m) * triton.cdiv(columns, chosen.block_n)
    tiles_mn = tiles_mn if narrow else 16 * tiles_mn
    if chosen.tma:  # the last box may reach beyond the last image
        cut = boxes.cut(chosen.block_k, n, h, w)
        positions = cut.tiles * chosen.block_k
    splits, per_split = _split(positions, tiles_mn, chosen.block_k, _processors(y.device))
    parts = weight
    if splits > 1:
        accumulated = accumulated_dtype(y.dtype)
        parts = torch.empty((splits, weight.numel()), dtype=accumulated, device=y.device)
    options, precision, chosen = _options(chosen, y, (x, y, parts))
    with launching_on(y.device):
        if chosen.tma:
            constants = {**_arithmetic(y), "INT64": parts.numel() > LARGEST_INT32}
            each = per_split // chosen.block_k
            on_boxes.wgrad(x, y, parts, cut, each, splits, chosen, constants)
        else:
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


class _Call(NamedTuple):
    """What is asked of a product, as far as it decides how that is launched."""

    op: tiles.Operation
    x: Tensor  # [N, A, H, W], operand or result
    y: Tensor  # [N, B, h, w], likewise
    weight: Tensor | None  # operand
    normalised: bool  # whether an operand has a prologue
    statistics: bool = False


def _config(call: _Call, config: tiles.TileConfig | None) -> tiles.TileConfig:
    """The configuration given, or the table's; one of pointers where no boxes are possible."""
    n, b, h, w = call.y.shape
    a = call.x.shape[1]
    name, _ = tiles.precision_of(call.y.dtype, call.y.device.type)
    shape = (call.op, name, b, a, n * h * w, tiles.architecture_of(call.y.device))
    if config is None:
        epilogue: tiles.Epilogue = "statistics" if call.statistics else "plain"
        if call.normalised:
            epilogue = "folded"
        config = tiles.config(*shape, epilogue)
    reason = boxes.why_pointers(call.op, config, *call[1:5])
    boxes.note_taken(reason)
    return config if reason is None or not config.tma else tiles.rule(*shape, tma=False)


def _arithmetic(like: Tensor) -> dict[str, Any]:
    """The types that a kernel computes with."""
    operand = _TYPES[like.dtype]
    if like.dtype == torch.bfloat16 and _interpreted():
        operand = tl.float32  # numpy has no bf16, and the interpreter computes with its bits
    return {"OPERAND": operand, "ACCUMULATOR": _TYPES[accumulated_dtype(like.dtype)]}


def _options(
    config: tiles.TileConfig, like: Tensor, tensors: tuple[Tensor, ...], heavy: bool = False
) -> tuple[dict[str, Any], str, tiles.TileConfig]:
    """The constants of a launch by pointers, its precision and its configuration."""
    name, precision = tiles.precision_of(like.dtype, like.device.type)
    if heavy:
        config = tiles.lighter(config, name)
    options = {
        **_arithmetic(like),
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
