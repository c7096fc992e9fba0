"""The convolution as an implicit matrix product, in Triton.

    y[n, i, j, :] = Σ_{p,q∈{0..3}} x[n, 2i+p−1, 2j+q−1, :] · W[:, p, q, :]ᵀ

with M = positions (n, i, j), N = B, K = 16·A. All tensors are channels_last: x [N, H, W, A],
y [N, h, w, B], W [B, 4, 4, A] in memory. It is also the gradient of the transposed convolution.
"""

# Triton compiles these functions: their arguments are pointers and constants, not Python values.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .device import activated, prologued, store_statistics

_RUN_TIME = ("positions", "height_x", "width_x", "height_y", "width_y")


@triton.jit
def _fprop_step(
    acc, x, weight, scale, shift, tap, k, corner, seen_rows, seen_columns, channels,
    channel_inside, width_x,
    B: tl.constexpr, A: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
    PROLOGUE: tl.constexpr, PROLOGUE_ACTIVATION: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the product of one tap and BLOCK_K of x's channels."""
    p = tap // 4
    q = tap % 4
    seen = (seen_rows >> p) & (seen_columns >> q) & 1 == 1
    c = k + tl.arange(0, BLOCK_K)
    if A % BLOCK_K == 0:
        mask = tl.broadcast_to(seen[:, None], seen.shape[0], BLOCK_K)
    else:
        mask = seen[:, None] & (c < A)[None, :]
    operand = tl.load(
        x + (corner + (p * width_x + q) * A)[:, None] + c[None, :], mask=mask, other=0.0
    )
    if PROLOGUE:
        operand = prologued(
            operand, scale, shift, c, mask, c < A, PROLOGUE_ACTIVATION, acc.dtype, OPERAND
        )
    # [BLOCK_K, BLOCK_N]
    places = weight + (tap * A + c)[:, None] + (channels * (16 * A))[None, :]
    if A % BLOCK_K == 0 and B % BLOCK_N == 0:
        w = tl.load(places)
    else:
        w = tl.load(places, mask=(c < A)[:, None] & channel_inside[None, :], other=0.0)
    return tl.dot(
        operand.to(OPERAND), w.to(OPERAND), acc, input_precision=PRECISION, out_dtype=acc.dtype
    )


@triton.jit(do_not_specialize=_RUN_TIME)
def fprop_kernel(
    x, weight, bias, scale, shift, y, counts, means, m2s,
    positions, height_x, width_x, height_y, width_y,
    B: tl.constexpr, A: tl.constexpr,
    ACTIVATION: tl.constexpr, PROLOGUE: tl.constexpr, PROLOGUE_ACTIVATION: tl.constexpr,
    STATISTICS: tl.constexpr, OPERAND: tl.constexpr, ACCUMULATOR: tl.constexpr,
    PRECISION: tl.constexpr, INT64: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, NESTED: tl.constexpr,
    NARROW: tl.constexpr,
):  # fmt: skip
    """One tile of positions × channels. Grid: ⌈positions/BLOCK_M⌉·⌈B/BLOCK_N⌉.

    NARROW is for few channels A: K runs over (tap, channel) as one, 16·A long, where a block of
    channels a tap would be mostly padding.
    """
    program = tl.program_id(0)
    tile_n = program % tl.cdiv(B, BLOCK_N)
    tile_m = program // tl.cdiv(B, BLOCK_N)
    if INT64:
        m = tile_m.to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    else:
        m = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    j = m % width_y
    i = (m // width_y) % height_y
    n = m // (width_y * height_y)
    inside = m < positions
    channels = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    channel_inside = channels < B

    up = 2 * i - 1  # row and column of tap (0, 0)
    across = 2 * j - 1
    corner = ((n * height_x + up) * width_x + across) * A
    # Which rows and columns of taps are inside x, a bit each: fewer registers through the loop.
    # Two in the middle always are; a position that is not inside has no row.
    seen_rows = tl.where(inside, 6 + (up >= 0) + (up + 3 < height_x) * 8, 0)
    seen_columns = 6 + (across >= 0) + (across + 3 < width_x) * 8
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATOR)
    if NARROW:
        for k in range(0, 16 * A, BLOCK_K):
            e = k + tl.arange(0, BLOCK_K)
            c = e % A
            p = e // (4 * A)
            q = (e // A) % 4
            row = up[:, None] + p[None, :]
            column = across[:, None] + q[None, :]
            mask = inside[:, None] & (e < 16 * A)[None, :] & (row >= 0) & (row < height_x)
            mask = mask & (column >= 0) & (column < width_x)
            offsets = corner[:, None] + ((p * width_x + q) * A + c)[None, :]
            operand = tl.load(x + offsets, mask=mask, other=0.0)
            if PROLOGUE:
                operand = prologued(
                    operand, scale, shift, c, mask, e < 16 * A, PROLOGUE_ACTIVATION,
                    ACCUMULATOR, OPERAND,
                )  # fmt: skip
            w = tl.load(
                weight + e[:, None] + (channels * (16 * A))[None, :],
                mask=(e < 16 * A)[:, None] & channel_inside[None, :], other=0.0,
            )  # fmt: skip
            acc = tl.dot(
                operand.to(OPERAND), w.to(OPERAND), acc,
                input_precision=PRECISION, out_dtype=ACCUMULATOR,
            )  # fmt: skip
    elif NESTED:
        for tap in range(16):
            for k in range(0, A, BLOCK_K):
                acc = _fprop_step(
                    acc, x, weight, scale, shift, tap, k, corner, seen_rows, seen_columns,
                    channels, channel_inside, width_x, B, A, BLOCK_K, BLOCK_N,
                    PROLOGUE, PROLOGUE_ACTIVATION, OPERAND, PRECISION,
                )  # fmt: skip
    else:
        # With few steps a tap, the pipeline of loads would drain at the end of each.
        for step in range(16 * tl.cdiv(A, BLOCK_K)):
            acc = _fprop_step(
                acc, x, weight, scale, shift, step // tl.cdiv(A, BLOCK_K),
                (step % tl.cdiv(A, BLOCK_K)) * BLOCK_K, corner, seen_rows, seen_columns,
                channels, channel_inside, width_x, B, A, BLOCK_K, BLOCK_N,
                PROLOGUE, PROLOGUE_ACTIVATION, OPERAND, PRECISION,
            )  # fmt: skip

    if bias is not None:
        acc += tl.load(bias + channels, mask=channel_inside, other=0.0).to(ACCUMULATOR)[None, :]
    if STATISTICS:
        store_statistics(acc, inside, channels, channel_inside, tile_m, counts, means, m2s, B)
    acc = activated(acc, ACTIVATION)
    tl.store(
        y + (m * B)[:, None] + channels[None, :],
        acc.to(y.dtype.element_ty),
        mask=inside[:, None] & channel_inside[None, :],
    )
