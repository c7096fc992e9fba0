"""Bernoullis: a position has one logit, of the value 1."""

# Device functions are typed by the compiler, at each use.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .. import fixed_point
from .device import SCALARS, exponential, key_of, log1p, offset_of, target

_LIKELIER = tl.constexpr(1 << fixed_point.BERNOULLI_BITS)
_LIKELIER_SCALE = tl.constexpr(2.0**fixed_point.BERNOULLI_BITS)


@triton.jit
def _bernoulli_tile(logits, row, p, inside, stride_b, stride_p):
    """Whether 1 is the likelier value, |ℓ|, exp(−|ℓ|), each [P]."""
    address = logits + row.to(tl.int64) * stride_b + p.to(tl.int64) * stride_p
    logit = tl.load(address, mask=inside, other=0.0).to(tl.float32)
    magnitude = tl.abs(logit)
    return logit > 0, magnitude, tl.exp(-magnitude)


@triton.jit
def _bernoulli_log_prob(unlikelier, magnitude, base, inside):
    """−Σ_p [sp(−|ℓ|) + |ℓ|·1(the unlikelier value)]; `base` is sp(−|ℓ|)."""
    return -tl.sum(tl.where(inside, base + tl.where(unlikelier, magnitude, 0.0), 0.0))


@triton.jit
def _draw_bernoulli(
    word, m, unlikely, likely, magnitude, base, symbols, partials, row, tile, p, inside, rows,
    positions, samples,
):  # fmt: skip
    """Draw the symbols of sample `m` from one word of random bits each."""
    unlikelier = target(word, unlikely + _LIKELIER) >= _LIKELIER
    symbol = (unlikelier != likely).to(tl.uint8)
    here = m < samples
    sample_row = row.to(tl.int64) + m * rows
    tl.store(symbols + sample_row * positions + p, symbol, mask=inside & here)
    log_prob = _bernoulli_log_prob(unlikelier, magnitude, base, inside)
    tl.store(partials + tile.to(tl.int64) * samples * rows + sample_row, log_prob, mask=here)


@triton.jit(do_not_specialize=SCALARS)
def sample_bernoulli_kernel(
    logits, symbols, partials, seed_tensor, offset_tensor, seed_low, seed_high, offset, rows,
    positions, samples, tiles, groups_each, stride_b, stride_p, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Symbols [M, B, P] and partial log-probabilities [tiles, M, B] of logits [B, P].

    Grid: (B·tiles, chunks of `groups_each` groups of four samples). `seed_tensor` and
    `offset_tensor` may be None.
    """
    row = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = p < positions
    likely, magnitude, e = _bernoulli_tile(logits, row, p, inside, stride_b, stride_p)
    base = log1p(e)
    unlikely = (exponential(-magnitude) * _LIKELIER_SCALE + 0.5).to(tl.int32)
    key = key_of(seed_tensor, seed_low, seed_high)
    at = offset_of(offset_tensor, offset)
    first = tl.program_id(1) * groups_each
    for group in range(first, tl.minimum(first + groups_each, tl.cdiv(samples, 4))):
        w0, w1, w2, w3 = tl.philox(key, p, row, group, at)
        m = group * 4
        _draw_bernoulli(
            w0, m, unlikely, likely, magnitude, base, symbols, partials, row, tile, p, inside,
            rows, positions, samples,
        )  # fmt: skip
        _draw_bernoulli(
            w1, m + 1, unlikely, likely, magnitude, base, symbols, partials, row, tile, p, inside,
            rows, positions, samples,
        )  # fmt: skip
        _draw_bernoulli(
            w2, m + 2, unlikely, likely, magnitude, base, symbols, partials, row, tile, p, inside,
            rows, positions, samples,
        )  # fmt: skip
        _draw_bernoulli(
            w3, m + 3, unlikely, likely, magnitude, base, symbols, partials, row, tile, p, inside,
            rows, positions, samples,
        )  # fmt: skip


@triton.jit
def log_prob_bernoulli_kernel(
    logits, symbols, partials, rows, positions, samples, tiles, samples_each, stride_b, stride_p,
    BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Partial log-probabilities [tiles, M, B] of given symbols [M, B, P].

    Grid: (B·tiles, chunks of `samples_each` samples).
    """
    row = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = p < positions
    likely, magnitude, e = _bernoulli_tile(logits, row, p, inside, stride_b, stride_p)
    base = log1p(e)
    first = tl.program_id(1) * samples_each
    for m in range(first, tl.minimum(first + samples_each, samples)):
        sample_row = row.to(tl.int64) + m * rows
        symbol = tl.load(symbols + sample_row * positions + p, mask=inside, other=0)
        log_prob = _bernoulli_log_prob((symbol != 0) != likely, magnitude, base, inside)
        tl.store(partials + tile.to(tl.int64) * samples * rows + sample_row, log_prob)


@triton.jit
def score_bernoulli_kernel(
    logits, symbols, incoming, gradient, rows, positions, samples, tiles, stride_b, stride_p,
    grad_b, grad_p, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Σ_m g_m (s − σ(ℓ)), [B, P]; g = `incoming` [M, B], fp32.

    s − σ(ℓ) is σ(−|ℓ|) − d where 1 is likelier and d − σ(−|ℓ|) elsewhere, d being 1 for the
    unlikelier value: small numbers, that 1 − σ would round away.

    Grid: (B·tiles,).
    """
    row = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = p < positions
    likely, _, e = _bernoulli_tile(logits, row, p, inside, stride_b, stride_p)
    unlikelier = tl.zeros([BLOCK_P], tl.float32)
    total = 0.0
    for m in range(0, samples):
        sample_row = row.to(tl.int64) + m * rows
        weight = tl.load(incoming + sample_row)
        symbol = tl.load(symbols + sample_row * positions + p, mask=inside, other=0)
        unlikelier += tl.where((symbol != 0) != likely, weight, 0.0)
        total += weight
    value = total * (e / (1.0 + e)) - unlikelier
    address = gradient + row.to(tl.int64) * grad_b + p.to(tl.int64) * grad_p
    tl.store(address, tl.where(likely, value, -value), mask=inside)
