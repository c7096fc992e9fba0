"""The loss kernels as they are launched: every loss of either player, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.offline import Case
from kernels.losses import tiles
from kernels.losses.definitions import DISCRIMINATOR_LOSSES, DIVERGENCES, GENERATOR_LOSSES
from kernels.losses.names import DEFAULT_OUTPUT
from kernels.losses.objectives import (
    FROM_DIVERGENCE,
    Objective,
    discriminator_objective,
    generator_objective,
)
from kernels.losses.triton.backward import backward_kernel
from kernels.losses.triton.forward import combine_kernel, forward_kernel

# Block and warps of a forward launch, by how many logits there are.
_LAUNCHES = {
    "up to 1k": (tiles.SMALL, tiles.SMALL_WARPS),
    "up to 16k": (tiles.ALONE_BLOCK, tiles.ALONE_WARPS),
    "more": (tiles.BLOCK, tiles.WARPS),
}


def objectives() -> Iterator[tuple[str, Objective]]:
    """Every loss of either player by name."""
    for loss in DISCRIMINATOR_LOSSES:
        for output in DIVERGENCES[loss].outputs if loss in DIVERGENCES else (DEFAULT_OUTPUT,):
            yield f"discriminator {loss} {output}", discriminator_objective(loss, output)
    smoothed = discriminator_objective("gan", real_label=0.9, fake_label=0.1)
    yield "discriminator gan, labels smoothed", smoothed
    for loss in GENERATOR_LOSSES:
        if loss not in FROM_DIVERGENCE:
            yield f"generator {loss}", generator_objective(loss)
            continue
        for divergence in DIVERGENCES.values():
            for output in divergence.outputs.values():
                if loss == "boundary_seeking" and isinstance(output.log_weight, str):
                    continue
                name = f"generator {loss} {divergence.name} {output.name}"
                yield name, generator_objective(loss, divergence.name, output.name)


def cases(logits: str = "fp32") -> list[Case]:
    """All of them, for logits of one dtype."""
    found = []
    for name, objective in objectives():
        centred = name.startswith("generator boundary_seeking")
        for size, (block, warps) in _LAUNCHES.items():
            found.append(_forward(name, objective, logits, size, block, warps, centred))
        found.append(_backward(name, objective, logits, centred))
    found += _options(logits)
    constants = {"HAS_REAL": True, "HAS_WEIGHT": True, "BLOCK": tiles.COMBINE_BLOCK}
    signature = _signature(combine_kernel.arg_names, logits, tuple(constants))
    found.append(
        Case("combine", combine_kernel, signature, constants, num_warps=tiles.COMBINE_WARPS)
    )
    return found


def _signature(
    names: list[str], logits: str, constants: tuple[str, ...], gradients: str = "fp32"
) -> dict[str, str]:
    pointers = {
        "real": logits,
        "fake": logits,
        "real_gradient": gradients,
        "fake_gradient": gradients,
        **dict.fromkeys(
            ("real_weights", "fake_weights", "log_z", "loss", "statistics", "partials"), "fp32"
        ),
        **dict.fromkeys(("real_terms", "fake_terms", "real_incoming", "fake_incoming"), "fp32"),
    }
    counts = ("n_real", "n_fake", "chunk", "programs")
    return {
        name: f"*{pointers[name]}" if name in pointers else "i32" if name in counts else "fp32"
        for name in names
        if name not in constants
    }


def _common(objective: Objective) -> tuple[dict[str, object], list[str]]:
    """Compile-time constants that both directions have, and the arguments that are None."""
    real = objective.real
    constants: dict[str, object] = {
        "REAL": (real or objective.fake).curve.code,
        "FAKE": objective.fake.curve.code,
        "PAIRED": objective.paired,
    }
    absent = [] if real is not None or objective.paired else ["real"]
    absent += [] if real is not None and real.linear else ["real_linear"]
    return constants, absent + ([] if objective.fake.linear else ["fake_linear"])


def _forward(
    name: str, objective: Objective, logits: str, size: str, block: int, warps: int, centred: bool
) -> Case:
    constants, absent = _common(objective)
    absent += ["real_weights", "fake_weights", "real_terms", "fake_terms"]
    absent += [] if centred else ["log_z"]
    absent += ["loss", "statistics"] if size == "more" else ["partials"]
    constants |= {
        "MEASURE": True,
        "HAS_WEIGHT": objective.log_weight is not None,
        "BLOCK": block,
        **dict.fromkeys(absent),
    }
    signature = _signature(forward_kernel.arg_names, logits, tuple(constants))
    return Case(
        f"{name}, forward, {size}",
        forward_kernel,
        signature,
        constants,
        divisible=_divisible(signature),
        num_warps=warps,
    )


def _backward(name: str, objective: Objective, logits: str, centred: bool) -> Case:
    constants, absent = _common(objective)
    absent += ["real_weights", "fake_weights"] + ([] if centred else ["log_z"])
    absent += ["real_gradient"] if "real" in absent else []
    constants |= {"PER_SAMPLE": False, "BLOCK": tiles.BACKWARD_BLOCK, **dict.fromkeys(absent)}
    signature = _signature(backward_kernel.arg_names, logits, tuple(constants), logits)
    return Case(
        f"{name}, backward",
        backward_kernel,
        signature,
        constants,
        divisible=_divisible(signature),
        num_warps=tiles.BACKWARD_WARPS,
    )


def _options(logits: str) -> list[Case]:
    """What no loss has by default: weights, terms, a count that 32 bits do not hold."""
    forward, absent = _common(discriminator_objective("kl"))
    absent = [name for name in absent if not name.endswith("_linear")]
    backward = forward | {"PER_SAMPLE": True, "BLOCK": tiles.BACKWARD_BLOCK, "log_z": None}
    absent += ["log_z", "loss", "statistics"]
    forward |= {"MEASURE": True, "HAS_WEIGHT": True, "BLOCK": tiles.BLOCK, **dict.fromkeys(absent)}
    found = []
    for kernel, constants, warps in (
        (forward_kernel, forward, tiles.WARPS),
        (backward_kernel, backward, tiles.BACKWARD_WARPS),
    ):
        name = f"every option, {kernel.fn.__name__.removesuffix('_kernel')}"
        signature = _signature(kernel.arg_names, logits, tuple(constants), logits)
        signature |= dict.fromkeys(("n_real", "n_fake"), "i64")
        divisible = _divisible(signature)
        found.append(Case(name, kernel, signature, constants, divisible=divisible, num_warps=warps))
    return found


def _divisible(signature: dict[str, str]) -> tuple[str, ...]:
    """Memory that torch allocates, and usual counts of logits."""
    counts = ("n_real", "n_fake", "chunk")
    return tuple(name for name, kind in signature.items() if kind[0] == "*" or name in counts)
