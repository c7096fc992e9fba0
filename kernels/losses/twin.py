"""The losses in plain PyTorch: what the Triton kernels are checked against.

Built of differentiable operations only, so gradients of any order are PyTorch's own.
"""

from typing import NamedTuple, get_args

import torch
from torch import Tensor

from ..private import eager
from .curves import EXPONENT_BOUND, EXPONENTIAL, bounded_exp
from .definitions import Term
from .names import Reduction
from .objectives import Objective
from .statistics import weight_moments


class Operands(NamedTuple):
    """All tensors of one call.

    Attributes:
        real: logits of real samples, None for a generator's loss that does not read them.
        fake: logits of generated samples.
        real_weights: of `real`'s shape, or None; constants.
        fake_weights: of `fake`'s shape, or None; constants.
        log_z: 0-d, what is subtracted from the argument of the fake term's curve, or None.
    """

    real: Tensor | None
    fake: Tensor
    real_weights: Tensor | None = None
    fake_weights: Tensor | None = None
    log_z: Tensor | None = None


# Over a batch; an operator's schema has the place in this list.
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)
Losses = Tensor | tuple[Tensor, Tensor]
# In the order of `DiscriminatorStatistics`; None for what the loss does not define.
Measurements = tuple[Tensor | None, ...]


def losses_torch(
    fake: Tensor,
    real: Tensor | None,
    real_weights: Tensor | None,
    fake_weights: Tensor | None,
    log_z: Tensor | None,
    objective: Objective,
    reduction: Reduction,
    with_statistics: bool,
) -> tuple[Losses, Measurements | None]:
    """The loss and, if asked for, the statistics. For the tensors see `Operands`.

    Returns:
        The loss, 0-d, for reduction "mean" and "sum". For "none" the terms of each sample, fp32
        or fp64, in the logits' shapes: real's and fake's, or one tensor where there is one term.
    """
    samples = Operands(real, fake, real_weights, fake_weights, log_z)
    plain_mean = reduction == "mean" and real_weights is fake_weights is log_z is None
    if plain_mean and _small(real, fake) and not _smoothed(objective):
        value: Losses = _mean_at_once(real, fake, objective)
    else:
        value = plain_losses(samples, objective, reduction)
    return value, measure(samples, objective) if with_statistics else None


def _smoothed(objective: Objective) -> bool:
    """Whether labels are smoothed: a term then is a curve and a multiple of its argument."""
    real = objective.real
    return objective.fake.linear != 0.0 or (real is not None and real.linear != 0.0)


# Up to so many logits it is no slower to add two vectors than to take the mean of both.
SMALL = 65536


def _small(real: Tensor | None, fake: Tensor) -> bool:
    """Whether a call is one batch of float32 logits on the CPU, where every operation counts."""
    # Sizes last: a graph would be guarded by what is asked of them.
    return (
        fake.dtype is torch.float32
        and fake.is_cpu
        and eager()
        and 0 < fake.numel() <= SMALL
        and (
            real is None
            or (real.dtype is torch.float32 and real.is_cpu and real.shape == fake.shape)
        )
    )


def _mean_at_once(real: Tensor | None, fake: Tensor, objective: Objective) -> Tensor:
    """The mean of `plain_losses` with scale and offset applied once, to the sum of both sides.

    In a small batch the losses are a handful of operations of a microsecond each: this takes fewer.
    """
    term, real_term = objective.fake, objective.real
    if objective.paired:
        assert real is not None
        return term.curve.value(_argument_of_pairs(term, real, fake)).mean()
    values, offset = term.curve.value(term.argument(fake)), term.offset
    if real is not None and real_term is not None:
        of_real = real_term.curve.value(real_term.argument(real))
        ratio, offset = real_term.scale / term.scale, offset + real_term.offset
        values = values - of_real if ratio == -1.0 else torch.add(values, of_real, alpha=ratio)
    mean = values.mean() if term.scale == 1.0 else values.sum().mul_(term.scale / values.numel())
    return mean.add_(offset) if offset != 0.0 else mean


def plain_losses(samples: Operands, objective: Objective, reduction: Reduction) -> Losses:
    """The loss of differentiable operations, see `losses_torch`."""
    real, fake, real_weights, fake_weights, log_z = samples
    term, real_term = objective.fake, objective.real
    if objective.paired:
        assert real is not None
        weights = None if fake_weights is None else fake_weights.reshape(real.shape)
        return _reduced(term, _argument_of_pairs(term, real, fake), weights, reduction)
    fake = widen(fake)
    argument = term.argument(fake)
    if log_z is not None:
        argument = argument - log_z.detach()
    if real is None or real_term is None:
        return _reduced(term, argument, fake_weights, reduction)
    real = widen(real)
    of_fake = _reduced(term, argument, fake_weights, reduction)
    of_real = _reduced(real_term, real_term.argument(real), real_weights, reduction)
    return (of_real, of_fake) if reduction == "none" else of_fake + of_real


def widen(logits: Tensor) -> Tensor:
    """Logits in the dtype that a loss is computed in: float64 as they are, float32 otherwise."""
    return logits if logits.dtype in _WIDE else logits.float()


_WIDE = (torch.float32, torch.float64)


def _argument_of_pairs(term: Term, real: Tensor, fake: Tensor) -> Tensor:
    """The term's argument of F(x) − F(G(z)) of each pair, in `real`'s shape."""
    real, fake = widen(real), widen(fake).reshape(real.shape)
    if term.rate == -1.0:
        return term._replace(rate=1.0).argument(fake - real)  # without a negation
    return term.argument(real - fake)


def _reduced(term: Term, argument: Tensor, weights: Tensor | None, reduction: Reduction) -> Tensor:
    if weights is None and reduction == "mean" and term.linear == 0.0:
        return term.finish(term.curve.value(argument).mean())
    value = term.at(argument)
    if weights is not None:
        value = value * weights.detach().to(value.dtype)
    if reduction == "none":
        # A term that is the logit itself must not hand out the logits' own memory.
        return value.clone() if value is argument else value
    return value.mean() if reduction == "mean" else value.sum()


def differentiable_gradients(
    samples: Operands,
    objective: Objective,
    reduction: Reduction,
    incoming: Losses,
    real_needed: bool,
    fake_needed: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """The product incoming · ∂loss/∂(real, fake), itself differentiable.

    What a fused backward hands over when the gradient itself will be differentiated, as gradient
    penalties do.
    """
    real, fake = samples.real, samples.fake
    with torch.enable_grad():
        # Views, so that one tensor given for both sides is two inputs here.
        real = real.view_as(real) if real is not None and real_needed else real
        fake = fake.view_as(fake) if fake_needed else fake
        value = plain_losses(samples._replace(real=real, fake=fake), objective, reduction)
        inputs = [
            x
            for x, needed in ((real, real_needed), (fake, fake_needed))
            if needed and x is not None
        ]
        values = value if isinstance(value, tuple) else (value,)
        coming = incoming if isinstance(incoming, tuple) else (incoming,)
        # The terms of a side that needs no gradient depend on nothing.
        pairs = [pair for pair in zip(values, coming, strict=True) if pair[0].requires_grad]
        gradients = iter(
            torch.autograd.grad(
                [each for each, _ in pairs],
                inputs,
                [of for _, of in pairs],
                create_graph=True,
                materialize_grads=True,
            )
        )
    of_real = next(gradients) if real is not None and real_needed else None
    return of_real, next(gradients) if fake_needed else None


@torch.no_grad()
def measure(samples: Operands, objective: Objective) -> Measurements:
    """The statistics of a call, in the order of `DiscriminatorStatistics`."""
    fake = widen(samples.fake)
    real = None if samples.real is None else widen(samples.real)
    real_right = fake_right = None
    at_bound = fake.new_zeros(())
    if objective.paired:
        assert real is not None
        right = real > fake.reshape(real.shape)
        real_right = fake_right = right.mean(dtype=fake.dtype)
    else:
        fake_right = (fake <= objective.threshold).mean(dtype=fake.dtype)
        at_bound = _count_beyond(at_bound, objective.fake, fake)
        if real is not None and objective.real is not None:
            real_right = (real > objective.threshold).mean(dtype=real.dtype)
            at_bound = _count_beyond(at_bound, objective.real, real)
    mean_weight = sample_size = log_z = None
    if objective.log_weight is not None:
        log_z, sample_size = weight_moments(objective.log_weight(fake))
        mean_weight = bounded_exp(log_z)
    real_logit = None if real is None else real.mean()
    return (
        real_logit,
        fake.mean(),
        real_right,
        fake_right,
        at_bound,
        mean_weight,
        sample_size,
        log_z,
    )


def _count_beyond(count: Tensor, term: Term, logits: Tensor) -> Tensor:
    """The count with those of the logits that are beyond the bound of the term's exponent."""
    if term.curve is not EXPONENTIAL:
        return count
    return count + (term.argument(logits) > EXPONENT_BOUND).sum()
