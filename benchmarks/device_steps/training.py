"""A training step: the textbook's loop, the same as a careful user has it, ours, ours as a graph.

DCGAN for 64 pixels. In turn within a round, over the textbook's time of the same round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.device_steps.results import Row
from benchmarks.device_steps.step import Context, Rows, number, plural
from benchmarks.training_step import LATENT, ours, textbook, textbook_networks
from gan.config import RuntimeConfig

BATCHES = (64, 128, 512)
TEXTBOOK = "textbook"
COMPILED = "textbook bf16 channels_last max-autotune"
EAGER = "ours bf16"
GRAPH = "ours bf16, one graph a round"
FP32 = "ours fp32"
OURS_COMPILED = "ours bf16, torch.compile and a graph"
# What a side asks for of the section `runtime`, as far as this version has it.
RUNTIME: dict[str, dict[str, object]] = {
    FP32: {"graph": "off"},
    EAGER: {"graph": "off"},
    GRAPH: {"graph": "auto"},
    OURS_COMPILED: {"graph": "auto", "compile": True},
}
_BEFORE = 3  # untimed steps of each side; a graph is recorded in some of its own
Step = Callable[[], None]


class Sizes(NamedTuple):
    """Of networks, data and measurement."""

    size: int
    width: int
    images: int
    batches: tuple[int, ...]
    rounds: int
    steps: int


def sizes(context: Context) -> Sizes:
    """DCGAN for 64 pixels on a GPU, less on a CPU, next to nothing in a dry run."""
    if context.dry:
        return Sizes(16, 4, 64, (4,), 2, 1)
    if context.gpu:
        return Sizes(64, 64, 4096, BATCHES, 15, 10)
    return Sizes(32, 64, 2048, (64,), 5, 2)


def run(context: Context) -> Rows:
    """A row a side and batch, the slow ones to compile last."""
    chosen = sizes(context)
    torch.backends.cudnn.benchmark = context.gpu  # for every side alike
    images = np.random.default_rng(0).integers(
        0, 256, (chosen.images, 3, chosen.size, chosen.size), np.uint8
    )
    count = 0
    groups = [(f"batch {batch}", batch, (FP32, EAGER, GRAPH)) for batch in chosen.batches]
    groups += [
        (f"batch {batch}, compiled", batch, (COMPILED, GRAPH, OURS_COMPILED))
        for batch in chosen.batches
    ]
    for case, batch, names in groups:
        if case in context.done:
            continue
        rows = _group(case, batch, names, images, chosen, context)
        count += len(rows)
        yield rows
    return plural(count, "row")


def _group(
    case: str,
    batch: int,
    names: tuple[str, ...],
    images: np.ndarray,
    chosen: Sizes,
    context: Context,
) -> list[Row]:
    steps: dict[str, Step] = {}
    notes: dict[str, str] = {}
    told: dict[str, str] = {}
    for name in (TEXTBOOK, *names):
        reason = why_not(name, context)
        if reason is not None:
            notes[name] = reason
        elif name == COMPILED:
            steps[name], told[name] = careful_as_possible(
                images, chosen.width, batch, context.torch_device
            )
        else:
            steps[name] = side(name, images, chosen.width, batch, context)
    times = take_turns(steps, chosen, context)
    rows: list[Row] = []
    shape = {"size": chosen.size, "width": chosen.width, "batch": batch}
    for name, found in times.items():
        over = [a / b for a, b in zip(times[TEXTBOOK], found, strict=True)]
        median = statistics.median(found)
        rows.append(
            {
                "case": case,
                "side": name,
                **shape,
                "step_ms": number(1e3 * median),
                "images_per_second": round(batch / median),
                "over_textbook": number(statistics.median(over), 3),
                "note": told.get(name, ""),
            }
        )
    return rows + [
        {"case": case, "side": name, **shape, "note": reason} for name, reason in notes.items()
    ]


def why_not(name: str, context: Context) -> str | None:
    """Why a side is not measured, or None."""
    wanted = {key for key, value in RUNTIME.get(name, {}).items() if value != "off"}
    if not wanted <= set(RuntimeConfig.model_fields):
        return "not in this version"
    if (wanted or name == COMPILED) and not context.gpu:
        return "needs a CUDA device"
    return None


def side(name: str, images: np.ndarray, width: int, batch: int, context: Context) -> Step:
    """One side's step."""
    device = context.torch_device
    if name == TEXTBOOK:
        return textbook(images, width, batch, device)
    runtime = {
        key: value for key, value in RUNTIME[name].items() if key in RuntimeConfig.model_fields
    }
    return ours(images, width, batch, device, "fp32" if name == FP32 else "bf16", **runtime)


def careful_as_possible(
    images: np.ndarray, width: int, batch: int, device: torch.device
) -> tuple[Step, str]:
    """`careful` with max-autotune as it is, or without its CUDA graphs where these fail; a note."""
    torch.compiler.reset()
    step = careful(images, width, batch, device, "max-autotune")
    try:
        for _ in range(_BEFORE):
            step()
    except RuntimeError as error:  # of outputs that a later replay overwrites
        torch.compiler.reset()
        line = str(error).strip().splitlines()[0][:100]
        without = careful(images, width, batch, device, "max-autotune-no-cudagraphs")
        return without, f"without Inductor's CUDA graphs: {line}"
    return step, ""


def careful(images: np.ndarray, width: int, batch: int, device: torch.device, mode: str) -> Step:
    """The textbook's loop as a careful user has it.

    channels_last, bf16 by autocast, networks compiled with max-autotune, data on the device, no
    gradients of the discriminator in the generator's step, fused Adam.
    """
    _, channels, size, _ = images.shape
    generator, discriminator = (
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for network in textbook_networks(size, width, channels)
    )
    discriminator = nn.Sequential(*list(discriminator)[:-1])  # logits: the loss has the sigmoid
    optimisers = [
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)
        for network in (discriminator, generator)
    ]
    generate, discriminate = (
        torch.compile(network, mode=mode) for network in (generator, discriminator)
    )
    criterion = nn.BCEWithLogitsLoss()
    data = torch.from_numpy(images).to(device)
    one, zero = torch.ones(batch, device=device), torch.zeros(batch, device=device)

    def logits(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            found: torch.Tensor = discriminate(x).view(-1)
        return found.float()

    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        rows = torch.randint(len(data), (batch,), device=device)
        real = (data[rows].float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            fake = generate(torch.randn(batch, LATENT, 1, 1, device=device))
        optimisers[0].zero_grad()
        loss = criterion(logits(real), one) + criterion(logits(fake.detach()), zero)
        loss.backward()
        optimisers[0].step()
        discriminator.requires_grad_(False)
        optimisers[1].zero_grad()
        criterion(logits(fake), one).backward()
        optimisers[1].step()
        discriminator.requires_grad_(True)

    return step


def take_turns(steps: dict[str, Step], chosen: Sizes, context: Context) -> dict[str, list[float]]:
    """Seconds a step of each side, round by round."""
    for step in steps.values():
        for _ in range(1 if context.dry else _BEFORE * chosen.steps):
            step()
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(chosen.rounds):
        for name, step in steps.items():
            _wait(context)
            start = time.perf_counter()
            for _ in range(chosen.steps):
                step()
            _wait(context)
            found[name].append((time.perf_counter() - start) / chosen.steps)
    return found


def _wait(context: Context) -> None:
    if context.gpu:
        torch.cuda.synchronize()
