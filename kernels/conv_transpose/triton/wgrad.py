"""The gradient of the weights, in Triton: split over positions, summed in a fixed order.

    W[b, p, q, a] = Σ_{n,i,j} y[n, i, j, b] · x[n, 2i+p−1, 2j+q−1, a]

For each tap (p, q) a matrix product with M = B, N = A, K = positions (n, i, j). All tensors are
channels_last: x [N, H, W, A], y [N, h, w, B], W [B, 4, 4, A] in memory. Too few tiles for all
multiprocessors are split along K; each split has its own part of an fp32 workspace
[splits, B, 16·A], which a second kernel sums up from first to last, so that results repeat bit
for bit.
"""

# Triton compiles these functions: their arguments are pointers and constants, not Python values.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .device import prologued

_RUN_TIME = ("positions", "per_split", "height_x", "width_x", "height_y", "width_y")


@triton.jit(do_not_specialize=_RUN_TIME)
def wgrad_kernel(
    x, y, x_scale, x_shift, y_scale, y_shift, out,
    positions, per_split, height_x, width_x, height_y, width_y,
    B: tl.constexpr, A: tl.constexpr,
    X_PROLOGUE: tl.constexpr, X_ACTIVATION: tl.constexpr,
    Y_PROLOGUE: tl.constexpr, Y_ACTIVATION: tl.constexpr,
    OPERAND: tl.constexpr, ACCUMULATOR: tl.constexpr, PRECISION: tl.constexpr,
    INT64: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, NARROW: tl.constexpr,
):  # fmt: skip
    """One tile of W's [B, 16·A] from `per_split` positions, a multiple of BLOCK_K.

    Grid: columns · ⌈B/BLOCK_M⌉ · splits, columns = 16·⌈A/BLOCK_N⌉, or ⌈16·A/BLOCK_N⌉ if NARROW:
    then a tile's columns run over (tap, channel) as one, 16·A long.
    """
    program = tl.program_id(0)
    # Taps are fastest: programs that read the same part of y, and almost the same of x.
    tiles_n: tl.constexpr = (
        (16 * A + BLOCK_N - 1) // BLOCK_N if NARROW else 16 * ((A + BLOCK_N - 1) // BLOCK_N)
    )
    if NARROW:
        e = (program % tiles_n) * BLOCK_N + tl.arange(0, BLOCK_N)
        column_inside = e < 16 * A
        p = e // (4 * A)
        q = (e // A) % 4
        c = e % A
    else:
        tap = program % 16
        c = ((program % tiles_n) // 16) * BLOCK_N + tl.arange(0, BLOCK_N)
        column_inside = c < A
        p = tap // 4
        q = tap % 4
        e = tap * A + c
    tile_m = (program // tiles_n) % tl.cdiv(B, BLOCK_M)
    split = program // (tiles_n * tl.cdiv(B, BLOCK_M))
    channels = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    channel_inside = channels < B

    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATOR)
    for k in range(0, per_split, BLOCK_K):
        if INT64:
            m = split.to(tl.int64) * per_split + k + tl.arange(0, BLOCK_K)
        else:
            m = split * per_split + k + tl.arange(0, BLOCK_K)
        inside = m < positions
        j = m % width_y
        i = (m // width_y) % height_y
        n = m // (width_y * height_y)
        up = 2 * i - 1
        across = 2 * j - 1
        corner = ((n * height_x + up) * width_x + across) * A
        # [BLOCK_K, BLOCK_N]
        if NARROW:
            row = up[:, None] + p[None, :]
            column = across[:, None] + q[None, :]
            mask = (row >= 0) & (row < height_x) & (column >= 0) & (column < width_x)
            mask = mask & inside[:, None] & column_inside[None, :]
            x_offsets = corner[:, None] + ((p * width_x + q) * A + c)[None, :]
        else:
            row = up + p
            column = across + q
            seen = (row >= 0) & (row < height_x) & (column >= 0) & (column < width_x) & inside
            if A % BLOCK_N == 0:
                mask = tl.broadcast_to(seen[:, None], BLOCK_K, BLOCK_N)
            else:
                mask = seen[:, None] & column_inside[None, :]
            x_offsets = (corner + (p * width_x + q) * A)[:, None] + c[None, :]
        x_tile = tl.load(x + x_offsets, mask=mask, other=0.0)
        if X_PROLOGUE:
            x_tile = prologued(
                x_tile, x_scale, x_shift, c, mask, column_inside, X_ACTIVATION, ACCUMULATOR, OPERAND
            )
        # [BLOCK_K, BLOCK_M]
        if B % BLOCK_M == 0:
            y_mask = tl.broadcast_to(inside[:, None], BLOCK_K, BLOCK_M)
        else:
            y_mask = inside[:, None] & channel_inside[None, :]
        y_tile = tl.load(y + (m * B)[:, None] + channels[None, :], mask=y_mask, other=0.0)
        if Y_PROLOGUE:
            y_tile = prologued(
                y_tile, y_scale, y_shift, channels, y_mask, channel_inside, Y_ACTIVATION,
                ACCUMULATOR, OPERAND,
            )  # fmt: skip
        acc = tl.dot(
            tl.trans(y_tile.to(OPERAND)), x_tile.to(OPERAND), acc,
            input_precision=PRECISION, out_dtype=ACCUMULATOR,
        )  # fmt: skip

    start = split.to(tl.int64) * (B * 16 * A) if INT64 else split * (B * 16 * A)
    tl.store(
        out + start + (channels * (16 * A))[:, None] + e[None, :],
        acc.to(out.dtype.element_ty),
        mask=channel_inside[:, None] & column_inside[None, :],
    )


@triton.jit(do_not_specialize=("elements", "splits"))
def sum_splits_kernel(parts, out, elements, splits, BLOCK: tl.constexpr):
    """Sum `parts` [splits, elements] into `out` [elements], the first split first."""
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = places < elements
    part = parts + places
    total = tl.load(part, mask=inside, other=0.0)
    for _ in range(1, splits):
        part += elements  # the pointer, not an offset that could exceed 32 bits
        total += tl.load(part, mask=inside, other=0.0)
    tl.store(out + places, total.to(out.dtype.element_ty), mask=inside)
