"""Categoricals of more categories than a tile holds: each step goes over them a tile at a time.

What depends on all of them is found first: the largest logit, then the sums of exponentials, then
their total in fixed point. To draw, the cumulative sums are gone through once for four samples, and
never stored; logits are read again each time, mostly from a cache.
"""

# Device functions are typed by the compiler, at each use.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .. import fixed_point
from .device import INF, SCALARS, exponential, key_of, looked_up, offset_of, power_of_two, target

_SCALE_EXPONENT = tl.constexpr(fixed_point.TOTAL_BITS - 1)


@triton.jit
def _tile_of(logits, row, p, v, inside, categories, stride_b, stride_p, stride_v):
    """The logits of a tile [P, V], fp32, −inf outside."""
    address = logits + row.to(tl.int64) * stride_b
    address = address + p[:, None].to(tl.int64) * stride_p + v[None, :].to(tl.int64) * stride_v
    mask = inside[:, None] & (v < categories)[None, :]
    return tl.load(address, mask=mask, other=-INF).to(tl.float32)


@triton.jit
def _largest(
    logits, row, p, inside, categories, stride_b, stride_p, stride_v,
    BLOCK_P: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """The largest logit of each position, [P]; inf in one that holds NaN or +inf."""
    top = tl.full([BLOCK_P], -INF, tl.float32)
    for first in range(0, categories, BLOCK_V):
        v = first + tl.arange(0, BLOCK_V)
        logit = _tile_of(logits, row, p, v, inside, categories, stride_b, stride_p, stride_v)
        # `tl.max` passes NaN over; a row with NaN in it has no distribution.
        top = tl.maximum(top, tl.max(tl.where(logit == logit, logit, INF), axis=1))
    return top


@triton.jit
def _sum_of_exponentials(
    logits, row, p, inside, categories, top, stride_b, stride_p, stride_v,
    BLOCK_P: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Σ exp(ℓ − max ℓ) of each position, [P]."""
    total = tl.zeros([BLOCK_P], tl.float32)
    for first in range(0, categories, BLOCK_V):
        v = first + tl.arange(0, BLOCK_V)
        logit = _tile_of(logits, row, p, v, inside, categories, stride_b, stride_p, stride_v)
        total += tl.sum(tl.exp(logit - top[:, None]), axis=1)
    return total


@triton.jit
def _log_total(total, top):
    """The logarithm of a position's sum; NaN where it has no distribution."""
    return tl.where(top < INF, tl.log(total), float("nan"))


@triton.jit
def _fixed(logits, row, p, v, inside, categories, top, scale, stride_b, stride_p, stride_v):
    """E of a tile, `fixed_point`, int32 [P, V]."""
    logit = _tile_of(logits, row, p, v, inside, categories, stride_b, stride_p, stride_v)
    return (exponential(logit - top[:, None]) * scale[:, None] + 0.5).to(tl.int32)


@triton.jit
def _store(
    symbol, m, top, log_total, logits, symbols, partials, row, tile, p, inside, rows, positions,
    categories, samples, stride_b, stride_p, stride_v,
):  # fmt: skip
    """Write the symbols of sample `m` and the sum of their log-probabilities."""
    # Without a distribution the total is 0, and all are reached.
    symbol = tl.minimum(symbol, categories - 1)
    here = m < samples
    sample_row = row.to(tl.int64) + m * rows
    tl.store(symbols + sample_row * positions + p, symbol, mask=inside & here)
    log_prob = looked_up(
        logits, row, p, symbol, inside, categories, top, log_total, stride_b, stride_p, stride_v
    )
    tl.store(partials + tile.to(tl.int64) * samples * rows + sample_row, log_prob, mask=here)


@triton.jit(do_not_specialize=SCALARS)
def sample_wide_kernel(
    logits, symbols, partials, seed_tensor, offset_tensor, seed_low, seed_high, offset, rows,
    positions, categories, samples, tiles, groups_each, stride_b, stride_p, stride_v,
    BLOCK_P: tl.constexpr, BLOCK_V: tl.constexpr, ESTIMATE_BITS: tl.constexpr,
):  # fmt: skip
    """Symbols [M, B, P], int32, and partial log-probabilities [tiles, M, B] of logits [B, P, V].

    Grid: (B·tiles, chunks of `groups_each` groups of four samples). `seed_tensor` and
    `offset_tensor` may be None. `ESTIMATE_BITS`: `fixed_point.estimate_bits` of V.
    """
    row = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = p < positions
    top = _largest(
        logits, row, p, inside, categories, stride_b, stride_p, stride_v, BLOCK_P, BLOCK_V
    )
    exact = tl.zeros([BLOCK_P], tl.float32)
    estimate = tl.zeros([BLOCK_P], tl.int32)
    for first_v in range(0, categories, BLOCK_V):
        v = first_v + tl.arange(0, BLOCK_V)
        logit = _tile_of(logits, row, p, v, inside, categories, stride_b, stride_p, stride_v)
        x = logit - top[:, None]
        exact += tl.sum(tl.exp(x), axis=1)
        # Of the columns beyond V, all 0, nothing is added.
        e = exponential(x) * (1 << ESTIMATE_BITS) + 0.5
        estimate += tl.sum(e.to(tl.int32), axis=1)
    log_total = _log_total(exact, top)
    bits = (estimate + categories).to(tl.float32).to(tl.int32, bitcast=True)
    scale = power_of_two(127 - (bits >> 23) + (_SCALE_EXPONENT + ESTIMATE_BITS))
    total = tl.zeros([BLOCK_P], tl.int32)
    for first_v in range(0, categories, BLOCK_V):
        v = first_v + tl.arange(0, BLOCK_V)
        fixed = _fixed(
            logits, row, p, v, inside, categories, top, scale, stride_b, stride_p, stride_v
        )
        total += tl.sum(fixed, axis=1)
    key = key_of(seed_tensor, seed_low, seed_high)
    at = offset_of(offset_tensor, offset)
    first = tl.program_id(1) * groups_each
    for group in range(first, tl.minimum(first + groups_each, tl.cdiv(samples, 4))):
        w0, w1, w2, w3 = tl.philox(key, p, row, group, at)
        t0, t1 = target(w0, total)[:, None], target(w1, total)[:, None]
        t2, t3 = target(w2, total)[:, None], target(w3, total)[:, None]
        s0 = tl.zeros([BLOCK_P], tl.int32)
        s1 = tl.zeros([BLOCK_P], tl.int32)
        s2 = tl.zeros([BLOCK_P], tl.int32)
        s3 = tl.zeros([BLOCK_P], tl.int32)
        before = tl.zeros([BLOCK_P], tl.int32)
        for first_v in range(0, categories, BLOCK_V):
            v = first_v + tl.arange(0, BLOCK_V)
            fixed = _fixed(
                logits, row, p, v, inside, categories, top, scale, stride_b, stride_p, stride_v
            )
            cumulative = before[:, None] + tl.cumsum(fixed, axis=1)
            s0 += tl.sum((cumulative <= t0).to(tl.int32), axis=1)
            s1 += tl.sum((cumulative <= t1).to(tl.int32), axis=1)
            s2 += tl.sum((cumulative <= t2).to(tl.int32), axis=1)
            s3 += tl.sum((cumulative <= t3).to(tl.int32), axis=1)
            before += tl.sum(fixed, axis=1)
        m = group * 4
        _store(
            s0, m, top, log_total, logits, symbols, partials, row, tile, p, inside, rows,
            positions, categories, samples, stride_b, stride_p, stride_v,
        )  # fmt: skip
        _store(
            s1, m + 1, top, log_total, logits, symbols, partials, row, tile, p, inside, rows,
            positions, categories, samples, stride_b, stride_p, stride_v,
        )  # fmt: skip
        _store(
            s2, m + 2, top, log_total, logits, symbols, partials, row, tile, p, inside, rows,
            positions, categories, samples, stride_b, stride_p, stride_v,
        )  # fmt: skip
        _store(
            s3, m + 3, top, log_total, logits, symbols, partials, row, tile, p, inside, rows,
            positions, categories, samples, stride_b, stride_p, stride_v,
        )  # fmt: skip


@triton.jit
def log_prob_wide_kernel(
    logits, symbols, partials, rows, positions, categories, samples, tiles, samples_each,
    stride_b, stride_p, stride_v, BLOCK_P: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Partial log-probabilities [tiles, M, B] of given symbols [M, B, P].

    Grid: (B·tiles, chunks of `samples_each` samples).
    """
    row = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = p < positions
    top = _largest(
        logits, row, p, inside, categories, stride_b, stride_p, stride_v, BLOCK_P, BLOCK_V
    )
    exact = _sum_of_exponentials(
        logits, row, p, inside, categories, top, stride_b, stride_p, stride_v, BLOCK_P, BLOCK_V
    )
    log_total = _log_total(exact, top)
    first = tl.program_id(1) * samples_each
    for m in range(first, tl.minimum(first + samples_each, samples)):
        sample_row = row.to(tl.int64) + m * rows
        symbol = tl.load(symbols + sample_row * positions + p, mask=inside, other=0).to(tl.int32)
        log_prob = looked_up(
            logits, row, p, symbol, inside, categories, top, log_total, stride_b, stride_p, stride_v
        )
        tl.store(partials + tile.to(tl.int64) * samples * rows + sample_row, log_prob)


@triton.jit
def score_wide_kernel(
    logits, symbols, incoming, gradient, rows, positions, categories, samples, tiles, stride_b,
    stride_p, stride_v, grad_b, grad_p, grad_v, BLOCK_P: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Σ_m g_m 1[s = v] − (Σ_m g_m) softmax(ℓ)_v, [B, P, V]; g = `incoming` [M, B], fp32.

    Grid: (B·tiles,).
    """
    row = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = p < positions
    top = _largest(
        logits, row, p, inside, categories, stride_b, stride_p, stride_v, BLOCK_P, BLOCK_V
    )
    exact = _sum_of_exponentials(
        logits, row, p, inside, categories, top, stride_b, stride_p, stride_v, BLOCK_P, BLOCK_V
    )
    total = 0.0
    for m in range(0, samples):
        total += tl.load(incoming + row.to(tl.int64) + m * rows)
    for first_v in range(0, categories, BLOCK_V):
        v = first_v + tl.arange(0, BLOCK_V)
        logit = _tile_of(logits, row, p, v, inside, categories, stride_b, stride_p, stride_v)
        softmax = tl.exp(logit - top[:, None]) / exact[:, None]
        ones = tl.zeros([BLOCK_P, BLOCK_V], tl.float32)
        for m in range(0, samples):
            sample_row = row.to(tl.int64) + m * rows
            weight = tl.load(incoming + sample_row)
            symbol = tl.load(symbols + sample_row * positions + p, mask=inside, other=0)
            ones += tl.where(symbol.to(tl.int32)[:, None] == v[None, :], weight, 0.0)
        address = gradient + row.to(tl.int64) * grad_b
        address = address + p[:, None].to(tl.int64) * grad_p + v[None, :].to(tl.int64) * grad_v
        mask = inside[:, None] & (v < categories)[None, :]
        tl.store(address, ones - total * softmax, mask=mask)
