"""The losses by the Triton kernels: eager autograd here, torch.compile through `compiled.py`."""

from typing import Any

import torch
from torch import Tensor

from .compiled import encode, loss_operator
from .launch import launch_backward, launch_forward
from .objectives import Objective
from .twin import Losses, Measured, Samples, differentiable_gradients


def losses_triton(
    fake: Tensor,
    real: Tensor | None,
    real_weights: Tensor | None,
    fake_weights: Tensor | None,
    log_z: Tensor | None,
    objective: Objective,
    reduction: str,
    with_statistics: bool,
) -> tuple[Losses, Measured | None]:
    """`twin.losses_torch`, fused."""
    samples = Samples(real, fake, real_weights, fake_weights, log_z)
    if torch.compiler.is_compiling():
        codes, numbers = encode(objective, reduction, with_statistics)
        first, second, statistics = loss_operator(
            fake, real, real_weights, fake_weights, log_z, codes, numbers
        )
        # An operator of the library cannot say which of its outputs have no gradient.
        outputs = first, second, statistics.detach()
    elif torch.is_grad_enabled() and (
        fake.requires_grad or (real is not None and real.requires_grad)
    ):
        outputs = _Fused.apply(objective, reduction, with_statistics, *samples)  # type: ignore[no-untyped-call]
    else:
        outputs = launch_forward(objective, reduction, with_statistics, samples)
    first, second, statistics = outputs
    both = reduction == "none" and objective.real is not None
    value = (first, second) if both else first
    return value, _measured(statistics, objective) if with_statistics else None


def _measured(statistics: Tensor, objective: Objective) -> Measured:
    """The statistics of a call, in the order of `DiscriminatorStatistics`."""
    values: list[Tensor | None] = list(statistics.unbind())
    if objective.log_weight is None:
        values[5:] = [None, None, None]
    return tuple(values)


class _Fused(torch.autograd.Function):
    """One launch forward, one backward; the twin where the gradient will be differentiated."""

    @staticmethod
    def forward(
        ctx: Any,
        objective: Objective,
        reduction: str,
        with_statistics: bool,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.objective, ctx.reduction = objective, reduction
        ctx.save_for_backward(*tensors)
        samples = Samples(*tensors)  # type: ignore[arg-type]
        outputs = launch_forward(objective, reduction, with_statistics, samples)
        both = reduction == "none" and objective.real is not None
        ctx.mark_non_differentiable(*outputs[2 if both else 1 :])
        return outputs

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
        samples = Samples(*ctx.saved_tensors)
        real_needed, fake_needed = ctx.needs_input_grad[3:5]
        if torch.is_grad_enabled():
            both = ctx.reduction == "none" and ctx.objective.real is not None
            gradients = differentiable_gradients(
                samples,
                ctx.objective,
                ctx.reduction,
                (incoming[0], incoming[1]) if both else incoming[0],
                real_needed,
                fake_needed,
            )
        else:
            gradients = launch_backward(
                ctx.objective, ctx.reduction, samples, incoming, real_needed, fake_needed
            )
        return (None, None, None, *gradients, None, None, None)
