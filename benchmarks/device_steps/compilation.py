"""Compile in parallel what later steps launch, and say what its code needs.

A process a processor goes through the checks of `twins` with launches that end before the GPU, and
so leaves their code in Triton's cache; the tuner's shortlist likewise. In a dry run a driver stands
in for an H100.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import torch

from benchmarks.device_steps import tuning, twins
from benchmarks.device_steps.results import Row
from benchmarks.device_steps.step import Context, Failed, Rows, plural
from kernels.conv_transpose.tiles import architecture_of
from kernels.tune import MOST, candidates
from kernels.tune.compilation import compile_all, compiling, key_of, prepare
from kernels.tune.plan import SPARE

DRY_ARCHITECTURE = 90


def run(context: Context) -> Rows:
    """A row a candidate of the tuner, and one for the checks."""
    failed = 0
    if not context.dry and "checks" not in context.done:
        compiled = _checks(context)
        yield [{"case": "checks", "kernels": compiled}]
    architecture = architecture_of(context.torch_device) if context.gpu else DRY_ARCHITECTURE
    keys = [
        key_of(problem, config)
        for problem in tuning.wanted(context)
        for config in candidates(problem, architecture, context.dry, MOST + SPARE)
    ]
    codes = compile_all(keys, architecture, str(context.torch_device), 1 if context.dry else None)
    rows: list[Row] = []
    for key, code in codes.items():
        op, precision, b, a, side, epilogue, config = key
        name = f"{op} {precision} {b}<>{a} {side} {epilogue} {'x'.join(map(str, config[:3]))}"
        name += f" w{config.warps} s{config.stages}" + (
            " boxes" if config.tma else "" if config.nested else " flat"
        )
        rows.append(
            {
                "case": name,
                "architecture": f"sm_{architecture}",
                "registers": code.registers,
                "spilled_bytes": code.spilled,
                "shared_bytes": code.shared,
                "defect": code.defect or "",
            }
        )
        # What spills is put aside; what does not compile at all is a defect.
        failed += code.defect is not None and code.registers == 0
    yield [row for row in rows if row["case"] not in context.done]
    if failed:
        raise Failed(f"{failed} of {len(codes)} candidates do not compile")
    spilled = sum(code.spilled > 0 for code in codes.values())
    return f"{plural(len(codes), 'candidate')} for sm_{architecture}, {spilled} spill"


def _checks(context: Context) -> int:
    """Compile what `twins` launches, split over the processors; the number of kernels."""
    processes = min(16, os.cpu_count() or 1)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        processes,
        spawn,
        prepare,
        (architecture_of(context.torch_device), str(context.torch_device)),
    ) as pool:
        shares = [pool.submit(_share, context, part, processes) for part in range(processes)]
        return sum(share.result() for share in shares)


def _share(context: Context, part: int, parts: int) -> int:
    found = list(twins.checks(context, small=False))
    with compiling() as compiled:
        for _, check in found[part::parts]:
            with contextlib.suppress(Exception):  # `twins` says what is wrong with it
                check()
    torch.cuda.synchronize()
    return len({id(kernel) for kernel in compiled})
