"""The Triton kernels as operators of torch's library, for torch.compile.

In eager the library's boundary costs more than the kernel: `fused.py` goes around it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .curves import CURVES
from .launch import launch_backward, launch_forward
from .objectives import Objective
from .terms import Affine, Term
from .triton import STATISTICS
from .twin import REDUCTIONS, Samples

# By the package's own name: a copy of it under another name can be loaded in the same process.
NAMESPACE = __name__.replace(".", "_")


def encode(
    objective: Objective, reduction: str, with_statistics: bool
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


def _decode(codes: Sequence[int], numbers: Sequence[float]) -> tuple[Objective, str, bool]:
    fake, real, paired, weight, reduction, with_statistics = codes
    objective = Objective(
        fake=Term(CURVES[fake], *numbers[:4]),
        real=None if real < 0 else Term(CURVES[real], *numbers[4:8]),
        paired=bool(paired),
        threshold=numbers[8],
        log_weight=Affine(*numbers[9:11]) if weight else None,
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
    samples = Samples(real, fake, real_weights, fake_weights, log_z)
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
    samples = Samples(real, fake, real_weights, fake_weights, log_z)
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
