"""The loss, its terms and its statistics."""

# Device functions are typed by the compiler, at each use.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .. import curves
from .curves import curve_value

# What a jitted function reads from outside must be a constexpr.
_EXPONENTIAL = tl.constexpr(curves.EXPONENTIAL.code)
_BOUND = tl.constexpr(curves.EXPONENT_BOUND)
_LOWEST = tl.constexpr(-3.4028234663852886e38)  # the least float32, and finite

# Rows of a partial result: a number of each program.
PARTIALS = 10
# Rows of the statistics, in the order of `DiscriminatorStatistics`.
STATISTICS = 8


@triton.jit
def _beyond(x, mask, CURVE: tl.constexpr):
    """1 where the argument of an exponential is beyond its bound, 0 elsewhere."""
    count = tl.zeros_like(x)
    if CURVE == _EXPONENTIAL:
        count = tl.where(mask & (x > _BOUND), 1.0, 0.0)
    return count


@triton.jit
def _merge(largest, total, squares, log_weight, mask):
    """Take log weights into running sums of w/e^largest and (w/e^largest)², lane by lane."""
    log_weight = tl.where(log_weight > -_LOWEST, -_LOWEST, log_weight)
    log_weight = tl.where(log_weight < _LOWEST, _LOWEST, log_weight)
    # One of the two, what is left and what comes in, is scaled by 1: one exp does for both.
    difference = tl.where(mask, log_weight - largest, float("-inf"))
    e = tl.exp(-tl.abs(difference))
    rises = difference > 0
    old = tl.where(rises, e, 1.0)
    added = tl.where(rises, 1.0, e)
    largest = tl.where(rises, log_weight, largest)
    return largest, total * old + added, squares * old * old + added * added


@triton.jit
def _moments(largest, total, squares):
    """The lanes' running sums of `_merge` as one: largest log weight, sum, sum of squares."""
    top = tl.max(largest)
    relative = tl.exp(largest - top)
    return top, tl.sum(total * relative), tl.sum(squares * relative * relative)


@triton.jit
def _finish(
    loss,
    statistics,
    real_loss,
    fake_loss,
    real_sum,
    fake_sum,
    real_right,
    fake_right,
    beyond,
    largest,
    total,
    squares,
    real_factor,
    fake_factor,
    real_share,
    fake_share,
    HAS_REAL: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
):
    """Add up the lanes of whole sums, and write the loss and the statistics."""
    if loss is not None:
        value = fake_loss * fake_factor
        if HAS_REAL:
            value += real_loss * real_factor
        tl.store(loss, tl.sum(value))
    if statistics is not None:
        tl.store(statistics + 0, tl.sum(real_sum) * real_share)
        tl.store(statistics + 1, tl.sum(fake_sum) * fake_share)
        tl.store(statistics + 2, tl.sum(real_right) * real_share)
        tl.store(statistics + 3, tl.sum(fake_right) * fake_share)
        tl.store(statistics + 4, tl.sum(beyond))
        if HAS_WEIGHT:
            top, weights, weights_squared = _moments(largest, total, squares)
            # Of no samples the share is NaN, and so is all this.
            log_z = top + tl.log(weights) + tl.log(fake_share)
            size = weights * weights / weights_squared * (fake_share / fake_share)
            tl.store(statistics + 5, curve_value(log_z, _EXPONENTIAL))
            tl.store(statistics + 6, size)
            tl.store(statistics + 7, log_z)
        else:
            # Nobody reads them, but a tensor that is handed out is written whole.
            for row in tl.static_range(5, 8):
                tl.store(statistics + row, 0.0)


@triton.jit
def forward_kernel(
    real,
    fake,
    real_weights,
    fake_weights,
    log_z,
    loss,
    statistics,
    real_terms,
    fake_terms,
    partials,
    n_real,
    n_fake,
    chunk,
    real_rate,
    real_shift,
    real_scale,
    real_offset,
    real_linear,
    fake_rate,
    fake_shift,
    fake_scale,
    fake_offset,
    fake_linear,
    weight_rate,
    weight_shift,
    threshold,
    real_factor,
    fake_factor,
    real_share,
    fake_share,
    REAL: tl.constexpr,
    FAKE: tl.constexpr,
    PAIRED: tl.constexpr,
    MEASURE: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Loss, statistics and terms of `chunk` real and `chunk` generated logits a program.

    With `partials` [PARTIALS, programs] each program writes its sums there, for `combine_kernel`;
    without, there is one program, and it writes the results. Any of `real`, the weights, `log_z`,
    `loss`, `statistics` and the terms may be None, and so may the factors of a term's linear part,
    which labels that are not smoothed do not have. REAL is the code of the real term's curve;
    MEASURE says whether the statistics are wanted, HAS_WEIGHT whether log w is among them.
    """
    program = tl.program_id(0)
    begin = program.to(tl.int64) * chunk
    lanes = tl.arange(0, BLOCK)
    zero = tl.zeros([BLOCK], tl.float32)
    real_loss = zero
    fake_loss = zero
    real_sum = zero
    fake_sum = zero
    real_right = zero
    fake_right = zero
    beyond = zero
    largest = zero + _LOWEST
    total = zero
    squares = zero

    if (real is not None) and (not PAIRED):
        for start in range(0, tl.minimum(n_real - begin, chunk), BLOCK):
            offsets = begin + start + lanes
            mask = offsets < n_real
            logit = tl.load(real + offsets, mask=mask, other=0.0).to(tl.float32)
            x = logit * real_rate + real_shift
            term = curve_value(x, REAL) * real_scale + real_offset
            if real_linear is not None:
                term += x * real_linear
            if real_weights is not None:
                term *= tl.load(real_weights + offsets, mask=mask, other=0.0).to(tl.float32)
            if real_terms is not None:
                tl.store(real_terms + offsets, term, mask=mask)
            real_loss += tl.where(mask, term, 0.0)
            if MEASURE:
                real_sum += logit
                real_right += tl.where(mask & (logit > threshold), 1.0, 0.0)
                beyond += _beyond(x, mask, REAL)

    for start in range(0, tl.minimum(n_fake - begin, chunk), BLOCK):
        offsets = begin + start + lanes
        mask = offsets < n_fake
        logit = tl.load(fake + offsets, mask=mask, other=0.0).to(tl.float32)
        level = logit
        if PAIRED:
            real_logit = tl.load(real + offsets, mask=mask, other=0.0).to(tl.float32)
            if MEASURE:
                real_sum += real_logit
            level = real_logit - logit
        x = level * fake_rate + fake_shift
        if log_z is not None:
            x -= tl.load(log_z).to(tl.float32)
        term = curve_value(x, FAKE) * fake_scale + fake_offset
        if fake_linear is not None:
            term += x * fake_linear
        if fake_weights is not None:
            term *= tl.load(fake_weights + offsets, mask=mask, other=0.0).to(tl.float32)
        if fake_terms is not None:
            tl.store(fake_terms + offsets, term, mask=mask)
        fake_loss += tl.where(mask, term, 0.0)
        if MEASURE:
            fake_sum += logit
            if PAIRED:
                fake_right += tl.where(mask & (level > threshold), 1.0, 0.0)
            else:
                fake_right += tl.where(mask & (level <= threshold), 1.0, 0.0)
            beyond += _beyond(x, mask, FAKE)
            if HAS_WEIGHT:
                log_weight = logit * weight_rate + weight_shift
                largest, total, squares = _merge(largest, total, squares, log_weight, mask)

    if PAIRED:
        real_right = fake_right
    if partials is not None:
        programs = tl.num_programs(0)
        row = partials + program
        tl.store(row, tl.sum(real_loss))
        tl.store(row + programs, tl.sum(fake_loss))
        if MEASURE:
            tl.store(row + 2 * programs, tl.sum(real_sum))
            tl.store(row + 3 * programs, tl.sum(fake_sum))
            tl.store(row + 4 * programs, tl.sum(real_right))
            tl.store(row + 5 * programs, tl.sum(fake_right))
            tl.store(row + 6 * programs, tl.sum(beyond))
            if HAS_WEIGHT:
                top, weights, weights_squared = _moments(largest, total, squares)
                tl.store(row + 7 * programs, top)
                tl.store(row + 8 * programs, weights)
                tl.store(row + 9 * programs, weights_squared)
    else:
        _finish(
            loss,
            statistics,
            real_loss,
            fake_loss,
            real_sum,
            fake_sum,
            real_right,
            fake_right,
            beyond,
            largest,
            total,
            squares,
            real_factor,
            fake_factor,
            real_share,
            fake_share,
            real is not None and not PAIRED,
            HAS_WEIGHT,
        )


@triton.jit
def combine_kernel(
    partials,
    loss,
    statistics,
    programs,
    real_factor,
    fake_factor,
    real_share,
    fake_share,
    HAS_REAL: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up the partial sums [PARTIALS, programs] in a fixed order, in one program."""
    lanes = tl.arange(0, BLOCK)
    zero = tl.zeros([BLOCK], tl.float32)
    real_loss = zero
    fake_loss = zero
    real_sum = zero
    fake_sum = zero
    real_right = zero
    fake_right = zero
    beyond = zero
    largest = zero + _LOWEST
    total = zero
    squares = zero
    for start in range(0, programs, BLOCK):
        offsets = start + lanes
        mask = offsets < programs
        row = partials + offsets
        real_loss += tl.load(row, mask=mask, other=0.0)
        fake_loss += tl.load(row + programs, mask=mask, other=0.0)
        if statistics is not None:
            real_sum += tl.load(row + 2 * programs, mask=mask, other=0.0)
            fake_sum += tl.load(row + 3 * programs, mask=mask, other=0.0)
            real_right += tl.load(row + 4 * programs, mask=mask, other=0.0)
            fake_right += tl.load(row + 5 * programs, mask=mask, other=0.0)
            beyond += tl.load(row + 6 * programs, mask=mask, other=0.0)
            if HAS_WEIGHT:
                top = tl.load(row + 7 * programs, mask=mask, other=_LOWEST)
                new = tl.maximum(largest, top)
                old = tl.exp(largest - new)
                scale = tl.exp(top - new)
                part = tl.load(row + 8 * programs, mask=mask, other=0.0)
                part_squares = tl.load(row + 9 * programs, mask=mask, other=0.0)
                total = total * old + part * scale
                squares = squares * old * old + part_squares * scale * scale
                largest = new
    _finish(
        loss,
        statistics,
        real_loss,
        fake_loss,
        real_sum,
        fake_sum,
        real_right,
        fake_right,
        beyond,
        largest,
        total,
        squares,
        real_factor,
        fake_factor,
        real_share,
        fake_share,
        HAS_REAL,
        HAS_WEIGHT,
    )
