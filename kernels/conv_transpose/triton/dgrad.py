"""The transposed convolution as sub-pixel products, in Triton.

Pixels of x are told apart by phase (a, b), their parity: for each,

    x[n, 2i+a, 2j+b, :] = Σ_{r,s∈{0,1}} y[n, i+a−r, j+b−s, :] · W[:, 1−a+2r, 1−b+2s, :]

is a matrix product with M = positions (n, i, j), N = A, K = 4·B, without a multiplication by the
zeros between y's pixels. All tensors are channels_last: y [N, h, w, B], x [N, H, W, A],
W [B, 4, 4, A] in memory. An odd H or W has one position more than y in that direction.
"""

# Triton compiles these functions: their arguments are pointers and constants, not Python values.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .device import activated, prologued, store_statistics

_RUN_TIME = ("positions", "rows", "columns", "height_y", "width_y", "height_x", "width_x")


@triton.jit
def _dgrad_step(
    acc, y, weight, scale, shift, tap, k, corner, taps_seen, channels, channel_inside,
    a, b, width_y,
    B: tl.constexpr, A: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
    PROLOGUE: tl.constexpr, PROLOGUE_ACTIVATION: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the product of one tap and BLOCK_K of y's channels."""
    r = tap // 2
    s = tap % 2
    seen = (taps_seen >> tap) % 2 == 1
    c = k + tl.arange(0, BLOCK_K)
    if B % BLOCK_K == 0:
        mask = tl.broadcast_to(seen[:, None], seen.shape[0], BLOCK_K)
    else:
        mask = seen[:, None] & (c < B)[None, :]
    offsets = (corner - (r * width_y + s) * B)[:, None] + c[None, :]
    operand = tl.load(y + offsets, mask=mask, other=0.0)
    if PROLOGUE:
        operand = prologued(
            operand, scale, shift, c, mask, c < B, PROLOGUE_ACTIVATION, acc.dtype, OPERAND
        )
    # [BLOCK_K, BLOCK_N]
    taps = ((1 - a + 2 * r) * 4 + 1 - b + 2 * s) * A
    places = weight + (c * (16 * A) + taps)[:, None] + channels[None, :]
    if B % BLOCK_K == 0 and A % BLOCK_N == 0:
        w = tl.load(places)
    else:
        w = tl.load(places, mask=(c < B)[:, None] & channel_inside[None, :], other=0.0)
    return tl.dot(
        operand.to(OPERAND), w.to(OPERAND), acc, input_precision=PRECISION, out_dtype=acc.dtype
    )


@triton.jit(do_not_specialize=_RUN_TIME)
def dgrad_kernel(
    y, weight, bias, scale, shift, x, counts, means, m2s,
    positions, rows, columns, height_y, width_y, height_x, width_x,
    B: tl.constexpr, A: tl.constexpr,
    ACTIVATION: tl.constexpr, PROLOGUE: tl.constexpr, PROLOGUE_ACTIVATION: tl.constexpr,
    STATISTICS: tl.constexpr, OPERAND: tl.constexpr, ACCUMULATOR: tl.constexpr,
    PRECISION: tl.constexpr, INT64: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, NESTED: tl.constexpr,
):  # fmt: skip
    """One tile of positions × channels of one phase. Grid: ⌈positions/BLOCK_M⌉·⌈A/BLOCK_N⌉·4."""
    program = tl.program_id(0)
    # Fastest, so that the four programs that read the same part of y run together.
    phase = program % 4
    tile_n = (program // 4) % tl.cdiv(A, BLOCK_N)
    tile_m = program // (4 * tl.cdiv(A, BLOCK_N))
    a = phase // 2
    b = phase % 2
    if INT64:
        m = tile_m.to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    else:
        m = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    j = m % columns
    i = (m // columns) % rows
    n = m // (columns * rows)
    inside = (m < positions) & (2 * i + a < height_x) & (2 * j + b < width_x)
    channels = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    channel_inside = channels < A

    corner = ((n * height_y + i + a) * width_y + j + b) * B  # of tap (0, 0)
    # Which taps are inside y, a bit each: one register a row through the loop instead of several.
    r0 = inside & (i + a < height_y)
    r1 = inside & (i + a > 0)
    s0 = j + b < width_y
    s1 = j + b > 0
    taps_seen = (r0 & s0) * 1 + (r0 & s1) * 2 + (r1 & s0) * 4 + (r1 & s1) * 8
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATOR)
    if NESTED:
        for tap in range(4):
            for k in range(0, B, BLOCK_K):
                acc = _dgrad_step(
                    acc, y, weight, scale, shift, tap, k, corner, taps_seen,
                    channels, channel_inside, a, b, width_y, B, A, BLOCK_K, BLOCK_N,
                    PROLOGUE, PROLOGUE_ACTIVATION, OPERAND, PRECISION,
                )  # fmt: skip
    else:
        # With few steps a tap, the pipeline of loads would drain at the end of each.
        for step in range(4 * tl.cdiv(B, BLOCK_K)):
            acc = _dgrad_step(
                acc, y, weight, scale, shift, step // tl.cdiv(B, BLOCK_K),
                (step % tl.cdiv(B, BLOCK_K)) * BLOCK_K, corner, taps_seen,
                channels, channel_inside, a, b, width_y, B, A, BLOCK_K, BLOCK_N,
                PROLOGUE, PROLOGUE_ACTIVATION, OPERAND, PRECISION,
            )  # fmt: skip

    if bias is not None:
        acc += tl.load(bias + channels, mask=channel_inside, other=0.0).to(ACCUMULATOR)[None, :]
    if STATISTICS:
        store_statistics(
            acc, inside, channels, channel_inside, tile_m * 4 + phase, counts, means, m2s, A
        )
    acc = activated(acc, ACTIVATION)
    offsets = ((n * height_x + 2 * i + a) * width_x + 2 * j + b) * A
    tl.store(
        x + offsets[:, None] + channels[None, :],
        acc.to(x.dtype.element_ty),
        mask=inside[:, None] & channel_inside[None, :],
    )


@triton.jit(do_not_specialize=_RUN_TIME)
def dgrad_packed_kernel(
    y, weight, bias, scale, shift, x, counts, means, m2s,
    positions, rows, columns, height_y, width_y, height_x, width_x,
    B: tl.constexpr, A: tl.constexpr,
    ACTIVATION: tl.constexpr, PROLOGUE: tl.constexpr, PROLOGUE_ACTIVATION: tl.constexpr,
    STATISTICS: tl.constexpr, OPERAND: tl.constexpr, ACCUMULATOR: tl.constexpr,
    PRECISION: tl.constexpr, INT64: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, NESTED: tl.constexpr,
):  # fmt: skip
    """`dgrad_kernel` for A ≤ 4: the four phases as columns of one product over 3×3 pixels of y.

    Column (a, b, channel) takes pixel (i+d, j+e), d, e ∈ {−1, 0, 1}, with W[:, 1+a−2d, 1+b−2e],
    where that exists: 9 loads of y for all phases instead of 16. Grid: ⌈positions/BLOCK_M⌉.
    """
    tile_m = tl.program_id(0)
    if INT64:
        m = tile_m.to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    else:
        m = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    j = m % columns
    i = (m // columns) % rows
    n = m // (columns * rows)
    packed = tl.arange(0, BLOCK_N)
    a = packed // (2 * A)
    b = (packed // A) % 2
    channels = packed % A
    column_inside = packed < 4 * A

    corner = ((n * height_y + i) * width_y + j) * B
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATOR)
    for tap in range(9):
        d = tap // 3 - 1
        e = tap % 3 - 1
        row = i + d
        column = j + e
        seen = (row >= 0) & (row < height_y) & (column >= 0) & (column < width_y)
        seen = seen & (m < positions)
        kernel_row = 1 + a - 2 * d
        kernel_column = 1 + b - 2 * e
        exists = (kernel_row >= 0) & (kernel_row < 4) & (kernel_column >= 0) & (kernel_column < 4)
        exists = exists & column_inside
        taps = (kernel_row * 4 + kernel_column) * A + channels
        part = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATOR)
        for k in range(0, B, BLOCK_K):
            c = k + tl.arange(0, BLOCK_K)
            mask = seen[:, None] & (c < B)[None, :]
            # Neighbouring programs and taps read the same pixels again: through L1.
            operand = tl.load(
                y + (corner + (d * width_y + e) * B)[:, None] + c[None, :],
                mask=mask, other=0.0, cache_modifier=".ca",
            )  # fmt: skip
            if PROLOGUE:
                operand = prologued(
                    operand, scale, shift, c, mask, c < B, PROLOGUE_ACTIVATION, ACCUMULATOR, OPERAND
                )
            w = tl.load(
                weight + (c * (16 * A))[:, None] + taps[None, :],
                mask=(c < B)[:, None] & exists[None, :], other=0.0,
            )  # fmt: skip
            part = tl.dot(
                operand.to(OPERAND), w.to(OPERAND), part,
                input_precision=PRECISION, out_dtype=ACCUMULATOR,
            )  # fmt: skip
        # Not the sum over zeros instead: that would hand NaN and infinity on to other phases.
        acc += tl.where(exists[None, :], part, 0.0)

    if bias is not None:
        acc += tl.load(bias + channels, mask=column_inside, other=0.0).to(ACCUMULATOR)[None, :]
    up = 2 * i[:, None] + a[None, :]
    across = 2 * j[:, None] + b[None, :]
    inside = (m < positions)[:, None] & (up < height_x) & (across < width_x)
    inside = inside & column_inside[None, :]
    if STATISTICS:
        # Columns of one channel have different counts where H or W is odd: one row a phase, and
        # row (tile, phase) of [·, A] is row tile of [·, 4·A].
        count = tl.sum(inside.to(tl.int32), axis=0)
        divisor = tl.maximum(count, 1).to(ACCUMULATOR)
        mean = tl.sum(tl.where(inside, acc, 0.0), axis=0) / divisor
        deviation = tl.where(inside, acc - mean[None, :], 0.0)
        places = tile_m * (4 * A) + packed
        tl.store(means + places, mean, mask=column_inside)
        tl.store(m2s + places, tl.sum(deviation * deviation, axis=0), mask=column_inside)
        first = column_inside & (channels == 0)
        tl.store(counts + tile_m * 4 + packed // A, count.to(ACCUMULATOR), mask=first)
    acc = activated(acc, ACTIVATION)
    offsets = ((n[:, None] * height_x + up) * width_x + across) * A + channels[None, :]
    tl.store(x + offsets, acc.to(x.dtype.element_ty), mask=inside)
