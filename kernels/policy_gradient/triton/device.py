"""What the kernels share: exponentials in fixed point, random numbers, looking up."""

# Device functions are typed by the compiler, at each use.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .. import fixed_point

_LOG2_E = tl.constexpr(fixed_point.LOG2_E)
_LOG_2_HIGH = tl.constexpr(fixed_point.LOG_2_HIGH)
_LOG_2_LOW = tl.constexpr(fixed_point.LOG_2_LOW)
_P0, _P1, _P2, _P3, _P4, _P5 = map(tl.constexpr, fixed_point.POLYNOMIAL)
_LOWEST = tl.constexpr(fixed_point.LOWEST)
INF = tl.constexpr(float("inf"))
# A seed or an offset of 1 is no reason to compile again.
SCALARS = ("seed_low", "seed_high", "offset")
# Of `fixed_point`: multiplications and additions must not be contracted.
LAUNCH_OPTIONS = {"enable_fp_fusion": False}


@triton.jit
def exponential(x):
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
    return polynomial * power_of_two(n.to(tl.int32))


@triton.jit
def power_of_two(exponent):
    """2^exponent as fp32, from int32 exponents of normal numbers."""
    return ((exponent + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def log1p(e):
    """log(1 + e) for 0 ≤ e ≤ 1, right to fp32 near 0 too."""
    series = e * (1.0 - e * (0.5 - e * (1.0 / 3.0)))
    return tl.where(e < 0.01, series, tl.log(1.0 + e))


@triton.jit
def key_of(seed_tensor, seed_low, seed_high):
    """The seed's 64 bits, from a tensor if there is one."""
    if seed_tensor is not None:
        key = tl.load(seed_tensor).to(tl.uint64)
    else:
        key = (seed_high.to(tl.uint64) << 32) | (seed_low.to(tl.uint64) & 0xFFFFFFFF)
    return key


@triton.jit
def offset_of(offset_tensor, offset):
    """The offset modulo 2^32, from a tensor if there is one."""
    return tl.load(offset_tensor).to(tl.int32) if offset_tensor is not None else offset


@triton.jit
def target(word, total):
    """⌊word·total / 2^32⌋."""
    return tl.umulhi(word, total.to(tl.uint32)).to(tl.int32)


@triton.jit
def looked_up(
    logits, row, p, symbol, inside, categories, top, log_total, stride_b, stride_p, stride_v
):
    """Σ_p of the log-probability of each position's symbol; NaN for one that is out of range."""
    address = logits + row.to(tl.int64) * stride_b + p.to(tl.int64) * stride_p
    known = inside & (symbol >= 0) & (symbol < categories)
    logit = tl.load(address + symbol.to(tl.int64) * stride_v, mask=known, other=float("nan"))
    return tl.sum(tl.where(inside, logit.to(tl.float32) - top - log_total, 0.0))
