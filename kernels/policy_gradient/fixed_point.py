"""Probabilities in fixed point, by arithmetic that gives the same bits on every device.

A symbol is drawn by comparing a random integer with integer thresholds, so a thread's share of
the work, the order of a sum and a device's `exp` must not move a threshold:

- e_v = exp(ℓ_v − max ℓ) is evaluated by additions and multiplications that IEEE 754 rounds in one
  way only (never contracted to a fused multiply-add) and exact steps;
- E_v = ⌊e_v·2^s + ½⌋ are integers, and sums of integers do not depend on their order. s is the
  largest for which Σ E_v surely stays below 2^31, so that Σ E_v ≥ 2^29 or so (2^28 of 65,536
  categories) and a probability is right to about 1e-9 and 1e-7 of itself, whichever is more. The
  sum of V rounded numbers is another matter: it makes every probability wrong by up to V/2^30, or
  V/2^29, of itself, 3e-6 or so of itself where V is 3,000;
- of 32 random bits u, t = ⌊u·ΣE / 2^32⌋ is compared with the sums C_v = E_0 + … + E_v: the symbol
  is the number of v with C_v ≤ t.

The Triton kernels do the same with the same constants, in the same order.
"""

from itertools import pairwise

import torch
from torch import Tensor

from ..private import shape_of, traced_by_jit

# e^r = 1 + r + r²·P(r) for |r| ≤ ½ log 2, and x = n log 2 + r in two parts, the first of so few
# bits that n times it is exact: S. L. Moshier, Cephes mathematical library, `expf`.
LOG2_E = 1.44269504088896341
LOG_2_HIGH = 0.693359375
LOG_2_LOW = -2.12194440e-4
POLYNOMIAL = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
# exp of less counts as exp of this, and rounds to zero in fixed point; so does NaN.
LOWEST = -80.0

# The first estimate of Σ e_v: 256 categories of e_v = 1 just fit below 2^31. More have fewer bits.
ESTIMATE_BITS = 22
# A Bernoulli's likelier value has weight 2^30, the other one at most that.
BERNOULLI_BITS = 30
TOTAL_BITS = 31
# Symbols are bytes up to so many categories, and int32 above.
MOST_IN_A_BYTE = 256
# What two bytes tell apart; the estimate of more would have few bits left.
MOST_CATEGORIES = 65_536
# Of the size of a normal fp32 number's exponent.
_EXPONENT_BITS = 7


def estimate_bits(categories: int) -> int:
    """Bits after the point of the first estimate: V·2^bits ≤ 2^30."""
    return min(ESTIMATE_BITS, TOTAL_BITS - 1 - (categories - 1).bit_length())


def exponential_(x: Tensor) -> Tensor:
    """exp(x) for x ≤ 0: fp32, the same bits everywhere, within 1.2e-7 of itself; overwrites x."""
    x.nan_to_num_(nan=LOWEST).clamp_min_(LOWEST)
    n = (x * LOG2_E).add_(0.5).floor_()
    x.sub_(n * LOG_2_HIGH).sub_(n * LOG_2_LOW)  # r
    polynomial = x * POLYNOMIAL[0]
    for coefficient in POLYNOMIAL[1:]:
        polynomial.add_(coefficient)
        if coefficient != POLYNOMIAL[-1]:
            polynomial.mul_(x)
    polynomial.mul_(x * x).add_(x).add_(1.0)
    return polynomial.mul_(_power_of_two(n.to(torch.int32)))


def cumulative_categorical(logits: Tensor, dim: int) -> Tensor:
    """C_v of categorical distributions along a dimension; C_{V−1} is the total.

    A row with NaN or +inf in it, or of nothing but −inf, has no distribution: its C are all 0.

    Args:
        logits: fp32, contiguous, of 1 to 65,536 categories along `dim`; overwritten.
        dim: the first dimension, 0, or the last, −1.

    Returns:
        int32, of the same shape, not decreasing along `dim`, below 2^31.
    """
    categories = shape_of(logits)[dim]
    e = exponential_(logits.sub_(logits.amax(dim, keepdim=True)))
    bits = estimate_bits(categories)
    estimate = (e * 2.0**bits).add_(0.5).to(torch.int32)
    estimate = estimate.sum(dim, keepdim=True, dtype=torch.int32)
    # Rounding adds at most ½ to each term, here and below.
    exponent = _exponent((estimate + categories).float())
    scale = _power_of_two(TOTAL_BITS - 1 - exponent + bits)
    fixed = e.mul_(scale).add_(0.5).to(torch.int32)
    if dim != 0:
        return torch.cumsum(fixed, dim, dtype=torch.int32)
    rows = fixed.unbind(0)
    for before, row in pairwise(rows):  # four times as fast as `cumsum` is along this dimension
        row.add_(before)
    return fixed


def unlikely_bernoulli(magnitude: Tensor) -> Tensor:
    """E of the less likely value of Bernoulli distributions; the likelier one has 2^30.

    Args:
        magnitude: |ℓ|, any shape, fp32; overwritten.

    Returns:
        E, int32, of the same shape; 0 where |ℓ| is NaN.
    """
    e = exponential_(magnitude.neg_())
    return e.mul_(2.0**BERNOULLI_BITS).add_(0.5).to(torch.int32)


# torch.jit has no `view` as another dtype: in its traces floating point takes itself apart.


def _exponent(number: Tensor) -> Tensor:
    """⌊log2⌋ of positive normal numbers in fp32, as int32."""
    if traced_by_jit():
        return torch.frexp(number).exponent - 1
    return number.view(torch.int32).bitwise_right_shift_(23).sub_(127)


def _power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent as fp32, from int32 exponents of normal numbers; overwrites them."""
    if traced_by_jit():
        power = torch.ones_like(exponent, dtype=torch.float32)
        for bit in range(_EXPONENT_BITS):  # products of powers of two: exact, as `pow` need not be
            factor = torch.where(exponent > 0, 2.0 ** (1 << bit), 2.0 ** -(1 << bit))
            power = torch.where((exponent.abs() >> bit) % 2 == 1, power * factor, power)
        return power
    return exponent.add_(127).bitwise_left_shift_(23).view(torch.float32)
