"""Which products run on boxes that TMA loads, and how images are cut into these. Imports no triton.

A box is images × rows × columns of the small image's positions, a tap of the kernel an offset of
its coordinates, and TMA, the tensor memory accelerator of sm_90 and up, fills with zeros what lies
outside: the loop over a sum has neither masks nor addresses. Where a box does not fit, the kernels
that compute a pointer for every element take over.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor

from .tiles import WGMMA, TileConfig, architecture_of

# Triton sends operands of other widths to the tensor cores through registers.
_DTYPES = (torch.bfloat16, torch.float16)
# Of x: rows of the tensor cores' tiles, and 128 bytes, the widest row that TMA swizzles.
X_CHANNELS = 64
# Of y: strides are multiples of 16 bytes.
Y_CHANNELS = 8
_ALIGNMENT = 16  # bytes
# Of the fewest tiles that could hold all positions: how many times as many are still taken.
_MOST_TILES = 1.25


class Box(NamedTuple):
    """Positions of the small image that are one tile: each extent a power of two."""

    images: int
    rows: int
    columns: int


class Cut(NamedTuple):
    """How a batch of images is cut into boxes; the last ones may reach beyond the last image.

    Attributes:
        box: of one tile.
        images: boxes one after the other over the batch.
        rows: over the height of an image.
        columns: over its width.
    """

    box: Box
    images: int
    rows: int
    columns: int

    @property
    def tiles(self) -> int:
        """Boxes altogether."""
        return self.images * self.rows * self.columns


def cut(positions: int, n: int, h: int, w: int) -> Cut:
    """Boxes of `positions`, a power of two, that divide images of h×w: as wide as they can be."""
    columns = min(_even_part(w), positions)
    rows = min(_even_part(h), positions // columns)
    images = positions // (rows * columns)
    return Cut(Box(images, rows, columns), -(-n // images), h // rows, w // columns)


def is_run(box: Box, h: int, w: int) -> bool:
    """Whether the box's positions follow one another in a channels_last image of h×w."""
    whole_rows = box.columns == w or box.rows == box.images == 1
    return whole_rows and (box.rows == h or box.images == 1)


def why_pointers(
    op: str, config: TileConfig, x: Tensor, y: Tensor, weight: Tensor | None, normalised: bool
) -> str | None:
    """Why a product does not run on boxes, or None where it does.

    Args:
        op: "dgrad", "fprop" or "wgrad".
        config: how it is to be launched.
        x: the large image [N, A, H, W] in channels_last, operand or result.
        y: the small one [N, B, ⌊H/2⌋, ⌊W/2⌋], likewise.
        weight: [B, A, 4, 4] in channels_last, or None for "wgrad".
        normalised: whether an operand has a prologue.
    """
    if not config.tma:
        return "the launch configuration is one of pointers"
    if normalised:
        return "an operand is read through a normalisation, which TMA does not compute"
    architecture = architecture_of(x.device)
    if x.device.type == "cuda" and architecture not in WGMMA:
        return f"sm_{architecture} has no TMA that feeds its tensor cores"
    if x.dtype not in _DTYPES:
        return f"operands are {x.dtype}, and boxes are of 16 bits an element"
    (n, a, height, width), (_, b, h, w) = x.shape, y.shape
    if x.numel() == 0 or y.numel() == 0:
        return "there is nothing to compute"
    if height % 2 or width % 2:
        return f"the large image is odd, {height}×{width}"
    step = max(X_CHANNELS, config.block_k if op == "fprop" else config.block_n)
    if a % step:
        return f"{a} channels of the large image are no multiple of {step}"
    if b % Y_CHANNELS:
        return f"{b} channels of the small image are no multiple of {Y_CHANNELS}"
    for tensor in (x, y, weight):
        if tensor is not None and tensor.data_ptr() % _ALIGNMENT:
            return f"a tensor does not start at a multiple of {_ALIGNMENT} bytes"
    size = config.block_k if op == "wgrad" else config.block_m
    boxes = cut(size, n, h, w)
    if op == "wgrad" and not is_run(boxes.box, h, w):
        return f"{size} positions of images of {h}×{w} are no box that is also a run"
    fewest = -(-n * h * w // size)
    if boxes.tiles > _MOST_TILES * fewest:
        return f"{n} images of {h}×{w} are {boxes.tiles} boxes of {size}, where {fewest} could do"
    return None


_taken: Counter[str] = Counter()
_BY_BOXES = "on boxes by TMA"


def note_taken(reason: str | None) -> None:
    """Count a launch on boxes, or by pointers and why, for `explain`."""
    if not torch.compiler.is_compiling():
        _taken[reason or _BY_BOXES] += 1


def taken() -> str:
    """How the products of this process were launched, most frequent first, in one line."""
    if not _taken:
        return "launches so far: none"
    by_pointers = [f"{count} by pointers: {why}" for why, count in _taken.most_common()
                   if why != _BY_BOXES]  # fmt: skip
    return "launches so far: " + "; ".join([f"{_taken[_BY_BOXES]} {_BY_BOXES}", *by_pointers])


def _even_part(number: int) -> int:
    """The largest power of two that divides it."""
    return number & -number
