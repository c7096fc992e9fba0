"""Triton kernels of discrete generators: draw, look up, differentiate.

A program treats one row and a range of positions. What it adds up over positions it writes as a
partial sum, [tiles, M, B], which is added up in order afterwards: no atomics. The definition of
each step stands in `fixed_point`, `stream` and `definitions`.
"""

# Device functions are typed by the compiler, at each use.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from . import fixed_point

_LOG2_E = tl.constexpr(fixed_point.LOG2_E)
_LOG_2_HIGH = tl.constexpr(fixed_point.LOG_2_HIGH)
_LOG_2_LOW = tl.constexpr(fixed_point.LOG_2_LOW)
_P0, _P1, _P2, _P3, _P4, _P5 = map(tl.constexpr, fixed_point.POLYNOMIAL)
_LOWEST = tl.constexpr(fixed_point.LOWEST)
_ESTIMATE = tl.constexpr(2.0**fixed_point.ESTIMATE_BITS)
_SCALE_EXPONENT = tl.constexpr(fixed_point.TOTAL_BITS - 1 + fixed_point.ESTIMATE_BITS)
_LIKELIER = tl.constexpr(1 << fixed_point.BERNOULLI_BITS)
_LIKELIER_SCALE = tl.constexpr(2.0**fixed_point.BERNOULLI_BITS)
_INF = tl.constexpr(float("inf"))
# A seed or an offset of 1 is no reason to compile again.
_SCALARS = ("seed_low", "seed_high", "offset")
# Of `fixed_point`: multiplications and additions must not be contracted.
LAUNCH_OPTIONS = {"enable_fp_fusion": False}


@triton.jit
def _exponential(x):
    """`fixed_point.exponential_`."""
    x = tl.where(x >= _LOWEST, x, _LOWEST)
    n = tl.floor(x * _LOG2_E + 0.5)
    r = x - n * _LOG_2_HIGH
    r = r - n * _LOG_2_LOW
    polynomial = r * _P0 + _P1
    polynomial = polynomial * r + _P2
    polynomial = polynomial * r + _P3
    polynomial = polynomial * r + _P4
    polynomial = polynomial * r + _P5
    polynomial = polynomial * (r * r) + r + 1.0
    return polynomial * _power_of_two(n.to(tl.int32))


@triton.jit
def _power_of_two(exponent):
    return ((exponent + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def _log1p(e):
    """log(1 + e) for 0 ≤ e ≤ 1, right to fp32 near 0 too."""
    series = e * (1.0 - e * (0.5 - e * (1.0 / 3.0)))
    return tl.where(e < 0.01, series, tl.log(1.0 + e))


@triton.jit
def _key(seed_tensor, seed_low, seed_high):
    """The seed's 64 bits, from a tensor if there is one."""
    if seed_tensor is not None:
        key = tl.load(seed_tensor).to(tl.uint64)
    else:
        key = (seed_high.to(tl.uint64) << 32) | (seed_low.to(tl.uint64) & 0xFFFFFFFF)
    return key


@triton.jit
def _at(offset_tensor, offset):
    """The offset modulo 2^32, from a tensor if there is one."""
    return tl.load(offset_tensor).to(tl.int32) if offset_tensor is not None else offset


@triton.jit
def _target(word, total):
    """⌊word·total / 2^32⌋."""
    return tl.umulhi(word, total.to(tl.uint32)).to(tl.int32)


# --- categorical ---------------------------------------------------------------------------------


@triton.jit
def _categorical_tile(logits, row, p, v, inside, categories, stride_b, stride_p, stride_v):
    """ℓ − max ℓ of a tile [P, V], −inf outside; max ℓ and log Σ exp(ℓ − max ℓ), each [P].

    Apart from each other, as their sum would round the second away where ℓ is large. It is NaN in
    a row that holds NaN or +inf.
    """
    address = logits + row.to(tl.int64) * stride_b
    address = address + p[:, None].to(tl.int64) * stride_p + v[None, :].to(tl.int64) * stride_v
    mask = inside[:, None] & (v < categories)[None, :]
    logit = tl.load(address, mask=mask, other=-_INF).to(tl.float32)
    # `tl.max` passes NaN over; a row with NaN in it has no distribution.
    top = tl.max(tl.where(logit == logit, logit, _INF), axis=1)
    x = logit - top[:, None]
    total = tl.sum(tl.exp(x), axis=1)
    return x, top, tl.where(top < _INF, tl.log(total), float("nan"))


@triton.jit
def _looked_up(
    logits, row, p, symbol, inside, categories, top, log_total, stride_b, stride_p, stride_v
):
    """Σ_p of the log-probability of each position's symbol; NaN for one that is out of range."""
    address = logits + row.to(tl.int64) * stride_b + p.to(tl.int64) * stride_p
    known = inside & (symbol >= 0) & (symbol < categories)
    logit = tl.load(address + symbol.to(tl.int64) * stride_v, mask=known, other=float("nan"))
    return tl.sum(tl.where(inside, logit.to(tl.float32) - top - log_total, 0.0))


@triton.jit
def _draw_categorical(
    word, m, cumulative, total, top, log_total, logits, symbols, partials, row, tile, p, inside,
    rows, positions, categories, samples, stride_b, stride_p, stride_v,
):  # fmt: skip
    """Draw the symbols of sample `m` from one word of random bits each, and look them up."""
    reached = cumulative <= _target(word, total)[:, None]
    # Without a distribution the total is 0, and all are reached.
    symbol = tl.minimum(tl.sum(reached.to(tl.int32), axis=1), categories - 1)
    here = m < samples
    sample_row = row.to(tl.int64) + m * rows
    tl.store(symbols + sample_row * positions + p, symbol.to(tl.uint8), mask=inside & here)
    log_prob = _looked_up(
        logits, row, p, symbol, inside, categories, top, log_total, stride_b, stride_p, stride_v
    )
    tl.store(partials + tile.to(tl.int64) * samples * rows + sample_row, log_prob, mask=here)


@triton.jit(do_not_specialize=_SCALARS)
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
    e = _exponential(x)
    estimate = tl.sum((e * _ESTIMATE + 0.5).to(tl.int32), axis=1)
    # Of the columns beyond V, all 0, nothing is added.
    bits = (estimate + categories).to(tl.float32).to(tl.int32, bitcast=True)
    exponent = (bits >> 23) - 127
    scale = _power_of_two(-exponent + _SCALE_EXPONENT)
    fixed = (e * scale[:, None] + 0.5).to(tl.int32)
    cumulative = tl.cumsum(fixed, axis=1)
    total = tl.sum(fixed, axis=1)
    key = _key(seed_tensor, seed_low, seed_high)
    at = _at(offset_tensor, offset)
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
        log_prob = _looked_up(
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


# --- Bernoulli -----------------------------------------------------------------------------------


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
    unlikelier = _target(word, unlikely + _LIKELIER) >= _LIKELIER
    symbol = (unlikelier != likely).to(tl.uint8)
    here = m < samples
    sample_row = row.to(tl.int64) + m * rows
    tl.store(symbols + sample_row * positions + p, symbol, mask=inside & here)
    log_prob = _bernoulli_log_prob(unlikelier, magnitude, base, inside)
    tl.store(partials + tile.to(tl.int64) * samples * rows + sample_row, log_prob, mask=here)


@triton.jit(do_not_specialize=_SCALARS)
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
    base = _log1p(e)
    unlikely = (_exponential(-magnitude) * _LIKELIER_SCALE + 0.5).to(tl.int32)
    key = _key(seed_tensor, seed_low, seed_high)
    at = _at(offset_tensor, offset)
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
    base = _log1p(e)
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
