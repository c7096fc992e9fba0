"""Every kernel once against its twin in PyTorch, through the functions that users call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import kernels
from benchmarks.device_steps.step import Context, Failed, Rows, number, plural
from kernels.losses.definitions import DIVERGENCES
from kernels.tune import LAYERS, Case, Problem, candidates, fp32_precision
from kernels.tune.plan import problems

Compute = Callable[[str], list[Tensor]]  # of an implementation, "triton" or "torch"
LOSSES = ("gan", "hinge", "wasserstein", "least_squares", "relativistic")


@dataclass(frozen=True)
class Twin:
    """Something that both sides compute.

    Attributes:
        name: of the row.
        compute: the results and gradients of an implementation.
        tolerance: of ‖ours − twin's‖ / ‖twin's‖; integers have to be equal.
    """

    name: str
    compute: Compute
    tolerance: float


def run(context: Context) -> Rows:
    """A row a kernel: its error, and what is wrong."""
    wrong = count = 0
    for name, check in checks(context, small=context.dry):
        if name in context.done:
            continue
        error, tolerance, defect = check()
        wrong += bool(defect)
        count += 1
        yield [
            {
                "case": name,
                "error": "" if error is None else number(error, 2),
                "tolerance": tolerance,
                "defect": defect or "",
            }
        ]
    if wrong:
        raise Failed(f"{wrong} of {count} differ from their twin")
    return f"{plural(count, 'kernel')} as their twin"


Check = Callable[[], tuple[float | None, float, str | None]]


def checks(context: Context, small: bool) -> Iterator[tuple[str, Check]]:
    """What is checked, by name; `small`: at shapes that a sanitizer can watch."""
    for problem in convolutions(context, small):
        yield (
            f"product {' '.join(map(str, problem))}",
            functools.partial(_product, context, problem),
        )
    for twin in twins(context, small):
        yield twin.name, functools.partial(_twin, twin)


def convolutions(context: Context, small: bool) -> list[Problem]:
    """Products at odd small shapes in every precision, and at a network's where there is time."""
    precisions = ("fp32", "bf16") if context.dry else ("bf16", "fp16", "tf32", "fp32")
    layers = ((16, 16, 2),) if context.dry else ((64, 64, 4), (32, 24, 3), (64, 3, 5))
    found = list(problems(layers, [1 if context.dry else 3], precisions))
    if not small:
        found += problems(LAYERS, [64], ["bf16"])
    return found


def _product(context: Context, problem: Problem) -> tuple[float | None, float, str | None]:
    from kernels.conv_transpose.tiles import architecture_of
    from kernels.tune.case import TOLERANCES

    config = candidates(problem, architecture_of(context.torch_device), quick=True)[0]
    with fp32_precision("tf32" if problem.precision == "tf32" else "ieee"):
        defect = Case(problem, context.torch_device).defect(config)
    return None, TOLERANCES[problem.precision], defect


def _twin(twin: Twin) -> tuple[float | None, float, str | None]:
    ours, theirs = twin.compute("triton"), twin.compute("torch")
    worst, defect = 0.0, None
    for mine, right in zip(ours, theirs, strict=True):
        if not right.is_floating_point():
            if not torch.equal(mine, right):
                different = int((mine != right).sum())
                defect = f"{different} of {right.numel()} whole numbers differ"
            continue
        distance = (mine.double() - right.double()).norm() / right.double().norm().clamp_min(1e-30)
        worst = max(worst, distance.item()) if not distance.isnan() else float("nan")
        if not worst <= twin.tolerance:
            return worst, twin.tolerance, f"error {worst:.1e} of at most {twin.tolerance:.0e}"
    return worst, twin.tolerance, defect


def twins(context: Context, small: bool) -> Iterator[Twin]:
    """Losses, sampling and blocks."""
    device = context.torch_device
    # The second beyond what one program takes.
    for size in (64,) if small else (64, 40_000):
        names = LOSSES[:1] if context.dry else LOSSES
        for name in names:
            compute = functools.partial(_discriminator, name, size, device)
            yield Twin(f"discriminator {name}, {size} logits", compute, 1e-5)
        for divergence in ("gan",) if context.dry else tuple(DIVERGENCES):
            for loss in ("non_saturating", "boundary_seeking"):
                compute = functools.partial(_generator, loss, divergence, size, device)
                if _known(compute):
                    yield Twin(f"generator {loss} {divergence}, {size} logits", compute, 1e-5)
    for categories in (4,) if context.dry else (2, 16, 192, 3000):
        compute = functools.partial(_categorical, categories, device)
        yield Twin(f"sampling of {categories} categories", compute, 1e-4)
    yield Twin("sampling of bits", functools.partial(_bernoulli, device), 1e-4)
    widths = ((16, 16, 2),) if context.dry else ((64, 32, 4), (32, 3, 5))
    for b, a, side in widths:
        for transposed in (True, False):
            kind = "transposed convolution" if transposed else "convolution"
            compute = functools.partial(_block, transposed, b, a, side, device)
            yield Twin(f"block of {kind}, {b} and {a} channels", compute, 1e-4)


def _known(compute: Compute) -> bool:
    """Whether there is such a loss: not every divergence has every generator's."""
    try:
        compute("torch")
    except ValueError:
        return False
    return True


def _logits(*shape: int, device: torch.device, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(device).requires_grad_()


def _discriminator(name: str, size: int, device: torch.device, impl: str) -> list[Tensor]:
    pair = [_logits(size, device=device, seed=seed) for seed in (0, 1)]
    value, found = kernels.discriminator_loss(*pair, name, impl=impl, return_statistics=True)
    return [value, *found, *torch.autograd.grad(value, pair)]


def _generator(
    loss: str, divergence: str, size: int, device: torch.device, impl: str
) -> list[Tensor]:
    logits = _logits(size, device=device)
    value = kernels.generator_loss(logits, loss, divergence=divergence, impl=impl)
    return [value, *torch.autograd.grad(value, logits)]


def _categorical(categories: int, device: torch.device, impl: str) -> list[Tensor]:
    logits = _logits(3, 17, categories, device=device)
    drawn = kernels.sample_categorical(logits, 5, 7, impl=impl)
    return [*drawn, *_of_weighted(drawn.log_probs, logits)]


def _bernoulli(device: torch.device, impl: str) -> list[Tensor]:
    logits = _logits(3, 100, device=device)
    drawn = kernels.sample_bernoulli(logits, 5, 7, impl=impl)
    return [*drawn, *_of_weighted(drawn.log_probs, logits)]


def _of_weighted(log_probs: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
    weights = torch.linspace(0.5, 1.5, log_probs.numel(), device=logits.device)
    return torch.autograd.grad((weights.view_as(log_probs) * log_probs).sum(), logits)


def _block(
    transposed: bool, b: int, a: int, side: int, device: torch.device, impl: str
) -> list[Tensor]:
    torch.manual_seed(0)
    with fp32_precision("ieee"):
        if transposed:
            block: torch.nn.Module = kernels.ConvTransposeBlock(b, a, impl=impl)
            shape = (3, b, side, side)
        else:
            block = kernels.ConvBlock(a, b, norm="batch", impl=impl)
            shape = (3, a, 2 * side, 2 * side)
        block = block.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = _logits(*shape, device=device)
        y = block(x.contiguous(memory_format=torch.channels_last))
        outward = _logits(*y.shape, device=device, seed=1).detach()
        return [y, *torch.autograd.grad(y, [x, *block.parameters()], outward)]
