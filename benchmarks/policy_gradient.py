"""Sampling and the policy gradient of discrete generators, fused against naive, time and memory.

    python -m benchmarks.policy_gradient [--samples 20] [--batch 64] [--rounds 15] [--device cpu]

One step draws M samples for each of B rows of logits, gives them as bytes, and differentiates
Σ w log g. Sides:

- naive: what `torch.distributions` does. Categorical: log-softmax, multinomial, and a gather from
  the log-probabilities expanded to [M, B, P, V]; Bernoulli: draws from expanded probabilities, and
  the binary cross-entropy with expanded logits.
- careful: the same operators arranged by hand so that nothing of [M, B, P, V] arises.
- ours: `kernels.sample_categorical` or `sample_bernoulli`, and its gradient.

Sides take turns within a round; reported is the median over rounds of the ratio to ours within a
round. Peak memory is what a step needs beside its logits and weights: on a
GPU the allocator's, on a CPU the resident set's growth in a process of its own, in which memory
that is freed goes back to the system at once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from benchmarks.report import machine, print_table, results_path, write_csv

Draw = Callable[[Tensor, int], tuple[Tensor, Tensor]]
MIB = 2**20


class Case(NamedTuple):
    """Shape of one row of logits; the last dimension is that of the categories, if there is."""

    shape: tuple[int, ...]
    bernoulli: bool = False


CASES = {
    "binary 28x28": Case((784,), bernoulli=True),
    "16 colours 32x32": Case((1024, 16)),
    "192 symbols, length 32": Case((32, 192)),
}


def naive_categorical(logits: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """As `torch.distributions.Categorical`."""
    log_probs = logits.log_softmax(-1)  # [B, P, V]
    flat = log_probs.detach().exp().flatten(0, 1)
    drawn = torch.multinomial(flat, samples, replacement=True)  # [B·P, M]
    symbols = drawn.t().reshape(samples, *logits.shape[:2])
    expanded = log_probs.expand(samples, *log_probs.shape)
    chosen = expanded.gather(-1, symbols[..., None])[..., 0]
    return symbols.to(torch.uint8), chosen.sum(-1)


def careful_categorical(logits: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """The same with the samples as the last dimension."""
    log_probs = logits.log_softmax(-1)
    flat = log_probs.detach().exp().flatten(0, 1)
    drawn = torch.multinomial(flat, samples, replacement=True).view(*logits.shape[:2], samples)
    chosen = log_probs.gather(-1, drawn).sum(1).t()
    return drawn.to(torch.uint8).permute(2, 0, 1).contiguous(), chosen


def naive_bernoulli(logits: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """As `torch.distributions.Bernoulli`."""
    expanded = logits.expand(samples, *logits.shape)
    symbols = torch.bernoulli(logits.detach().sigmoid().expand_as(expanded))
    log_probs = -F.binary_cross_entropy_with_logits(expanded, symbols, reduction="none")
    return symbols.to(torch.uint8), log_probs.sum(-1)


def careful_bernoulli(logits: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """By Σ (s·ℓ − softplus ℓ), whose second term does not depend on the sample."""
    probabilities = logits.detach().sigmoid().expand(samples, *logits.shape)
    symbols = torch.bernoulli(probabilities)
    log_probs = torch.einsum("mbp,bp->mb", symbols, logits) - F.softplus(logits).sum(-1)
    return symbols.to(torch.uint8), log_probs


def ours_categorical(logits: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """The fused operator."""
    return kernels.sample_categorical(logits, samples, 0)


def ours_bernoulli(logits: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """The fused operator."""
    return kernels.sample_bernoulli(logits, samples, 0)


SIDES: dict[str, tuple[Draw, Draw]] = {
    "naive": (naive_categorical, naive_bernoulli),
    "careful": (careful_categorical, careful_bernoulli),
    "ours": (ours_categorical, ours_bernoulli),
}


class Work(NamedTuple):
    """One side of one case: forward alone, and the whole step."""

    draw: Callable[[], None]
    step: Callable[[], None]


def work(case: Case, side: str, samples: int, batch: int, device: torch.device) -> Work:
    """The functions that are measured."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(batch, *case.shape, generator=generator)
    logits = logits.to(device).requires_grad_()
    weights = torch.rand(samples, batch, generator=generator).to(device)
    function = SIDES[side][case.bernoulli]

    def draw() -> None:
        with torch.no_grad():
            function(logits, samples)

    def step() -> None:
        symbols, log_probs = function(logits, samples)
        (gradient,) = torch.autograd.grad((weights * log_probs).sum(), logits)
        del symbols, gradient  # both are what a step is for: they count until here

    return Work(draw, step)


def seconds(function: Callable[[], None], steps: int, device: torch.device) -> float:
    """Mean time of a call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / steps


def peak_bytes(function: Callable[[], None], device: torch.device) -> int:
    """What a call needs at most beside what is there before it."""
    for _ in range(2):
        function()  # code, caches
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is there
    function()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no line {field}: peak memory needs Linux")


def memory(name: str, side: str, options: argparse.Namespace, device: torch.device) -> int:
    """Peak memory of a step, on a CPU from a process of its own."""
    if device.type == "cuda":
        chosen = work(CASES[name], side, options.samples, options.batch, device)
        return peak_bytes(chosen.step, device)
    command = [sys.executable, "-m", "benchmarks.policy_gradient", "--peak", name, side]
    command += ["--samples", str(options.samples), "--batch", str(options.batch)]
    # Every block of memory of some pages is mapped by itself, and unmapped when it is freed.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "0"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def measure(
    name: str, options: argparse.Namespace, device: torch.device
) -> list[dict[str, object]]:
    """The rows of one case."""
    sides = {
        side: work(CASES[name], side, options.samples, options.batch, device) for side in SIDES
    }
    times: dict[str, dict[str, list[float]]] = {side: {"draw": [], "step": []} for side in SIDES}
    for each in sides.values():
        for function in each:
            seconds(function, options.steps, device)  # warm-up
    for _ in range(options.rounds):
        for side, each in sides.items():
            for kind, function in zip(each._fields, each, strict=True):
                times[side][kind].append(seconds(function, options.steps, device))
    del sides
    peaks = {side: memory(name, side, options, device) for side in SIDES}
    rows: list[dict[str, object]] = []
    for side in SIDES:
        row: dict[str, object] = {"case": name, "side": side}
        for kind, measured in times[side].items():
            ratios = [a / b for a, b in zip(measured, times["ours"][kind], strict=True)]
            row[f"{kind}_ms"] = round(1e3 * statistics.median(measured), 3)
            row[f"{kind}_over_ours"] = round(statistics.median(ratios), 2)
        row["peak_mib"] = round(peaks[side] / MIB, 2)
        # A step too small for a page more has no peak to divide by.
        row["peak_over_ours"] = round(peaks[side] / peaks["ours"], 2) if peaks["ours"] else ""
        rows.append(row)
    return rows


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.policy_gradient",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--samples", type=int, default=20, help="M")
    parser.add_argument("--batch", type=int, default=64, help="B")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=3, help="a round, side and kind")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--peak", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.peak:
        name, side = options.peak
        chosen = work(CASES[name], side, options.samples, options.batch, torch.device("cpu"))
        print(json.dumps(peak_bytes(chosen.step, torch.device("cpu"))))
        return
    rows = [row for name in CASES for row in measure(name, options, device)]
    for row in rows:
        row.update(samples=options.samples, batch=options.batch)
    print(machine(device), f"threads: {torch.get_num_threads()}")
    print_table(rows)
    if not options.no_write:
        write_csv(results_path("policy_gradient", device), rows, device)


if __name__ == "__main__":
    main()
