"""What the three Triton products share: loads through a prologue, epilogues, statistics."""

# Triton compiles these functions: their arguments are pointers and constants, not Python values.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from ..activations import NEGATIVE_SLOPE

_SLOPE = tl.constexpr(NEGATIVE_SLOPE)


@triton.jit
def activated(v, ACTIVATION: tl.constexpr):
    """f(v) for the activation of that name. NaN is handed on, as torch does."""
    if ACTIVATION == "relu":
        v = tl.where(v < 0, 0.0, v)
    elif ACTIVATION == "leaky_relu":
        v = tl.where(v < 0, _SLOPE * v, v)
    elif ACTIVATION == "tanh":
        # By exp: the interpreter has no libdevice.
        e = tl.exp(-2 * tl.abs(v))
        large = (1 - e) / (1 + e)
        signed = tl.where(v < 0, -large, large)
        if v.dtype == tl.float64:
            v = signed
        else:  # near 0 that cancels; the series is right to 5e-8 below 0.1
            square = v * v
            small = v * (1 - square * (1 / 3 - square * (2 / 15)))
            v = tl.where(tl.abs(v) < 0.1, small, signed)
    elif ACTIVATION == "sigmoid":
        v = 1 / (1 + tl.exp(-v))
    return v


@triton.jit
def prologued(
    operand, scale, shift, channels, inside, channel_inside, ACTIVATION: tl.constexpr,
    ACCUMULATOR: tl.constexpr, OPERAND: tl.constexpr,
):  # fmt: skip
    """activation(scale · operand + shift) for channels along the second axis, zero outside."""
    s = tl.load(scale + channels, mask=channel_inside, other=0.0).to(ACCUMULATOR)
    t = tl.load(shift + channels, mask=channel_inside, other=0.0).to(ACCUMULATOR)
    v = activated(operand.to(ACCUMULATOR) * s[None, :] + t[None, :], ACTIVATION)
    return tl.where(inside, v, 0.0).to(OPERAND)


@triton.jit
def store_statistics(
    acc, inside, columns, column_inside, row, counts, means, m2s, STRIDE: tl.constexpr
):
    """Count, mean and M2 of each column over the rows `inside`, as row `row` of the partials.

    Two passes over the accumulator, which stays in registers: Σ v² − (Σ v)²/n would cancel.
    """
    count = tl.sum(inside.to(tl.int32), axis=0)
    divisor = tl.maximum(count, 1).to(acc.dtype)
    mean = tl.sum(tl.where(inside[:, None], acc, 0.0), axis=0) / divisor
    deviation = tl.where(inside[:, None], acc - mean[None, :], 0.0)
    m2 = tl.sum(deviation * deviation, axis=0)
    tl.store(means + row * STRIDE + columns, mean, mask=column_inside)
    tl.store(m2s + row * STRIDE + columns, m2, mask=column_inside)
    tl.store(counts + row, count.to(acc.dtype))
