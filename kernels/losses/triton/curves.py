"""The curves of `curves.py` and their derivatives as Triton device functions."""

# Device functions are typed by the compiler, at each use.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .. import curves

# What a jitted function reads from outside must be a constexpr.
_IDENTITY = tl.constexpr(curves.IDENTITY.code)
_SOFTPLUS = tl.constexpr(curves.SOFTPLUS.code)
_LOG_SIGMOID = tl.constexpr(curves.LOG_SIGMOID.code)
_EXPONENTIAL = tl.constexpr(curves.EXPONENTIAL.code)
_TANH = tl.constexpr(curves.TANH.code)
_SQUARE = tl.constexpr(curves.SQUARE.code)
_PARABOLA = tl.constexpr(curves.PARABOLA.code)
_BOUND = tl.constexpr(curves.EXPONENT_BOUND)


@triton.jit
def _log1p(e):
    """log(1 + e) for 0 ≤ e ≤ 1: 2·atanh(e/(2+e)), relative error below 2e-7, without libdevice."""
    s = e / (2.0 + e)
    q = s * s
    # atanh(√q)/√q interpolated at the Chebyshev nodes of [0, 1/9]: off by 4e-9. Its Taylor series,
    # 1 + q/3 + q²/5 + …, needs twice as many terms, which show where memory is the limit.
    series = 0.14078889
    series = series * q + 0.13982579
    series = series * q + 0.20012298
    series = series * q + 0.33333161
    series = series * q + 1.0
    return 2.0 * s * series


@triton.jit
def _sigmoid(x):
    e = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


# Comparisons below are written so that NaN stays NaN, which tl.maximum and tl.minimum drop.


@triton.jit
def curve_value(x, CURVE: tl.constexpr):
    """`Curve.value` of the curve with code CURVE."""
    if CURVE == _IDENTITY:
        y = x
    elif CURVE == _SOFTPLUS:
        y = tl.where(x > 0, x, 0.0) + _log1p(tl.exp(-tl.abs(x)))
    elif CURVE == _LOG_SIGMOID:
        y = tl.where(x < 0, x, 0.0) - _log1p(tl.exp(-tl.abs(x)))
    elif CURVE == _EXPONENTIAL:
        power = tl.exp(tl.where(x > _BOUND, _BOUND, x))
        y = power + power * tl.where(x > _BOUND, x - _BOUND, 0.0)
    elif CURVE == _TANH:
        # By expm1 near 0, where 1 − e^(−2|x|) has no digits: tanh x = x − x³/3 + 2x⁵/15 − 17x⁷/315.
        size = tl.abs(x)
        e = tl.exp(-2.0 * size)
        far = (1.0 - e) / (1.0 + e)
        q = x * x
        series = (((62.0 / 2835 * q - 17.0 / 315) * q + 2.0 / 15) * q - 1.0 / 3) * q
        y = tl.where(size < 0.25, x + x * series, tl.where(x < 0, -far, far))
    elif CURVE == _SQUARE:
        y = x * x
    elif CURVE == _PARABOLA:
        y = x * (x * 0.25 + 1.0)
    else:  # relu
        y = tl.where(x <= 0, 0.0, x)
    return y


@triton.jit
def curve_slope(x, CURVE: tl.constexpr):
    """The derivative of `curve_value`."""
    if CURVE == _IDENTITY:
        y = tl.zeros_like(x) + 1.0
    elif CURVE == _SOFTPLUS:
        y = _sigmoid(x)
    elif CURVE == _LOG_SIGMOID:
        y = _sigmoid(-x)
    elif CURVE == _EXPONENTIAL:
        y = tl.exp(tl.where(x > _BOUND, _BOUND, x))
    elif CURVE == _TANH:
        e = tl.exp(-2.0 * tl.abs(x))
        y = 4.0 * e / ((1.0 + e) * (1.0 + e))
    elif CURVE == _SQUARE:
        y = 2.0 * x
    elif CURVE == _PARABOLA:
        y = x * 0.5 + 1.0
    else:  # relu
        y = tl.where(x <= 0, 0.0, 1.0)
    return y
