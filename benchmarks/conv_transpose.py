"""Transposed convolutions of DCGAN for 64 pixels: layers, blocks and the generator, all sides.

    python -m benchmarks.conv_transpose [--device cpu] [--batch 64 512] [--precision bf16 tf32]
                                        [--what layer block generator] [--rounds 15] [--quick]

On a GPU: ours on Triton against cuDNN in channels_last (the primary comparison), against NCHW, and
against `torch.compile` of the channels_last model, default and max-autotune. As calls from Python,
and as replays of a CUDA graph after the L2 cache was overwritten; with TFLOP/s, TB/s and the roofs
of the same run, a large matrix product and a large copy. On a CPU: blocks and generator as they are
chosen there, in channels_last, against the textbook's `nn.Sequential` in NCHW.

All sides take turns in one process. Reported are medians over rounds, and the time over ours of the
same round: more than 1 is how many times faster ours is.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.report import machine, print_table, results_path, write_csv
from kernels import (
    ConvTransposeBlock,
    FusedSequential,
    conv_transpose2d,
    use_impl,
)
from kernels.tune import LAYERS, Clock

CL = torch.channels_last
LATENT = 100
FIRST = LAYERS[0][0]
DTYPES = {"bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}
GPU_SIDES = ("ours", "channels_last", "nchw", "compile", "max-autotune")
CPU_SIDES = ("ours", "nchw")
Call = Callable[[], object]


@dataclass(frozen=True)
class Problem:
    """What is timed: an input, and a function of it for each side.

    Attributes:
        what: "layer", "block" or "generator".
        name: which of them.
        shape: of the input.
        ours: with fused operators.
        theirs: of torch's operators, NCHW parameters; the sides move it to their layout.
        flops: of one forward, in products; backward has twice as many.
        elements: read and written by a forward that keeps nothing, for TB/s; 0 where it keeps.
    """

    what: str
    name: str
    shape: tuple[int, ...]
    ours: nn.Module
    theirs: nn.Module
    flops: int
    elements: int = 0


class Layer(nn.Module):
    """One bare transposed convolution, with tanh where it is the last."""

    def __init__(self, b: int, a: int, fused: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(b, a, 4, 4))
        self.activation = "tanh" if a <= 4 else None
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x, [N, B, h, w]."""
        if self.fused:
            return conv_transpose2d(x, self.weight, activation=self.activation)
        y = F.conv_transpose2d(x, self.weight, None, 2, 1)
        return torch.tanh(y) if self.activation == "tanh" else y


def textbook_block(b: int, a: int) -> list[nn.Module]:
    """The layers of one block as the tutorials have them."""
    if a <= 4:
        return [nn.ConvTranspose2d(b, a, 4, 2, 1), nn.Tanh()]
    return [nn.ConvTranspose2d(b, a, 4, 2, 1, bias=False), nn.BatchNorm2d(a), nn.ReLU()]


def our_block(b: int, a: int) -> ConvTransposeBlock:
    """The same block, fused."""
    if a <= 4:
        return ConvTransposeBlock(b, a, norm="none", activation="tanh")
    return ConvTransposeBlock(b, a)


def problems(what: Sequence[str], batch: int) -> Iterator[Problem]:
    """Layers, blocks and generator at one batch size."""
    flops = [32 * batch * side**2 * b * a for b, a, side in LAYERS]
    for (b, a, side), products in zip(LAYERS, flops, strict=True):
        name, shape = f"{b}→{a} at {side}", (batch, b, side, side)
        if "layer" in what:
            elements = batch * side**2 * (b + 4 * a) + 16 * b * a
            layers = Layer(b, a, fused=True), Layer(b, a, fused=False)
            yield Problem("layer", name, shape, *layers, products, elements)
        if "block" in what:
            theirs = nn.Sequential(*textbook_block(b, a))
            yield Problem("block", name, shape, our_block(b, a), theirs, products)
    if "generator" in what:
        first = 2 * batch * LATENT * FIRST * 16
        ours = nn.Sequential(
            nn.ConvTranspose2d(LATENT, FIRST, 4, 1, 0, bias=False),
            FusedSequential(
                nn.BatchNorm2d(FIRST), nn.ReLU(), *(our_block(b, a) for b, a, _ in LAYERS)
            ),
        )
        theirs = nn.Sequential(
            nn.ConvTranspose2d(LATENT, FIRST, 4, 1, 0, bias=False),
            nn.BatchNorm2d(FIRST),
            nn.ReLU(),
            *(layer for b, a, _ in LAYERS for layer in textbook_block(b, a)),
        )
        shape = (batch, LATENT, 1, 1)
        yield Problem("generator", "DCGAN 64", shape, ours, theirs, first + sum(flops))


def side(
    name: str, problem: Problem, device: torch.device, dtype: torch.dtype, backward: bool
) -> tuple[Call, int]:
    """One side as a function without arguments, and the bytes it saves for backward."""
    module = copy.deepcopy(problem.ours if name == "ours" else problem.theirs).to(device, dtype)
    layout = torch.contiguous_format if name == "nchw" else CL
    module = module.to(memory_format=layout)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(problem.shape, generator=generator).to(device, dtype)
    x = x.contiguous(memory_format=layout).requires_grad_(backward and problem.what != "generator")
    run: Callable[[Tensor], Tensor] = module
    if name in ("compile", "max-autotune"):
        torch.compiler.reset()
        run = torch.compile(
            module, mode=None if name == "compile" else "max-autotune-no-cudagraphs"
        )
    if not backward:

        def forward() -> object:
            with torch.no_grad():
                return run(x)

        return forward, 0
    leaves = [p for p in (x, *module.parameters()) if p.requires_grad]
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = module(x)
    for parameter in module.parameters():
        saved.pop(parameter.untyped_storage().data_ptr(), None)
    g = torch.randn_like(y)
    return (lambda: torch.autograd.grad(run(x), leaves, g)), sum(saved.values())


def measure(
    problem: Problem, precision: str, backward: bool, options: argparse.Namespace, clock: Clock
) -> list[dict[str, object]]:
    """One row a side."""
    device, dtype = clock.device, DTYPES[precision]
    impl = "triton" if clock.gpu else "auto"
    with use_impl(impl):
        calls = {name: side(name, problem, device, dtype, backward) for name in options.sides}
        for run, _ in calls.values():
            clock.call(run, 3)  # warm-up: compilation, cuDNN's own search
        graphs = {name: clock.capture(run) for name, (run, _) in calls.items()} if clock.gpu else {}
        eager: dict[str, list[float]] = {name: [] for name in calls}
        replayed: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(options.rounds):
            for name, (run, _) in calls.items():
                eager[name].append(clock.call(run, options.calls))
                if name in graphs:
                    replayed[name].append(clock.replay(graphs[name]))
    rows: list[dict[str, object]] = []
    for name, (_, saved) in calls.items():
        times = replayed[name] or eager[name]
        seconds = statistics.median(times)
        row: dict[str, object] = {
            "what": problem.what,
            "name": problem.name,
            "precision": precision,
            "batch": problem.shape[0],
            "direction": "forward+backward" if backward else "forward",
            "side": name,
            "call_us": round(1e6 * statistics.median(eager[name]), 1),
        }
        if clock.gpu:
            row["replay_us"] = round(1e6 * seconds, 1)
        low, high = _percentiles(times)
        row["p20_us"], row["p80_us"] = round(1e6 * low, 1), round(1e6 * high, 1)
        row["tflops"] = round(problem.flops * (3 if backward else 1) / seconds / 1e12, 3)
        if problem.elements and not backward:
            row["tb_s"] = round(problem.elements * dtype.itemsize / seconds / 1e12, 3)
        if backward:
            row["saved_mib"] = round(saved / 2**20, 1)
        row["over_ours_call"] = _over(eager[name], eager["ours"])
        if clock.gpu:
            row["over_ours_replay"] = _over(replayed[name], replayed["ours"])
        rows.append(row)
    return rows


def _over(times: list[float], ours: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(times, ours, strict=True)), 3)


def _percentiles(times: list[float]) -> tuple[float, float]:
    if len(times) < 2:
        return times[0], times[0]
    fifths = statistics.quantiles(times, n=5, method="inclusive")
    return fifths[0], fifths[-1]


def roofs(
    clock: Clock, precision: str, size: int | None = None, elements: int | None = None
) -> dict[str, float]:
    """TFLOP/s of a large product and TB/s of a large copy, here and now.

    Args:
        clock: of the device.
        precision: of the product, a key of `DTYPES`.
        size: of its square matrices; by default what is large there.
        elements: bytes that are copied; likewise.
    """
    size = size or (8192 if clock.gpu else 1024)
    elements = elements or (2**30 if clock.gpu else 2**26)
    a = torch.randn(size, size, device=clock.device).to(DTYPES[precision])
    source = torch.randint(0, 255, (elements,), dtype=torch.uint8, device=clock.device)
    target = torch.empty_like(source)
    product: list[float] = []
    copy: list[float] = []
    for _ in range(7):
        product.append(clock.call(lambda: a @ a, 3))
        copy.append(clock.call(lambda: target.copy_(source), 3))
    return {
        "product_tflops": round(2 * size**3 / statistics.median(product[1:]) / 1e12, 3),
        "copy_tb_s": round(2 * elements / statistics.median(copy[1:]) / 1e12, 4),
    }


@contextmanager
def precision_of_fp32(precision: str) -> Iterator[None]:
    """Have products of fp32 in tf32 or ieee inside the `with` block."""
    wanted = "tf32" if precision == "tf32" else "ieee"
    switches = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = wanted
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    options = _options(arguments)
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    clock = Clock(device)
    print(machine(device))
    rows: list[dict[str, object]] = []
    for precision in options.precision:
        with precision_of_fp32(precision):
            limits = roofs(clock, precision)
            print(f"{precision}: {limits}", flush=True)
            for batch in options.batch:
                for problem in problems(options.what, batch):
                    for backward in (False, True):
                        found = measure(problem, precision, backward, options, clock)
                        rows += [{**row, **limits} for row in found]
                        print_table(found)
    if device.type != "cuda":
        print("the Triton kernels: not measured on a GPU")
    write_csv(results_path("conv_transpose" + options.tag, device), rows, device)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.conv_transpose",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default)
    parser.add_argument("--what", nargs="+", choices=("layer", "block", "generator"))
    parser.add_argument("--batch", nargs="+", type=int)
    parser.add_argument("--precision", nargs="+", choices=tuple(DTYPES))
    parser.add_argument("--sides", nargs="+", choices=GPU_SIDES, help="ours is always there")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, help="in a row, from Python, a round")
    parser.add_argument("--quick", action="store_true", help="one batch size, few rounds")
    parser.add_argument("--tag", default="", help="added to the name of the CSV file")
    options = parser.parse_args(arguments)
    gpu = torch.device(options.device).type == "cuda"
    options.what = options.what or (["layer"] if gpu else []) + ["block", "generator"]
    options.precision = options.precision or (["bf16", "tf32"] if gpu else ["fp32", "bf16"])
    options.batch = options.batch or ([64, 128, 512, 2048] if gpu else [64])
    options.sides = list(
        dict.fromkeys(("ours", *(options.sides or (GPU_SIDES if gpu else CPU_SIDES))))
    )
    options.calls = options.calls or (10 if gpu else 1)
    if options.quick:
        options.rounds, options.batch = 3, [min(options.batch)]
    return options


if __name__ == "__main__":
    main()
