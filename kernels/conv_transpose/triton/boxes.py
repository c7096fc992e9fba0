"""The three products on boxes that TMA loads, in Triton; for sm_90 and up.

A tile's positions are a box of images × rows × columns, see `..boxes`. All tensors are
channels_last, and every one is one view for TMA:

    y  [N, h, w, B]            x  [N, h, 2, w, 2·A]: row 2i+a is (i, a), column 2j+b channels b·A…
    W  [B, 16·A]               y  [N·h·w, B] in wgrad: its box is a run of positions

A tap (p, q) of the kernel reads row 2i+p−1 of x, which is (i + (p+1)//2 − 1, (p+1)%2), and its
columns likewise. TMA loads zeros outside the image and leaves out stores there.

The products are transposed, acc[channel, position]. Tensor cores read their second operand from
shared memory whatever reshape makes a matrix of it, but the first only if it comes straight from
a load: that is W (in wgrad y), which has no box. And statistics per channel become sums along rows.

The loops carry their place along as counters: a division a step would cost as much as its loads.
"""

# Triton compiles these functions: their arguments are pointers and constants, not Python values.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .device import activated


@triton.jit
def _finished(
    acc, bias, means, m2s, counts, row, valid, channels,
    C: tl.constexpr, POSITIONS: tl.constexpr, ACTIVATION: tl.constexpr, STATISTICS: tl.constexpr,
):  # fmt: skip
    """Bias and activation of acc [channels, POSITIONS]; or bias, and statistics as row `row`.

    `valid` positions of the box are in the batch. A product of the others is zero, as its operands
    are, so that sums along whole rows need no mask; deviations do.
    """
    inside = channels < C
    if STATISTICS:
        count = tl.minimum(valid, POSITIONS)
        # Before the bias, which moves the mean alone: nothing cancels that was not added.
        mean = tl.sum(acc, axis=1) / count.to(acc.dtype)
        seen = tl.arange(0, POSITIONS) < valid
        deviation = tl.where(seen[None, :], acc - mean[:, None], 0.0)
        m2 = tl.sum(deviation * deviation, axis=1)
        tl.store(m2s + row * C + channels, m2, mask=inside)
        if bias is not None:
            mean += tl.load(bias + channels, mask=inside, other=0.0).to(acc.dtype)
        tl.store(means + row * C + channels, mean, mask=inside)
        tl.store(counts + row, count.to(acc.dtype))
    if bias is not None:
        acc += tl.load(bias + channels, mask=inside, other=0.0).to(acc.dtype)[:, None]
    return activated(acc, ACTIVATION)


@triton.jit(do_not_specialize=("images", "boxes_h", "boxes_w"))
def dgrad_boxes_kernel(
    y, weight, x, bias, counts, means, m2s, images, boxes_h, boxes_w,
    B: tl.constexpr, A: tl.constexpr, ACTIVATION: tl.constexpr, STATISTICS: tl.constexpr,
    OPERAND: tl.constexpr, ACCUMULATOR: tl.constexpr,
    TN: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One box of one phase and BLOCK_N channels, which divide A. Grid: boxes · A/BLOCK_N · 4."""
    POSITIONS: tl.constexpr = TN * TH * TW
    program = tl.program_id(0)
    # Fastest, so that the four programs that read the same part of y run together.
    a = (program % 4) // 2
    b = program % 2
    tile_n = (program // 4) % (A // BLOCK_N)
    box = program // (4 * (A // BLOCK_N))
    j = (box % boxes_w) * TW
    i = ((box // boxes_w) % boxes_h) * TH
    n = (box // (boxes_w * boxes_h)) * TN
    first = tile_n * BLOCK_N

    acc = tl.zeros((BLOCK_N, POSITIONS), dtype=ACCUMULATOR)
    k = 0
    r = 0
    s = 0
    for _ in range(4 * tl.cdiv(B, BLOCK_K)):
        tap = (1 - a + 2 * r) * 4 + 1 - b + 2 * s
        left = weight.load([k, tap * A + first])  # [BLOCK_K, BLOCK_N]
        right = y.load([n, i + a - r, j + b - s, k]).reshape(POSITIONS, BLOCK_K)
        acc = tl.dot(left.to(OPERAND).T, right.to(OPERAND).T, acc, out_dtype=ACCUMULATOR)
        k += BLOCK_K
        ended = k >= B
        k = tl.where(ended, 0, k)
        r = tl.where(ended, r + s, r)
        s = tl.where(ended, 1 - s, s)
    valid = (images - n) * (TH * TW)
    acc = _finished(
        acc, bias, means, m2s, counts, box * 4 + a * 2 + b, valid, first + tl.arange(0, BLOCK_N),
        A, POSITIONS, ACTIVATION, STATISTICS,
    )  # fmt: skip
    x.store([n, i, a, j, b * A + first], acc.to(x.dtype).T.reshape(TN, TH, 1, TW, BLOCK_N))


@triton.jit(do_not_specialize=("images", "boxes_h", "boxes_w"))
def fprop_boxes_kernel(
    x, weight, y, bias, counts, means, m2s, images, boxes_h, boxes_w,
    B: tl.constexpr, A: tl.constexpr, ACTIVATION: tl.constexpr, STATISTICS: tl.constexpr,
    OPERAND: tl.constexpr, ACCUMULATOR: tl.constexpr,
    TN: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One box and BLOCK_N channels; BLOCK_K divides A. Grid: boxes · ⌈B/BLOCK_N⌉."""
    POSITIONS: tl.constexpr = TN * TH * TW
    program = tl.program_id(0)
    tile_n = program % tl.cdiv(B, BLOCK_N)
    box = program // tl.cdiv(B, BLOCK_N)
    j = (box % boxes_w) * TW
    i = ((box // boxes_w) % boxes_h) * TH
    n = (box // (boxes_w * boxes_h)) * TN
    first = tile_n * BLOCK_N

    acc = tl.zeros((BLOCK_N, POSITIONS), dtype=ACCUMULATOR)
    k = 0
    tap = 0
    for step in range(16 * (A // BLOCK_K)):
        p = (tap >> 2) + 1
        q = (tap & 3) + 1
        left = weight.load([first, step * BLOCK_K])  # [BLOCK_N, BLOCK_K]: along taps and channels
        right = x.load([n, i + (p >> 1) - 1, p & 1, j + (q >> 1) - 1, (q & 1) * A + k])
        right = right.reshape(POSITIONS, BLOCK_K)
        acc = tl.dot(left.to(OPERAND), right.to(OPERAND).T, acc, out_dtype=ACCUMULATOR)
        k += BLOCK_K
        ended = k == A
        k = tl.where(ended, 0, k)
        tap = tl.where(ended, tap + 1, tap)
    valid = (images - n) * (TH * TW)
    acc = _finished(
        acc, bias, means, m2s, counts, box, valid, first + tl.arange(0, BLOCK_N),
        B, POSITIONS, ACTIVATION, STATISTICS,
    )  # fmt: skip
    y.store([n, i, j, first], acc.to(y.dtype).T.reshape(TN, TH, TW, BLOCK_N))


@triton.jit(do_not_specialize=("boxes", "per_split", "boxes_h", "boxes_w"))
def wgrad_boxes_kernel(
    x, y, out, boxes, per_split, boxes_h, boxes_w,
    B: tl.constexpr, A: tl.constexpr, OPERAND: tl.constexpr, ACCUMULATOR: tl.constexpr,
    TN: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, WHOLE: tl.constexpr, INT64: tl.constexpr,
):  # fmt: skip
    """One tile [BLOCK_M, BLOCK_N] of one tap from `per_split` boxes, each a run of positions.

    BLOCK_N divides A. Grid: 16 · A/BLOCK_N · ⌈B/BLOCK_M⌉ · splits.
    """
    POSITIONS: tl.constexpr = TN * TH * TW
    program = tl.program_id(0)
    # Taps are fastest: programs that read the same part of y, and almost the same of x.
    tap = program % 16
    first_a = ((program // 16) % (A // BLOCK_N)) * BLOCK_N
    tile_m = (program // (16 * (A // BLOCK_N))) % tl.cdiv(B, BLOCK_M)
    split = program // (16 * (A // BLOCK_N) * tl.cdiv(B, BLOCK_M))
    first_b = tile_m * BLOCK_M
    p = tap // 4 + 1
    q = tap % 4 + 1

    first = split * per_split
    up = p // 2 - 1
    across = q // 2 - 1
    # Row and column of x that the tap reads, and where those of the image end.
    i = ((first // boxes_w) % boxes_h) * TH + up
    j = (first % boxes_w) * TW + across
    n = (first // (boxes_w * boxes_h)) * TN
    below = boxes_h * TH + up
    beyond = boxes_w * TW + across
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=ACCUMULATOR)
    last = tl.minimum(first + per_split, boxes)
    for position in range(first * POSITIONS, last * POSITIONS, POSITIONS):
        left = y.load([position, first_b])  # [POSITIONS, BLOCK_M]
        right = x.load([n, i, p % 2, j, (q % 2) * A + first_a]).reshape(POSITIONS, BLOCK_N)
        acc = tl.dot(left.to(OPERAND).T, right.to(OPERAND), acc, out_dtype=ACCUMULATOR)
        if WHOLE:
            n += TN
        else:
            j += TW
            ended = j == beyond
            j = tl.where(ended, across, j)
            i = tl.where(ended, i + TH, i)
            ended = i == below
            i = tl.where(ended, up, i)
            n = tl.where(ended, n + TN, n)
    rows = first_b + tl.arange(0, BLOCK_M)
    columns = tap * A + first_a + tl.arange(0, BLOCK_N)
    start = split.to(tl.int64) * (B * 16 * A) if INT64 else split * (B * 16 * A)
    tl.store(
        out + start + (rows * (16 * A))[:, None] + columns[None, :],
        acc.to(out.dtype.element_ty),
        mask=(rows < B)[:, None],
    )
