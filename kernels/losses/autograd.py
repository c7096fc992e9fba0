"""The losses by the Triton kernels, with their derivatives: eager autograd, and torch.compile.

In eager the boundary of torch's library costs more than the kernel, and `_Fused` goes around it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .curves import CURVES
from .definitions import Affine, Term
from .launch import launch_backward, launch_forward
from .names import Reduction
from .objectives import Objective
from .triton.forward import STATISTICS
from .twin import REDUCTIONS, Losses, Measurements, Operands, differentiable_gradients


def losses_triton(
    fake: Tensor,
    real: Tensor | None,
    real_weights: Tensor | None,
    fake_weights: Tensor | None,
    log_z: Tensor | None,
    objective: Objective,
    reduction: Reduction,
    with_statistics: bool,
) -> tuple[Losses, Measurements | None]:
    """`twin.losses_torch`, fused."""
    samples = Operands(real, fake, real_weights, fake_weights, log_z)
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


def _measured(statistics: Tensor, objective: Objective) -> Measurements:
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
        reduction: Reduction,
        with_statistics: bool,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.objective, ctx.reduction = objective, reduction
        ctx.save_for_backward(*tensors)
        samples = Operands(*tensors)  # type: ignore[arg-type]
        outputs = launch_forward(objective, reduction, with_statistics, samples)
        both = reduction == "none" and objective.real is not None
        ctx.mark_non_differentiable(*outputs[2 if both else 1 :])
        return outputs

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
        samples = Operands(*ctx.saved_tensors)
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


# --- operators for torch.compile ---

# By the package's own name: a copy of it under another name can be loaded in the same process.
NAMESPACE = __name__.removesuffix(".autograd").replace(".", "_")


def encode(
    objective: Objective, reduction: Reduction, with_statistics: bool
) -> tuple[list[int], list[float]]:
    """What an operator's schema has types for."""
    real, weight = objective.real, objective.log_weight
    codes = [
        objective.fake.curve.code,
        -1 if real is None else real.curve.code,
        int(objective.paired),
        int(weight is not None),
        REDUCTIONS.index(reduction),
        int(with_statistics),
    ]
    numbers = [*objective.fake[1:], *(real or objective.fake)[1:], objective.threshold]
    return codes, [*numbers, *(weight or Affine())]


def _decode(codes: Sequence[int], numbers: Sequence[float]) -> tuple[Objective, Reduction, bool]:
    fake, real, paired, weight, reduction, with_statistics = codes
    objective = Objective(
        fake=Term(CURVES[fake], *numbers[:5]),
        real=None if real < 0 else Term(CURVES[real], *numbers[5:10]),
        paired=bool(paired),
        threshold=numbers[10],
        log_weight=Affine(*numbers[11:13]) if weight else None,
    )
    return objective, REDUCTIONS[reduction], bool(with_statistics)


@torch.library.custom_op(f"{NAMESPACE}::adversarial_loss", mutates_args=())
def loss_operator(
    fake: Tensor,
    real: Tensor | None,
    real_weights: Tensor | None,
    fake_weights: Tensor | None,
    log_z: Tensor | None,
    codes: Sequence[int],
    numbers: Sequence[float],
) -> tuple[Tensor, Tensor, Tensor]:
    """`launch_forward`, of what `encode` makes of an objective."""
    samples = Operands(real, fake, real_weights, fake_weights, log_z)
    return launch_forward(*_decode(codes, numbers), samples)


@loss_operator.register_fake
def _(
    fake: Tensor,
    real: Tensor | None,
    real_weights: Tensor | None,
    fake_weights: Tensor | None,
    log_z: Tensor | None,
    codes: Sequence[int],
    numbers: Sequence[float],
) -> tuple[Tensor, Tensor, Tensor]:
    objective, reduction, with_statistics = _decode(codes, numbers)
    new = {"dtype": torch.float32}
    statistics = fake.new_empty(STATISTICS if with_statistics else 0, **new)  # type: ignore[call-overload]
    nothing = fake.new_empty(0, **new)  # type: ignore[call-overload]
    if reduction != "none":
        return fake.new_empty((), **new), nothing, statistics  # type: ignore[call-overload]
    if real is None or objective.real is None:
        like = fake if real is None or not objective.paired else real
        return fake.new_empty(like.shape, **new), nothing, statistics  # type: ignore[call-overload]
    return fake.new_empty(real.shape, **new), fake.new_empty(fake.shape, **new), statistics  # type: ignore[call-overload]


@torch.library.custom_op(f"{NAMESPACE}::adversarial_loss_backward", mutates_args=())
def gradient_operator(
    first_incoming: Tensor,
    second_incoming: Tensor,
    fake: Tensor,
    real: Tensor | None,
    real_weights: Tensor | None,
    fake_weights: Tensor | None,
    log_z: Tensor | None,
    codes: Sequence[int],
    numbers: Sequence[float],
    real_needed: bool,
    fake_needed: bool,
) -> tuple[Tensor, Tensor]:
    """`launch_backward`; a gradient that is not needed is empty."""
    objective, reduction, _ = _decode(codes, numbers)
    samples = Operands(real, fake, real_weights, fake_weights, log_z)
    incoming = (first_incoming, second_incoming)
    of_real, of_fake = launch_backward(
        objective, reduction, samples, incoming, real_needed, fake_needed
    )
    return _or_nothing(of_real, fake), _or_nothing(of_fake, fake)


def _or_nothing(gradient: Tensor | None, like: Tensor) -> Tensor:
    # A schema has no optional result.
    return like.new_empty(0) if gradient is None else gradient


@gradient_operator.register_fake
def _(
    first_incoming: Tensor,
    second_incoming: Tensor,
    fake: Tensor,
    real: Tensor | None,
    real_weights: Tensor | None,
    fake_weights: Tensor | None,
    log_z: Tensor | None,
    codes: Sequence[int],
    numbers: Sequence[float],
    real_needed: bool,
    fake_needed: bool,
) -> tuple[Tensor, Tensor]:
    def new(needed: bool, logits: Tensor | None) -> Tensor:
        if not needed or logits is None:
            return fake.new_empty(0)
        return torch.empty_like(logits, memory_format=torch.contiguous_format)

    return new(real_needed, real), new(fake_needed, fake)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.codes, ctx.numbers = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
    fake, real, *constants = ctx.saved_tensors
    fake_needed, real_needed = ctx.needs_input_grad[:2]
    of_real, of_fake = gradient_operator(
        incoming[0],
        incoming[1],
        fake,
        real,
        *constants,
        ctx.codes,
        ctx.numbers,
        real_needed,
        fake_needed,
    )
    return (
        of_fake if fake_needed else None,
        of_real if real_needed else None,
        *(None,) * 5,
    )


loss_operator.register_autograd(_backward, setup_context=_setup)
