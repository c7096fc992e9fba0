"""The commonest call, a mean over one batch on the CPU, in as few steps as it can take.

In a small batch the losses are a handful of operations of a microsecond each, and asking which
implementation runs, with what reduction and which options, would take longer than they do. For each
loss the answers are worked out once, and what is left is the formula: the same terms, and gradients
of any order are PyTorch's own.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..dispatch import unasked
from .curves import EXPONENTIAL, SOFTPLUS, eager, exp_if_below_bound
from .objectives import Objective
from .terms import Term

Elementwise = Callable[[Tensor], Tensor]
MeanOfBoth = Callable[[Tensor, Tensor], Tensor]
MeanOfFake = Callable[[Tensor], Tensor]

# By code, what says the same of float32 on the CPU in less time: torch's own softplus is a
# straight line above 20, where float32 cannot tell.
_SHORT: dict[int, Elementwise] = {
    EXPONENTIAL.code: exp_if_below_bound,
    SOFTPLUS.code: torch.nn.functional.softplus,
}

# Up to so many logits it is no slower to add two vectors than to take the mean of both.
SMALL = 65536


def applies(fake: Tensor, real: Tensor, impl: str) -> bool:
    """Whether the functions below are what a call with default options asks for."""
    return (
        type(fake) is Tensor
        and type(real) is Tensor
        and fake.is_cpu
        and real.is_cpu
        and fake.dtype is torch.float32
        and real.dtype is torch.float32
        and 0 < fake.numel() <= SMALL
        and (fake is real or fake.shape == real.shape)
        and (impl == "torch" or (impl == "auto" and unasked()))
        and eager()
    )


def mean_of_both(objective: Objective) -> MeanOfBoth:
    """(real, fake) ↦ the loss of a player who sees both, of one shape."""
    term, real_term = objective.fake, objective.real
    if real_term is None:
        value, reverse = _composed(term._replace(rate=1.0)), term.rate == -1.0
        assert term.shift == 0.0
        assert term[3:] == (1.0, 0.0)

        def paired(real: Tensor, fake: Tensor) -> Tensor:
            return value(fake - real if reverse else real - fake).mean()

        return paired
    of_fake, of_real = _composed(term), _composed(real_term)
    ratio = real_term.scale / term.scale
    reduce = _mean(term.scale, term.offset + real_term.offset)
    if ratio == -1.0:
        return lambda real, fake: reduce(of_fake(fake) - of_real(real))
    if ratio == 1.0:
        return lambda real, fake: reduce(of_fake(fake) + of_real(real))
    return lambda real, fake: reduce(torch.add(of_fake(fake), of_real(real), alpha=ratio))


def mean_of_fake(objective: Objective) -> MeanOfFake:
    """The loss of a player who sees generated samples only."""
    of_fake = _composed(objective.fake)
    reduce = _mean(objective.fake.scale, objective.fake.offset)
    return lambda fake: reduce(of_fake(fake))


def _composed(term: Term) -> Elementwise:
    """F ↦ curve(rate·F + shift)."""
    value = _SHORT.get(term.curve.code, term.curve.value)
    if term.rate == 1.0 and term.shift == 0.0:
        return value
    argument = term.argument
    return lambda logits: value(argument(logits))


def _mean(scale: float, offset: float) -> Elementwise:
    """Values ↦ scale·mean + offset."""

    def reduce(values: Tensor) -> Tensor:
        mean = values.mean() if scale == 1.0 else values.sum().mul_(scale / values.numel())
        return mean.add_(offset) if offset != 0.0 else mean

    return reduce
