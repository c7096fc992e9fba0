"""Measure launch configurations of the convolutions on this machine's GPU.

    python -m kernels.tune [--precision bf16 tf32] [--batch 64 512] [--layer 512x256x4] [--quick]
                           [--out DIR] [--budget SECONDS]

For each layer, batch and precision, each of the three products (transposed convolution,
convolution, gradient of the weights), by itself and with what `tiles.EPILOGUES` names, at most six
configurations are measured: those that a small model of the machine has first and whose code does
not spill, compiled in parallel beforehand. Each is first compared with PyTorch's result, then its
CUDA graph is replayed in turn with that of cuDNN in channels_last (`benchmark=True`), the operands
no longer in L2. The fastest goes into a table with its measured ratio; `impl="auto"` uses Triton,
and folds, where that is 1 or more. Folding is measured on request (`--epilogue folded`).

The table is the user's own (`kernels.conv_transpose.tiles.user_path`), one below `--out`, or, with
`--shipped`, the one in the package. Beside it is a journal of what was measured: the same command
goes on where it was interrupted. What breaks the GPU's context ends one process and condemns one
configuration.

    python -m kernels.tune --propose 90     the package's table as the rules have it, unmeasured
    python -m kernels.tune --shortlist 90   what would be measured, compiled without a GPU

On a CPU, `--device cpu` goes through the same with Triton's interpreter: for tests, and its table
says of nothing that it was verified.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from pathlib import Path

import torch

from ..conv_transpose import tiles
from ..dispatch import PACKAGE, named_here
from .clock import Clock
from .compilation import compile_all, key_of
from .journal import Journal, environment
from .measure import Tuning, tune
from .plan import BATCHES, DTYPES, LAYERS, MOST, SPARE, Problem, candidates, predicted, problems
from .table import propose, write_table
from .worker import PATIENCE, DeviceBench


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns 1 without a device to measure on, 3 when the budget left something."""
    options = _parser().parse_args(arguments)
    if options.propose is not None:
        rows = propose(options.propose)
        path = tiles.shipped_path(options.propose)
        write_table(path, options.propose, None, rows)
        print(f"{len(rows)} entries, none of them verified, written to {path}")
        return 0
    only = options.epilogue or ()
    wanted = list(problems(options.layer, sorted(options.batch), options.precision, only))
    if options.shortlist is not None:
        return _shortlist(wanted, options.shortlist, options.quick, options.processes)
    if options.device == "auto" and not torch.cuda.is_available():
        print(
            f"{PACKAGE}.tune measures on a CUDA device, and PyTorch sees none here: nothing was "
            "measured or written.",
            file=sys.stderr,
        )
        return 1
    device = torch.device("cuda" if options.device == "auto" else options.device)
    if str(device) == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    found = run(wanted, device, options)
    return 3 if found.left else 0


def run(wanted: list[Problem], device: torch.device, options: argparse.Namespace) -> Tuning:
    """Measure `wanted` on `device`, and say what came of it."""
    started = time.monotonic()
    gpu = device.type == "cuda"
    if not gpu:
        os.environ["TRITON_INTERPRET"] = "1"  # for the worker: read when a kernel is decorated
    architecture = tiles.architecture_of(device)
    path = (tiles.shipped_path if options.shipped else tiles.user_path)(architecture)
    if options.out is not None:
        path = options.out / f"sm_{architecture}.json"
    known = tiles.read_table(path) if path.is_file() else tiles.table(architecture) if gpu else ()
    journal = Journal(path.with_suffix(".jsonl"), environment(device))
    if options.fresh:
        journal.outcomes.clear()
    found = tune(
        wanted,
        architecture,
        functools.partial(DeviceBench, str(device), options.rounds),
        journal,
        path,
        how=Clock.HOW_ON_GPU if gpu else Clock.HOW_ON_CPU,
        verified=gpu,
        compiled_on=str(device) if gpu else None,
        quick=options.quick,
        processes=options.processes,
        deadline=None if options.budget is None else started + options.budget,
        patience=options.patience,
        say=functools.partial(print, flush=True),
        known=known,
    )
    ratios = [row.measured_ratio for row in found.entries if row.measured_ratio is not None]
    print(
        f"\n{len(found.entries)} of {len(wanted)} measured, {len(found.hopeless)} without a right "
        f"configuration, {len(found.left)} left; "
        f"{sum(ratio >= 1 for ratio in ratios)} at least as fast as torch's"
    )
    print(f"written to {path}")
    return found


def _shortlist(wanted: list[Problem], architecture: int, quick: bool, processes: int | None) -> int:
    """Print what would be measured, with what its code needs. Returns 1 where all of one spill."""
    lists = {each: candidates(each, architecture, quick, MOST + SPARE) for each in wanted}
    keys = {key_of(each, config) for each, configs in lists.items() for config in configs}
    codes = compile_all(sorted(keys), architecture, "cpu", processes)
    hopeless = 0
    for problem, configs in lists.items():
        print(" ".join(map(str, problem)))
        good = 0
        for config in configs:
            code = codes[key_of(problem, config)]
            good += code.defect is None
            measured = (
                "measured" if code.defect is None and good <= MOST else code.defect or "spare"
            )
            print(
                f"    {tuple(config)!s:<36} predicted {1e6 * predicted(problem, config):7.1f} µs, "
                f"{code.registers:3d} registers, {code.shared // 1024:3d} KiB: {measured}"
            )
        hopeless += good == 0
    print(f"{len(codes)} compiled for sm_{architecture}; {hopeless} problems without a candidate")
    return 1 if hopeless else 0


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
        prog=f"python -m {PACKAGE}.tune",
        description=named_here(__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--precision", nargs="+", choices=tuple(DTYPES), default=["bf16", "tf32"])
    parser.add_argument("--batch", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--layer", nargs="+", type=_layer, default=list(LAYERS))
    parser.add_argument(
        "--epilogue", nargs="+", choices=tiles.EPILOGUES, help="plain and statistics by default"
    )
    parser.add_argument("--quick", action="store_true", help="the rule's configuration alone")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--shipped", action="store_true", help="write the package's own table")
    place.add_argument("--out", type=Path, metavar="DIR", help="write the table and journal there")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="then stop; go on later")
    parser.add_argument("--fresh", action="store_true", help="measure again what is in the journal")
    parser.add_argument("--rounds", type=int, default=15, help="of a candidate (%(default)s)")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for a candidate")
    parser.add_argument("--processes", type=int, help="that compile at once")
    parser.add_argument("--device", default="auto", help="auto (a GPU), cuda:1, or cpu")
    parser.add_argument("--propose", type=int, metavar="ARCHITECTURE", help="80, 90 or 100")
    parser.add_argument("--shortlist", type=int, metavar="ARCHITECTURE", help="80, 90 or 100")
    return parser


if __name__ == "__main__":
    sys.exit(main())
