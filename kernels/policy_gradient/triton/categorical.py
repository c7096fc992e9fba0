"""Categoricals of which one tile holds all categories of a position."""

# Device functions are typed by the compiler, at each use.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .. import fixed_point
from .device import INF, SCALARS, exponential, key_of, looked_up, offset_of, power_of_two, target

_ESTIMATE = tl.constexpr(2.0**fixed_point.ESTIMATE_BITS)
_SCALE_EXPONENT = tl.constexpr(fixed_point.TOTAL_BITS - 1 + fixed_point.ESTIMATE_BITS)


@triton.jit
def _categorical_tile(logits, row, p, v, inside, categories, stride_b, stride_p, stride_v):
    """ℓ − max ℓ of a tile [P, V], −inf outside; max ℓ and log Σ exp(ℓ − max ℓ), each [P].

    Apart from each other, as their sum would round the second away where ℓ is large. It is NaN in
    a row that holds NaN or +inf.
    """
    address = logits + row.to(tl.int64) * stride_b
    address = address + p[:, None].to(tl.int64) * stride_p + v[None, :].to(tl.int64) * stride_v
    mask = inside[:, None] & (v < categories)[None, :]
    logit = tl.load(address, mask=mask, other=-INF).to(tl.float32)
    # `tl.max` passes NaN over; a row with NaN in it has no distribution.
    top = tl.max(tl.where(logit == logit, logit, INF), axis=1)
    x = logit - top[:, None]
    total = tl.sum(tl.exp(x), axis=1)
    return x, top, tl.where(top < INF, tl.log(total), float("nan"))


@triton.jit
def _draw_categorical(
    word, m, cumulative, total, top, log_total, logits, symbols, partials, row, tile, p, inside,
    rows, positions, categories, samples, stride_b, stride_p, stride_v,
):  # fmt: skip
    """Draw the symbols of sample `m` from one word of random bits each, and look them up."""
    reached = cumulative <= target(word, total)[:, None]
    # Without a distribution the total is 0, and all are reached.
    symbol = tl.minimum(tl.sum(reached.to(tl.int32), axis=1), categories - 1)
    here = m < samples
    sample_row = row.to(tl.int64) + m * rows
    tl.store(symbols + sample_row * positions + p, symbol.to(tl.uint8), mask=inside & here)
    log_prob = looked_up(
        logits, row, p, symbol, inside, categories, top, log_total, stride_b, stride_p, stride_v
    )
    tl.store(partials + tile.to(tl.int64) * samples * rows + sample_row, log_prob, mask=here)


@triton.jit(do_not_specialize=SCALARS)
def sample_categorical_kernel(
    logits, symbols, partials, seed_tensor, offset_tensor, seed_low, seed_high, offset, rows,
    positions, categories, samples, tiles, groups_each, stride_b, stride_p, stride_v,
    BLOCK_P: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Symbols [M, B, P] and partial log-probabilities [tiles, M, B] of logits [B, P, V].

    Grid: (B·tiles, chunks of `groups_each` groups of four samples). `seed_tensor` and
    `offset_tensor` may be None.
    """
    row = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    v = tl.arange(0, BLOCK_V)
    inside = p < positions
    x, top, log_total = _categorical_tile(
        logits, row, p, v, inside, categories, stride_b, stride_p, stride_v
    )
    e = exponential(x)
    estimate = tl.sum((e * _ESTIMATE + 0.5).to(tl.int32), axis=1)
    # Of the columns beyond V, all 0, nothing is added.
    bits = (estimate + categories).to(tl.float32).to(tl.int32, bitcast=True)
    exponent = (bits >> 23) - 127
    scale = power_of_two(-exponent + _SCALE_EXPONENT)
    fixed = (e * scale[:, None] + 0.5).to(tl.int32)
    cumulative = tl.cumsum(fixed, axis=1)
    total = tl.sum(fixed, axis=1)
    key = key_of(seed_tensor, seed_low, seed_high)
    at = offset_of(offset_tensor, offset)
    first = tl.program_id(1) * groups_each
    for group in range(first, tl.minimum(first + groups_each, tl.cdiv(samples, 4))):
        w0, w1, w2, w3 = tl.philox(key, p, row, group, at)
        m = group * 4
        _draw_categorical(
            w0, m, cumulative, total, top, log_total, logits, symbols, partials, row, tile, p,
            inside, rows, positions, categories, samples, stride_b, stride_p, stride_v,
        )  # fmt: skip
        _draw_categorical(
            w1, m + 1, cumulative, total, top, log_total, logits, symbols, partials, row, tile, p,
            inside, rows, positions, categories, samples, stride_b, stride_p, stride_v,
        )  # fmt: skip
        _draw_categorical(
            w2, m + 2, cumulative, total, top, log_total, logits, symbols, partials, row, tile, p,
            inside, rows, positions, categories, samples, stride_b, stride_p, stride_v,
        )  # fmt: skip
        _draw_categorical(
            w3, m + 3, cumulative, total, top, log_total, logits, symbols, partials, row, tile, p,
            inside, rows, positions, categories, samples, stride_b, stride_p, stride_v,
        )  # fmt: skip


@triton.jit
def log_prob_categorical_kernel(
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
    _, top, log_total = _categorical_tile(
        logits, row, p, tl.arange(0, BLOCK_V), inside, categories, stride_b, stride_p, stride_v
    )
    first = tl.program_id(1) * samples_each
    for m in range(first, tl.minimum(first + samples_each, samples)):
        sample_row = row.to(tl.int64) + m * rows
        symbol = tl.load(symbols + sample_row * positions + p, mask=inside, other=0).to(tl.int32)
        log_prob = looked_up(
            logits, row, p, symbol, inside, categories, top, log_total, stride_b, stride_p, stride_v
        )
        tl.store(partials + tile.to(tl.int64) * samples * rows + sample_row, log_prob)


@triton.jit
def score_categorical_kernel(
    logits, symbols, incoming, gradient, rows, positions, categories, samples, tiles, stride_b,
    stride_p, stride_v, grad_b, grad_p, grad_v, BLOCK_P: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Σ_m g_m 1[s = v] − (Σ_m g_m) softmax(ℓ)_v, [B, P, V]; g = `incoming` [M, B], fp32.

    Grid: (B·tiles,).
    """
    row = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    v = tl.arange(0, BLOCK_V)
    inside = p < positions
    x, _, _ = _categorical_tile(logits, row, p, v, inside, categories, stride_b, stride_p, stride_v)
    e = tl.exp(x)
    softmax = e / tl.sum(e, axis=1)[:, None]
    ones = tl.zeros([BLOCK_P, BLOCK_V], tl.float32)
    total = 0.0
    for m in range(0, samples):
        sample_row = row.to(tl.int64) + m * rows
        weight = tl.load(incoming + sample_row)
        symbol = tl.load(symbols + sample_row * positions + p, mask=inside, other=0).to(tl.int32)
        ones += tl.where(symbol[:, None] == v[None, :], weight, 0.0)
        total += weight
    address = gradient + row.to(tl.int64) * grad_b
    address = address + p[:, None].to(tl.int64) * grad_p + v[None, :].to(tl.int64) * grad_v
    mask = inside[:, None] & (v < categories)[None, :]
    tl.store(address, ones - total * softmax, mask=mask)
