"""The scalar functions that every loss is made of, in plain PyTorch.

`triton.curves` has the same functions and their derivatives, told apart by `Curve.code`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..private import eager

EXPONENT_BOUND = 20.0
"""Where eˣ is continued by its tangent, e^B·(1 + x − B), in PyTorch and in Triton.

exp overflows float32 at 88, and a gradient of that size is lost long before: Adam squares it, and
with it inf its weights never move again. Clamping the exponent would make the gradient 0 exactly
where the discriminator is most wrong. The tangent keeps the loss convex with a continuous gradient,
which stays at e^B and goes on pushing the logit back.

B = 20 leaves every loss exact up to a density ratio of e²⁰ = 5·10⁸ (e¹⁰ = 22,026 where the exponent
is 2F), more than a batch of samples can tell from infinity. A gradient there, at most 2·e²⁰ (from
e^{2F}), has a square of 10¹⁸, and the sum of the terms of 2³⁰ logits is 10¹⁸, both far inside
float32. Statistics count how many logits were beyond.
"""


class Curve(NamedTuple):
    """A scalar function.

    Attributes:
        code: its number in `triton.curves`.
        text: the function, as a format string of its argument.
        value: x ↦ y, elementwise, differentiable to any order.
    """

    code: int
    text: str
    value: Callable[[Tensor], Tensor]


def softplus(x: Tensor) -> Tensor:
    """log(1 + eˣ), exact in float64 too."""
    # torch replaces sp(x) by x above its threshold, 20 by default: wrong by 2e-9 there, which
    # float64 sees. Above 40 the difference is below the spacing of float64.
    return F.softplus(x, 1.0, 40.0)


# The slope at a bend is part of a curve's definition: eˣ up to its bound, the bound included, and
# 0 up to 0. Operations that leave their slope at a tie to the version of torch (`clamp`, `maximum`,
# `relu`) are therefore not used: a comparison says which side it is, or `threshold`, which is
# defined by one. bfloat16 meets an exact 20 easily, and an untrained critic an exact 0.


def exp_if_below_bound(x: Tensor) -> Tensor:
    """`bounded_exp` of a tensor on the CPU, with at least one element.

    There it costs nothing to look, and below the bound, which is nearly always, one operation says
    the same as six.
    """
    power = x.exp()
    looked_at = power.detach() if power.requires_grad else power
    return power if looked_at.max().item() <= _LARGEST_POWER else _bounded_exp(x)


def bounded_exp(x: Tensor) -> Tensor:
    """eˣ up to `EXPONENT_BOUND`, its tangent beyond."""
    if type(x) is Tensor and x.is_cpu and eager() and x.numel() > 0:
        return exp_if_below_bound(x)
    return _bounded_exp(x)


def _bounded_exp(x: Tensor) -> Tensor:
    power = x.masked_fill(x > EXPONENT_BOUND, EXPONENT_BOUND).exp()
    # Not x − what the exponential was taken of: that is NaN for x = −inf.
    return torch.addcmul(power, power, rectified(x - EXPONENT_BOUND))


def rectified(x: Tensor) -> Tensor:
    """max(x, 0), whose slope at 0 is 0; NaN stays NaN."""
    return torch.threshold(x, 0.0, 0.0)


_LARGEST_POWER = math.exp(EXPONENT_BOUND)


def _identity(x: Tensor) -> Tensor:
    return x


def _parabola(x: Tensor) -> Tensor:
    return x * (x * 0.25 + 1)  # not x²/4 + x: that is NaN for −inf


IDENTITY = Curve(0, "{}", _identity)
SOFTPLUS = Curve(1, "sp({})", softplus)
LOG_SIGMOID = Curve(2, "log σ({})", F.logsigmoid)
EXPONENTIAL = Curve(3, "exp({})", bounded_exp)
TANH = Curve(4, "tanh({})", torch.tanh)
SQUARE = Curve(5, "({})²", torch.square)
PARABOLA = Curve(6, "{0}²/4 + {0}", _parabola)
RELU = Curve(7, "relu({})", rectified)

CURVES = (IDENTITY, SOFTPLUS, LOG_SIGMOID, EXPONENTIAL, TANH, SQUARE, PARABOLA, RELU)
