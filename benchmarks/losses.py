"""Adversarial losses: formulas as papers have them, torch.compile of these, and ours.

    python -m benchmarks.losses [--quick] [--device cuda] [--only gan kl] [--rounds 9]

On a GPU: forward, and forward with backward, of fp32 logits; as calls from Python, and replayed as
CUDA graphs; launches counted with the profiler; at 64M logits the traffic as a share of what a
large copy reaches in the same run. On a CPU: formulas against our PyTorch version.

All sides take turns in one process. Reported are medians over rounds, and the ratio to ours of the
same round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.report import machine, print_table, results_path, write_csv
from kernels import discriminator_loss, generator_loss
from kernels.tune import capture

Loss = Callable[[Tensor, Tensor], Tensor]
Call = Callable[[], object]

SIZES = (64, 128, 1024, 64 * 1024, 2**20, 2**26)
CPU_SIZES = (64, 128, 1024, 64 * 1024, 2**20)
QUICK_SIZES = (64, 1024)


def binary(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy, as GAN code has it."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


# By our name of the loss and its output activation; nothing is bounded.
DISCRIMINATORS: dict[tuple[str, str], Loss] = {
    ("gan", "f_gan"): lambda r, f: binary(r, 1.0) + binary(f, 0.0),
    ("jensen_shannon", "f_gan"): lambda r, f: (
        (F.softplus(f) - 0.6931471805599453).mean() - (0.6931471805599453 - F.softplus(-r)).mean()
    ),
    ("kl", "f_gan"): lambda r, f: (f - 1).exp().mean() - r.mean(),
    ("kl", "log_ratio"): lambda r, f: f.exp().mean() - (r + 1).mean(),
    ("reverse_kl", "f_gan"): lambda r, f: (f - 1).mean() + (-r).exp().mean(),
    ("pearson", "f_gan"): lambda r, f: (f**2 / 4 + f).mean() - r.mean(),
    ("pearson", "log_ratio"): lambda r, f: ((2 * f).exp() - 1).mean() - (2 * (r.exp() - 1)).mean(),
    ("squared_hellinger", "f_gan"): lambda r, f: (f.exp() - 1).mean() - (1 - (-r).exp()).mean(),
    ("total_variation", "f_gan"): lambda r, f: (0.5 * f.tanh()).mean() - (0.5 * r.tanh()).mean(),
    ("least_squares", "f_gan"): lambda r, f: 0.5 * ((r - 1) ** 2).mean() + 0.5 * (f**2).mean(),
    ("hinge", "f_gan"): lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(),
    ("wasserstein", "f_gan"): lambda r, f: f.mean() - r.mean(),
    ("relativistic", "f_gan"): lambda r, f: F.softplus(-(r - f)).mean(),
}
GENERATORS: dict[tuple[str, ...], Callable[[Tensor], Tensor]] = {
    ("saturating",): lambda f: -binary(f, 0.0),
    ("non_saturating",): lambda f: binary(f, 1.0),
    ("boundary_seeking",): lambda f: (f**2).mean(),
    ("least_squares",): lambda f: 0.5 * ((f - 1) ** 2).mean(),
    ("wasserstein",): lambda f: -f.mean(),
}


def pairs(only: list[str]) -> list[tuple[str, Loss, Loss]]:
    """Name, formula and ours of each loss that is asked for, by loss; all by default."""
    found: list[tuple[str, Loss, Loss]] = []
    for key, formula in DISCRIMINATORS.items():
        found.append(
            (
                f"D {' '.join(key)}",
                formula,
                lambda r, f, k=key: discriminator_loss(r, f, k[0], output=k[1]),
            )
        )
    for name, of_fake in GENERATORS.items():
        found.append(
            (
                f"G {' '.join(name)}",
                lambda r, f, formula=of_fake: formula(f),
                lambda r, f, k=name: generator_loss(f, *k),
            )
        )
    return [each for each in found if not only or each[0].split()[1] in only]


def passes(loss: Loss, real: Tensor, fake: Tensor) -> dict[str, Call]:
    """Forward alone, without gradients, and forward with backward."""
    inputs = (real, fake)

    def forward() -> Tensor:
        with torch.no_grad():
            return loss(*inputs)

    def both() -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss(*inputs), inputs, allow_unused=True)

    return {"forward": forward, "forward+backward": both}


def take_turns(
    sides: dict[str, Call], rounds: int, seconds: float, cuda: bool
) -> dict[str, list[float]]:
    """Microseconds a call of each side, round by round; a round takes about `seconds` a side."""
    repeats = {}
    for name, call in sides.items():
        for _ in range(3):
            call()
        start = time.perf_counter()
        call()
        if cuda:
            torch.cuda.synchronize()
        repeats[name] = max(3, min(10_000, int(seconds / (time.perf_counter() - start))))
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, call in sides.items():
            if cuda:
                torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            if cuda:
                torch.cuda.synchronize()
            taken[name].append(1e6 * (time.perf_counter() - start) / repeats[name])
    return taken


def rows_of(
    name: str, size: int, kind: str, timing: str, taken: dict[str, list[float]]
) -> list[dict[str, object]]:
    """A row for each side; `vs_ours` above 1 means that ours is faster."""
    found: list[dict[str, object]] = []
    for side, times in taken.items():
        ratios = [theirs / ours for theirs, ours in zip(times, taken["ours"], strict=True)]
        found.append(
            {
                "loss": name,
                "logits": size,
                "pass": kind,
                "timing": timing,
                "side": side,
                "microseconds": round(statistics.median(times), 2),
                "vs_ours": round(statistics.median(ratios), 2),
            }
        )
    return found


def launches(call: Call) -> int:
    """Kernels, copies and fills that one call puts on the GPU."""
    call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    return sum(event.count for event in profile.key_averages() if event.device_time_total > 0)


def copy_bandwidth(rounds: int) -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    taken = take_turns({"copy": lambda: target.copy_(source)}, rounds, 0.05, cuda=True)["copy"]
    return 2 * source.nbytes / (statistics.median(taken) * 1e-6)


def on_gpu(options: argparse.Namespace, sizes: tuple[int, ...]) -> list[dict[str, object]]:
    """Eager, compiled and ours, called and replayed."""
    found: list[dict[str, object]] = []
    bandwidth = copy_bandwidth(options.rounds)
    print(f"a copy reaches {bandwidth / 1e12:.2f} TB/s")
    for name, formula, ours in pairs(options.only):
        torch.compiler.reset()
        losses = {"eager": formula, "compile": torch.compile(formula, fullgraph=True), "ours": ours}
        for size in sizes:
            real, fake = (torch.randn(size, device="cuda", requires_grad=True) for _ in range(2))
            by_side = {side: passes(loss, real, fake) for side, loss in losses.items()}
            for kind in ("forward", "forward+backward"):
                calls = {side: each[kind] for side, each in by_side.items()}
                counts = {side: launches(call) for side, call in calls.items()}
                # Gradients of one input for a generator's loss, of both for a discriminator's.
                inputs = 1 if name.startswith("G") else 2
                traffic = (1 if kind == "forward" else 3) * inputs * real.nbytes
                timings = {"call": calls}
                timings["graph"] = {side: capture(call).replay for side, call in calls.items()}
                for timing, each in timings.items():
                    taken = take_turns(each, options.rounds, options.seconds, cuda=True)
                    for row in rows_of(name, size, kind, timing, taken):
                        reached = traffic / (float(str(row["microseconds"])) * 1e-6)
                        row["launches"] = counts[str(row["side"])]
                        row["share_of_copy"] = round(reached / bandwidth, 3)
                        found.append(row)
    return found


def on_cpu(options: argparse.Namespace, sizes: tuple[int, ...]) -> list[dict[str, object]]:
    """Formulas and ours in PyTorch."""
    torch.set_num_threads(options.threads)
    found: list[dict[str, object]] = []
    for name, formula, ours in pairs(options.only):
        for size in sizes:
            real, fake = (torch.randn(size, requires_grad=True) for _ in range(2))
            by_side = {
                side: passes(loss, real, fake)
                for side, loss in {"eager": formula, "ours": ours}.items()
            }
            for kind in ("forward", "forward+backward"):
                calls = {side: each[kind] for side, each in by_side.items()}
                taken = take_turns(calls, options.rounds, options.seconds, cuda=False)
                found += rows_of(name, size, kind, "call", taken)
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.losses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--only", nargs="+", default=[], metavar="LOSS", help="gan, kl, hinge, …")
    parser.add_argument("--sizes", nargs="+", type=int, help="numbers of logits of each side")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.02, help="of a side, in a round")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument("--quick", action="store_true", help="two sizes, three rounds, no CSV")
    options = parser.parse_args()
    cuda = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if cuda else "cpu")
    if options.quick:
        options.rounds = min(options.rounds, 3)
    sizes = QUICK_SIZES if options.quick else SIZES if cuda else CPU_SIZES
    sizes = tuple(options.sizes or sizes)
    print(machine(device))
    torch.manual_seed(0)
    rows = on_gpu(options, sizes) if cuda else on_cpu(options, sizes)
    print_table(rows)
    if not cuda:
        print("Triton kernels: not measured on a GPU")
    if not (options.quick or options.only or options.sizes):  # a part would replace the whole
        write_csv(results_path("losses", device), rows, device)


if __name__ == "__main__":
    main()
