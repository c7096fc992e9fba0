"""Generator, losses and sampling, by their own benchmarks, with what a few minutes allow."""

from __future__ import annotations

import argparse

import torch

from benchmarks import conv_transpose, policy_gradient
from benchmarks import losses as of_losses
from benchmarks.device_steps.step import Context, Rows, plural
from kernels.tune import Clock

LOSSES = ("gan", "hinge", "wasserstein", "non_saturating")
GPU_SIDES = ["ours", "channels_last", "compile"]
CPU_SIDES = ["ours", "nchw"]


def generator(context: Context) -> Rows:
    """Blocks and the whole generator, forward and with backward; a row a side."""
    clock = Clock(context.torch_device)
    if context.gpu:
        torch.backends.cudnn.benchmark = True
    options = argparse.Namespace(
        sides=GPU_SIDES if context.gpu else CPU_SIDES,
        rounds=2 if context.dry else 15,
        calls=10 if context.gpu else 1,
    )
    precision = "bf16" if context.gpu else "fp32"
    count = 0
    for batch in (128, 512, 64) if context.gpu else (1,) if context.dry else (64,):
        # Compiling each anew takes longest: blocks at one batch size.
        what = ("generator", "block") if batch in (128, 1) or not context.gpu else ("generator",)
        for problem in conv_transpose.problems(what, batch):
            if context.dry and problem.what == "block" and problem.shape[1] > 64:
                continue  # as slow as they are on a busy machine
            case = f"{problem.what} {problem.name}, {precision}, batch {batch}"
            if case in context.done:
                continue
            with conv_transpose.precision_of_fp32(precision):
                rows = [
                    {"case": case, **row}
                    for backward in (False, True)
                    for row in conv_transpose.measure(problem, precision, backward, options, clock)
                ]
            count += len(rows)
            yield rows
    return plural(count, "row")


def losses(context: Context) -> Rows:
    """Losses of usual sizes; a row a size, pass, timing and side."""
    torch.manual_seed(0)
    options = argparse.Namespace(
        only=[], rounds=1 if context.dry else 5, seconds=1e-4 if context.dry else 0.01, threads=1
    )
    sizes = (64,) if context.dry else (64, 1024, 65_536)
    count = 0
    for name in LOSSES[:1] if context.dry else LOSSES:
        if name in context.done:
            continue
        options.only = [name]
        measure = of_losses.on_gpu if context.gpu else of_losses.on_cpu
        rows = [{"case": name, **row} for row in measure(options, sizes)]
        count += len(rows)
        yield rows
    return plural(count, "row")


def sampling(context: Context) -> Rows:
    """Discrete generators: drawing, and a whole step; a row a side."""
    size = 16 if context.dry else 64
    options = argparse.Namespace(
        samples=8 if context.dry else 20,
        batch=size,
        rounds=1 if context.dry else 15,
        steps=1 if context.dry else 3,
    )
    count = 0
    for name in list(policy_gradient.CASES)[: 1 if context.dry else None]:
        if name in context.done:
            continue
        rows = [
            {"samples": options.samples, "batch": size, **row}
            for row in policy_gradient.measure(name, options, context.torch_device)
        ]
        count += len(rows)
        yield rows
    return plural(count, "row")
