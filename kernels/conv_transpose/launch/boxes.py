"""Launches of the products on boxes: the views that TMA reads and writes, and the kernels' grids.

Where `..boxes.why_pointers` has nothing to say; tensors are in channels_last. What describes a
view to TMA is checked once a shape and kept: a launch puts its tensor into a copy.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from ..boxes import Cut
from ..tiles import TileConfig
from ..triton.boxes import dgrad_boxes_kernel, fprop_boxes_kernel, wgrad_boxes_kernel

_Parts = tuple[Tensor | None, Tensor | None, Tensor | None]


def dgrad(
    y: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, x: Tensor,
    parts: _Parts, boxes: Cut, config: TileConfig, constants: dict[str, Any],
) -> None:  # fmt: skip
    """Fill x [N, A, H, W] with the product of y and weight, and `parts` with its statistics."""
    b, a = weight.shape[:2]
    grid = (boxes.tiles * (a // config.block_n) * 4,)
    dgrad_boxes_kernel[grid](
        _small(y, (*boxes.box, config.block_k)),
        _weight(weight, (config.block_k, config.block_n)),
        _large(x, boxes, config.block_n),
        bias, *parts, y.shape[0], boxes.rows, boxes.columns, b, a, activation, parts[0] is not None,
        TN=boxes.box.images, TH=boxes.box.rows, TW=boxes.box.columns,
        BLOCK_N=config.block_n, BLOCK_K=config.block_k,
        num_warps=config.warps, num_stages=config.stages, **constants,
    )  # fmt: skip


def fprop(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, y: Tensor,
    parts: _Parts, boxes: Cut, config: TileConfig, constants: dict[str, Any],
) -> None:  # fmt: skip
    """Fill y [N, B, h, w] with the product of x and weight, and `parts` with its statistics."""
    b, a = weight.shape[:2]
    grid = (boxes.tiles * triton.cdiv(b, config.block_n),)
    fprop_boxes_kernel[grid](
        _large(x, boxes, config.block_k),
        _weight(weight, (config.block_n, config.block_k)),
        _small(y, (*boxes.box, config.block_n)),
        bias, *parts, x.shape[0], boxes.rows, boxes.columns, b, a, activation, parts[0] is not None,
        TN=boxes.box.images, TH=boxes.box.rows, TW=boxes.box.columns,
        BLOCK_N=config.block_n, BLOCK_K=config.block_k,
        num_warps=config.warps, num_stages=config.stages, **constants,
    )  # fmt: skip


def wgrad(
    x: Tensor, y: Tensor, out: Tensor, boxes: Cut, per_split: int, splits: int,
    config: TileConfig, constants: dict[str, Any],
) -> None:  # fmt: skip
    """Fill out [splits, B·16·A] with the sums of `per_split` boxes each."""
    (n, b, h, w), a = y.shape, x.shape[1]
    run = _view(y, (n * h * w, b), (b, 1), (config.block_k, config.block_m))
    grid = (16 * (a // config.block_n) * triton.cdiv(b, config.block_m) * splits,)
    wgrad_boxes_kernel[grid](
        _large(x, boxes, config.block_n), run, out,
        boxes.tiles, per_split, boxes.rows, boxes.columns, b, a,
        TN=boxes.box.images, TH=boxes.box.rows, TW=boxes.box.columns,
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, WHOLE=boxes.rows == boxes.columns == 1,
        num_warps=config.warps, num_stages=config.stages, **constants,
    )  # fmt: skip


def _small(y: Tensor, block: tuple[int, ...]) -> TensorDescriptor:
    n, b, h, w = y.shape
    return _view(y, (n, h, w, b), (h * w * b, w * b, b, 1), block)


def _large(x: Tensor, boxes: Cut, channels: int) -> TensorDescriptor:
    n, a, height, width = x.shape
    box = boxes.box
    return _view(
        x,
        (n, height // 2, 2, width // 2, 2 * a),
        (height * width * a, 2 * width * a, width * a, 2 * a, 1),
        (box.images, box.rows, 1, box.columns, channels),
    )


def _weight(weight: Tensor, block: tuple[int, int]) -> TensorDescriptor:
    b, a = weight.shape[:2]
    return _view(weight, (b, 16 * a), (16 * a, 1), block)


def _view(
    tensor: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], block: tuple[int, ...]
) -> TensorDescriptor:
    held = copy.copy(_checked(tensor.dtype, shape, strides, block))
    held.base = tensor
    return held


@functools.lru_cache(maxsize=4096)
def _checked(
    dtype: torch.dtype, shape: tuple[int, ...], strides: tuple[int, ...], block: tuple[int, ...]
) -> TensorDescriptor:
    """A descriptor without a tensor, which the cache would keep alive."""
    described = TensorDescriptor(
        torch.empty(1, dtype=dtype), list(shape), list(strides), list(block)
    )
    described.base = None
    return described
