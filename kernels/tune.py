"""Measure launch configurations of the convolutions on this machine's GPU.

    python -m kernels.tune [--precision bf16 tf32] [--batch 64 512] [--layer 512x256x4] [--quick]

For each layer, batch and precision, and each of the three products (transposed convolution,
convolution, gradient of the weights), every candidate is first compared with PyTorch's result,
with and without prologue and statistics, then timed against cuDNN in channels_last, the two in
turn: by itself, with statistics and the normalisation after it, and with the normalisation before
it folded in (`tiles.EPILOGUES`). The fastest goes into a table with its measured ratio;
`impl="auto"` uses Triton, and folds, where that is 1 or more. The table is the user's own
(`kernels.conv_transpose.tiles.user_path`), or, with `--shipped`, the one in the package.

    python -m kernels.tune --propose 90

writes, without a GPU, the package's table for an architecture as the rules for unknown shapes
have it: a list of what to compile and to measure, none of it verified.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .conv_transpose import tiles
from .conv_transpose.definitions import products as definitions
from .conv_transpose.definitions.normalisation import BatchNorm, ChannelMoments
from .conv_transpose.definitions.products import Prologue
from .conv_transpose.tiles import TileConfig, TuningEntry

# Channels B and A and side of the small image: DCGAN for 64 pixels and a width of 64.
LAYERS = ((512, 256, 4), (256, 128, 8), (128, 64, 16), (64, 3, 32))
BATCHES = (64, 512)
DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "tf32": torch.float32,
    "fp32": torch.float32,
}
# ‖ours − reference‖ / ‖reference‖ at most.
TOLERANCES = {"bf16": 1e-2, "fp16": 1e-3, "tf32": 2e-3, "fp32": 1e-5}
_ROUNDS, _LAUNCHES = 15, 5


class Problem(NamedTuple):
    """One product of one layer at one batch size."""

    op: str
    precision: str
    b: int
    a: int
    side: int
    batch: int
    epilogue: str = "plain"

    @property
    def positions(self) -> int:
        """N·h·w of the small image."""
        return self.batch * self.side**2

    def config(self, architecture: int) -> TileConfig:
        """The configuration by rule."""
        return tiles.rule(self.op, self.precision, self.b, self.a, self.positions, architecture)


def candidates(problem: Problem, architecture: int, quick: bool = False) -> list[TileConfig]:
    """Configurations worth trying: the rule's, and its neighbours in each direction."""
    base = problem.config(architecture)
    if quick:
        return [base]
    found = [base]
    blocks = {
        (base.block_m, base.block_n),
        (64, base.block_n),
        (128, base.block_n),
        (256, min(base.block_n, 64)),
        (128, min(2 * base.block_n, 256)),
    }
    if problem.op == "dgrad" and problem.a <= tiles.PACKED_CHANNELS:
        blocks = {(block_m, base.block_n) for block_m in (64, 128, 256)}
    loops = (True,) if problem.op == "wgrad" else (True, False)
    deep = (2, 3, 4)
    steps = {base.block_k, max(16, base.block_k // 2)}
    for (block_m, block_n), block_k, warps, stages, nested in itertools.product(
        sorted(blocks), sorted(steps), (4, 8), deep, loops
    ):
        per_thread = block_m * block_n // (32 * warps)
        if per_thread <= 128:  # of the accumulator: beyond, everything spills
            found.append(TileConfig(block_m, block_n, block_k, warps, stages, nested))
    if base.tma:
        found[1:1] = _on_boxes(problem)
    return list(dict.fromkeys(found))


def _on_boxes(problem: Problem) -> Iterator[TileConfig]:
    """Configurations of boxes: one or two groups of four warps, their registers full or half so."""
    channels = problem.a if problem.op in ("dgrad", "wgrad") else problem.b
    for block_m, block_n, warps in ((256, 128, 8), (128, 128, 8), (128, 64, 4), (256, 64, 8)):
        if channels % block_n == 0:
            for stages in (3, 4):
                yield TileConfig(block_m, block_n, 64, warps, stages, tma=True)


def problems(
    layers: Sequence[tuple[int, int, int]],
    batches: Sequence[int],
    precisions: Sequence[str],
    epilogues: Sequence[str] = ("plain",),
) -> Iterator[Problem]:
    """Every product of every layer, precision and batch, with every epilogue that it has."""
    for precision, (b, a, side), batch in itertools.product(precisions, layers, batches):
        for op, epilogue in itertools.product(tiles.OPERATIONS, epilogues):
            if op != "wgrad" or epilogue == "plain":
                yield Problem(op, precision, b, a, side, batch, epilogue)


def propose(architecture: int) -> list[TuningEntry]:
    """The rule's configurations of `LAYERS` as entries that are not verified."""
    found: dict[tuple[object, ...], TuningEntry] = {}
    for problem in problems(LAYERS, BATCHES, tuple(DTYPES)):
        config = problem.config(architecture)
        entry = TuningEntry(*problem[:4], problem.positions, config, False, None, None)
        found.setdefault((*problem[:4], config), entry)
    return list(found.values())


def write_table(
    path: Path, architecture: int, device: str | None, rows: Sequence[TuningEntry]
) -> None:
    """Write a table whole or not at all, one entry a line, those of `rows` in a fixed order."""
    lines = [
        json.dumps({**row._asdict(), "config": row.config._asdict()})
        for row in sorted(rows, key=lambda row: row.key)
    ]
    head = {"architecture": f"sm_{architecture}", "measured_on": device}
    text = json.dumps(head)[:-1] + ', "entries": [\n' + ",\n".join(lines) + "\n]}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class Case:
    """Operands of one problem on the GPU, the reference, and both sides as functions."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        from .conv_transpose.launch import normalisation, products

        self.problem = problem
        self.normalisation = normalisation
        self.wgrad = products.wgrad
        self.product: Callable[..., Any] = getattr(products, problem.op)
        self.definition: Callable[..., object] = getattr(definitions, problem.op)
        generator = torch.Generator(device).manual_seed(0)

        def rand(*shape: int) -> Tensor:
            values = torch.randn(shape, generator=generator, device=device)
            return values.to(DTYPES[problem.precision]).contiguous(memory_format=_CL)

        _, _, b, a, side, n, _ = problem
        y, x = rand(n, b, side, side), rand(n, a, 2 * side, 2 * side)
        weight = rand(b, a, 4, 4)
        self.images = (x, y)
        self.operands = {"dgrad": (y, weight), "fprop": (x, weight), "wgrad": (x, y)}[problem.op]
        by_channel = {c: torch.rand(2, c, generator=generator, device=device) + 0.5 for c in (a, b)}
        prologues = {c: Prologue(rows[0], rows[1], "relu") for c, rows in by_channel.items()}
        self.extras: dict[str, object]
        if problem.op == "wgrad":
            self.extras = {"x_prologue": prologues[a], "y_prologue": prologues[b]}
        else:
            inside = b if problem.op == "dgrad" else a
            self.extras = {"prologue": prologues[inside], "statistics": True}
        with fp32_precision("ieee"):
            wide = [operand.float() for operand in self.operands]
            # Boxes have statistics, but no prologue: with it pointers take over.
            wanted = [{}, self.extras] + [{"statistics": True}] * (problem.op != "wgrad")
            self.checks = [(each, _tensors(self.definition(*wide, **each))) for each in wanted]

    def torch_operator(self) -> Tensor:
        """PyTorch's own, as a user would call it."""
        first, second = self.operands
        if self.problem.op == "dgrad":
            return torch.nn.functional.conv_transpose2d(first, second, None, 2, 1)
        if self.problem.op == "fprop":
            return torch.nn.functional.conv2d(first, second, None, 2, 1)
        return torch_wgrad(first, second)

    def defect(self, config: TileConfig) -> str | None:
        """Why a configuration is not to be used: wrong, not repeatable or not launchable."""
        tolerance = TOLERANCES[self.problem.precision]
        for extras, expected in self.checks:
            try:
                results = [
                    _tensors(self.product(*self.operands, config=config, **extras))
                    for _ in range(2)
                ]
                torch.cuda.synchronize()
            except Exception as error:  # out of resources, or the compiler's
                return f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
            for once, again, right in zip(*results, expected, strict=True):
                if not torch.equal(once, again):
                    return "results differ from launch to launch"
                distance = ((once.float() - right).norm() / right.norm()).item()
                if not distance <= tolerance:
                    return f"wrong: relative error {distance:.1e} of at most {tolerance:.0e}"
        return None

    def sides(self, config: TileConfig) -> tuple[Callable[[], object], Callable[[], object]]:
        """What is timed, see `tiles.EPILOGUES`: the other side, and ours."""
        if self.problem.epilogue == "statistics":
            return (
                lambda: torch.nn.functional.batch_norm(self.torch_operator(), None, None, None,
                                                       None, True),
                lambda: self.normalised(config),
            )  # fmt: skip
        if self.problem.epilogue == "folded":
            return lambda: self.unfolded(), lambda: self.folded(config)
        return self.torch_operator, lambda: self.product(*self.operands, config=config)

    def normalised(self, config: TileConfig) -> Tensor:
        """Our product with its statistics, and the pass that normalises by them."""
        y, mean, m2, count = self.product(*self.operands, statistics=True, config=config)
        norm = BatchNorm(None, None, None, None, True, None, None, 1e-5)
        numbers = self.normalisation.coefficients(ChannelMoments(mean, m2, count), norm)
        return self.normalisation.apply(y, numbers.scale, numbers.shift, None)

    def folded(self, config: TileConfig) -> object:
        """Our product and the gradient of its weights, the operand normalised while loaded."""
        self.product(*self.operands, config=config, **self.extras)
        return self.weight_grad(self.operands[0], self.extras["prologue"])

    def unfolded(self) -> object:
        """The same with a pass for the normalisation."""
        prologue: Any = self.extras["prologue"]
        operand = self.normalisation.apply(self.operands[0], *prologue)
        self.product(operand, self.operands[1], statistics=True)
        return self.weight_grad(operand, None)

    def weight_grad(self, operand: Tensor, prologue: Any) -> Tensor:
        """Of an operand of the product, with the other image as the gradient of its result."""
        if self.problem.op == "dgrad":
            return self.wgrad(self.images[0], operand, y_prologue=prologue)
        return self.wgrad(operand, self.images[1], x_prologue=prologue)

    def seconds(self, config: TileConfig) -> tuple[float, float]:
        """Medians of the other side's time and of ours, in turn."""
        sides = self.sides(config)
        times: list[list[float]] = [[], []]
        for _ in range(_ROUNDS):
            for run, found in zip(sides, times, strict=True):
                start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                for _ in range(_LAUNCHES):
                    run()
                stop.record()
                stop.synchronize()
                found.append(start.elapsed_time(stop) / 1e3 / _LAUNCHES)
        return statistics.median(times[0]), statistics.median(times[1])


_CL = torch.channels_last


def torch_wgrad(x: Tensor, y: Tensor) -> Tensor:
    """Gradient of the weights as torch computes it, in the operands' dtype."""
    shape = (y.shape[1], x.shape[1], 4, 4)
    weight = torch.empty(shape, dtype=y.dtype, device=y.device, memory_format=_CL)
    _, grad, _ = torch.ops.aten.convolution_backward(
        y, x, weight, None, (2, 2), (1, 1), (1, 1), False, (0, 0), 1, (False, True, False)
    )
    result: Tensor = grad
    return result


def _tensors(result: object) -> list[Tensor]:
    found = result if isinstance(result, tuple) else (result,)
    return [each for each in found if isinstance(each, Tensor)]


@contextmanager
def fp32_precision(precision: str) -> Iterator[None]:
    """Have torch's convolutions compute fp32 in this precision inside the `with` block."""
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = precision
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def measure(
    problem: Problem, architecture: int, device: torch.device, quick: bool
) -> TuningEntry | None:
    """The fastest right configuration of a problem as a verified entry, or None without one."""
    precision = "tf32" if problem.precision == "tf32" else "ieee"
    case = Case(problem, device)
    best: tuple[float, float, TileConfig] | None = None
    defects: list[tuple[TileConfig, str]] = []
    with fp32_precision(precision):
        for config in candidates(problem, architecture, quick):
            defect = case.defect(config)
            if defect is not None:
                defects.append((config, defect))
                continue
            torchs, ours = case.seconds(config)
            if best is None or ours < best[0]:
                best = (ours, torchs, config)
    for config, defect in defects:
        print(f"    put aside {tuple(config)}: {defect}")
    if best is None:
        return None
    ours, torchs, config = best
    ratio = round(torchs / ours, 3)
    return TuningEntry(*problem[:4], problem.positions, config, True, None, ratio, problem.epilogue)


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns 1 without a CUDA device."""
    options = _parser().parse_args(arguments)
    if options.propose is not None:
        rows = propose(options.propose)
        path = tiles.shipped_path(options.propose)
        write_table(path, options.propose, None, rows)
        print(f"{len(rows)} entries, none of them verified, written to {path}")
        return 0
    if not torch.cuda.is_available():
        print(
            "kernels.tune measures on a CUDA device, and PyTorch sees none here: nothing was "
            "measured or written.",
            file=sys.stderr,
        )
        return 1
    device = torch.device("cuda", torch.cuda.current_device())
    architecture = tiles.architecture_of(device)
    path = (tiles.shipped_path if options.shipped else tiles.user_path)(architecture)
    torch.backends.cudnn.benchmark = True
    layers, batches = options.layer, sorted(options.batch)
    wanted = list(problems(layers, batches, options.precision, tiles.EPILOGUES))
    found: dict[tuple[object, ...], TuningEntry] = {
        row.key: row for row in tiles.table(architecture)
    }
    measured: list[TuningEntry] = []
    for number, problem in enumerate(wanted, 1):
        print(f"[{number}/{len(wanted)}] {' '.join(map(str, problem))}", flush=True)
        entry = measure(problem, architecture, device, options.quick)
        if entry is None:
            print("    no configuration is right: this product stays with torch")
            continue
        print(f"    {entry.measured_ratio:.2f}× torch with {tuple(entry.config)}")
        measured.append(entry)
        found[entry.key] = entry
        # After each: an interrupted run keeps what it has measured.
        name = torch.cuda.get_device_name(device)
        write_table(path, architecture, name, list(found.values()))
        tiles.forget_tables()
    faster = sum(
        entry.measured_ratio is not None and entry.measured_ratio >= 1 for entry in measured
    )
    print(f"\n{len(measured)} of {len(wanted)} verified, {faster} at least as fast as torch's")
    for op in tiles.OPERATIONS:
        of_op = [row for row in measured if (row.op, row.epilogue) == (op, "plain")]
        ratios = [row.measured_ratio for row in of_op if row.measured_ratio]
        if ratios:
            print(f"  {op:<12} {min(ratios):.2f}× … {max(ratios):.2f}×")
    print(f"written to {path}")
    return 0


def _layer(text: str) -> tuple[int, int, int]:
    try:
        b, a, side = map(int, text.split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected channels of the small and of the large image and the small "
            "image's side, 512x256x4"
        ) from error
    return b, a, side


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kernels.tune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--precision", nargs="+", choices=tuple(DTYPES), default=["bf16", "tf32"])
    parser.add_argument("--batch", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--layer", nargs="+", type=_layer, default=list(LAYERS))
    parser.add_argument("--quick", action="store_true", help="the rule's configuration alone")
    parser.add_argument("--shipped", action="store_true", help="write the package's own table")
    parser.add_argument("--propose", type=int, metavar="ARCHITECTURE", help="80, 90 or 100")
    return parser


if __name__ == "__main__":
    sys.exit(main())
