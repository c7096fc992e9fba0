"""Launching the Triton kernels.

Forward is one launch for up to `ALONE` real and `ALONE` generated logits, all in one program. More
logits are shared out over many programs and take a second launch, which adds up their sums in
order. The last program to finish could do that in the same launch, but it would have to be found
with an atomic counter that somebody has to set to zero: a launch of its own when done for every
call, and shared state between streams and captured graphs when not. At these sizes the second
launch, one program over PARTIALS numbers of at most `MOST_PROGRAMS` programs, is a small part of
the time.

Backward is one launch, and computes the gradients from the logits again instead of multiplying
what forward has saved by the incoming gradient. That is the same number of launches, and of N
logits forward reads N and backward reads N and writes N, where saving would read N and write N
both times: three quarters of the traffic, and no memory held in between.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..dispatch import launching_on
from . import tiles
from .definitions import Affine, Term
from .names import Reduction
from .objectives import Objective
from .triton.backward import backward_kernel
from .triton.forward import PARTIALS, STATISTICS, combine_kernel, forward_kernel
from .twin import Operands


def launch_forward(
    objective: Objective, reduction: Reduction, with_statistics: bool, samples: Operands
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, or terms of real and fake; and the statistics [STATISTICS]; empty where not wanted."""
    real, fake, real_weights, fake_weights, log_z = _contiguous(samples)
    term = objective.fake
    real_term = objective.real if objective.real is not None else term
    n_real = 0 if real is None else real.numel()
    n_fake = fake.numel()
    most = max(n_real, n_fake)
    alone, block, warps, chunk, programs = tiles.forward_tiles(most)
    new = {"dtype": torch.float32, "device": fake.device}
    statistics = torch.empty(STATISTICS if with_statistics else 0, **new)  # type: ignore[call-overload]
    loss = real_terms = fake_terms = partials = None
    if reduction == "none":
        shape = real.shape if objective.paired and real is not None else fake.shape
        fake_terms = torch.empty(shape, **new)  # type: ignore[call-overload]
        if objective.real is not None and real is not None:
            real_terms = torch.empty(real.shape, **new)  # type: ignore[call-overload]
    else:
        loss = torch.empty((), **new)  # type: ignore[call-overload]
    sums = loss is not None or with_statistics
    if not alone and sums:
        partials = torch.empty(PARTIALS * programs, **new)  # type: ignore[call-overload]
    factors = (_factor(n_real, reduction), _factor(n_fake, reduction))
    shares = (_factor(n_real, "mean"), _factor(n_fake, "mean"))
    weight = objective.log_weight if with_statistics else None
    with launching_on(fake.device):
        forward_kernel[(programs,)](
            real,
            fake,
            real_weights,
            fake_weights,
            log_z,
            loss if alone else None,
            statistics if with_statistics and alone else None,
            real_terms,
            fake_terms,
            partials,
            n_real,
            n_fake,
            chunk,
            *_numbers(real_term),
            *_numbers(term),
            *(weight or Affine()),
            objective.threshold,
            *factors,
            *shares,
            REAL=real_term.curve.code,
            FAKE=term.curve.code,
            PAIRED=objective.paired,
            MEASURE=with_statistics,
            HAS_WEIGHT=weight is not None,
            BLOCK=block,
            num_warps=warps,
        )
        if partials is not None:
            combine_kernel[(1,)](
                partials,
                loss,
                statistics if with_statistics else None,
                programs,
                *factors,
                *shares,
                HAS_REAL=objective.real is not None,
                HAS_WEIGHT=weight is not None,
                BLOCK=tiles.COMBINE_BLOCK,
                num_warps=tiles.COMBINE_WARPS,
            )
    if loss is not None:
        return loss, torch.empty(0, **new), statistics  # type: ignore[call-overload]
    assert fake_terms is not None
    if real_terms is not None:
        return real_terms, fake_terms, statistics
    return fake_terms, torch.empty(0, **new), statistics  # type: ignore[call-overload]


def launch_backward(
    objective: Objective,
    reduction: Reduction,
    samples: Operands,
    incoming: Sequence[Tensor],
    real_needed: bool,
    fake_needed: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the real and the fake logits, in their shapes and dtypes; None if not needed.

    Args:
        objective: as in forward.
        reduction: as in forward.
        samples: as in forward.
        incoming: the loss's gradient, fp32 and 0-d; with reduction "none" those of the terms.
        real_needed: whether the real logits' gradient is wanted.
        fake_needed: whether the fake logits' is.
    """
    real, fake, real_weights, fake_weights, log_z = _contiguous(samples)
    term = objective.fake
    real_term = objective.real if objective.real is not None else term
    n_real = 0 if real is None else real.numel()
    n_fake = fake.numel()
    of_real = torch.empty_like(real) if real_needed and real is not None else None
    of_fake = torch.empty_like(fake) if fake_needed else None
    per_sample = reduction == "none"
    of_first = incoming[0].contiguous()
    of_second = incoming[1].contiguous() if per_sample and objective.real is not None else of_first
    # One program for each block of whichever gradient is wanted.
    most = max(n_real if of_real is not None else 0, n_fake if of_fake is not None else 0)
    if most > 0:
        with launching_on(fake.device):
            backward_kernel[(-(-most // tiles.BACKWARD_BLOCK),)](
                real,
                fake,
                real_weights,
                fake_weights,
                log_z,
                of_first,
                of_second,
                of_real,
                of_fake,
                n_real,
                n_fake,
                real_term.rate,
                real_term.shift,
                real_term.scale * real_term.rate * _factor(max(n_real, 1), reduction),
                _linear_slope(real_term),
                term.rate,
                term.shift,
                term.scale * term.rate * _factor(max(n_fake, 1), reduction),
                _linear_slope(term),
                REAL=real_term.curve.code,
                FAKE=term.curve.code,
                PAIRED=objective.paired,
                PER_SAMPLE=per_sample,
                BLOCK=tiles.BACKWARD_BLOCK,
                num_warps=tiles.BACKWARD_WARPS,
            )
    return of_real, of_fake


def _numbers(term: Term) -> tuple[float | None, ...]:
    """A term's numbers; None for a linear part that there is not, which costs nothing then."""
    _, rate, shift, scale, offset, linear = term
    return rate, shift, scale, offset, linear if linear != 0.0 else None


def _linear_slope(term: Term) -> float | None:
    """What the linear part adds to the slope of the curve, which is multiplied by the scale."""
    return term.linear / term.scale if term.linear != 0.0 else None


def _factor(count: int, reduction: Reduction) -> float:
    """What a sum over `count` logits is multiplied by; NaN for the mean of none."""
    if reduction != "mean":
        return 1.0
    return 1.0 / count if count else float("nan")


def _contiguous(samples: Operands) -> Operands:
    # Costs a launch for logits that are not; those of a discriminator are.
    return Operands(*(each if each is None else each.contiguous() for each in samples))  # type: ignore[arg-type]
