"""Registers, spills, shared memory and tensor cores of every Triton kernel, without a GPU.

    python -m benchmarks.resources [--only losses] [--architecture 90] [--check] [--write]

Compiles every case of `benchmarks.resource_cases` for every architecture that it is meant for and
prints a table; `--write` also writes `benchmarks/results/resources.csv`. With `--check` the exit
status is 1 when a kernel spills registers, needs more shared memory than there is, or has no
tensor-core instruction where it should.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import pkgutil
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

from tqdm import tqdm

from benchmarks import resource_cases
from benchmarks.offline import ARCHITECTURES, SHARED_MEMORY, Case, Resources, compile_case
from benchmarks.report import RESULTS, print_table, write_csv

Job = tuple[str, int, int]  # module of cases, index of the case, architecture


def packages() -> list[str]:
    """Names of the modules of cases."""
    return sorted(module.name for module in pkgutil.iter_modules(resource_cases.__path__))


def cases(package: str) -> list[Case]:
    """The cases of one module.

    Raises:
        ValueError: two of them have the same name.
    """
    found: list[Case] = importlib.import_module(f"benchmarks.resource_cases.{package}").cases()
    names = [case.name for case in found]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{package}: names of cases that stand twice: {', '.join(twice)}")
    return found


def measure(job: Job) -> dict[str, object]:
    """One row of the table."""
    package, index, architecture = job
    case = cases(package)[index]
    resources = compile_case(case, architecture)
    return {
        "kernel": f"{package}: {case.name}",
        "architecture": f"sm_{architecture}",
        "warps": case.num_warps,
        "stages": case.num_stages,
        "registers": resources.registers,
        "spills": resources.spills,
        "shared_bytes": resources.shared,
        "tensor_core_instructions": resources.tensor_cores,
        "defect": "; ".join(defects(case, resources, architecture)),
    }


def defects(case: Case, resources: Resources, architecture: int) -> list[str]:
    """What is wrong with a compiled kernel."""
    found = []
    if resources.spills > 0:
        found.append(f"{resources.spills} instructions for spilled registers")
    if resources.shared > SHARED_MEMORY[architecture]:
        found.append(f"{resources.shared} bytes of shared memory of {SHARED_MEMORY[architecture]}")
    if case.tensor_cores and resources.tensor_cores == 0:
        found.append("does not use the tensor cores")
    return found


def jobs(only: Iterable[str], architectures: Iterable[int]) -> list[Job]:
    """Every case of `only` with every one of `architectures` that it is meant for."""
    wanted = list(architectures)
    return [
        (package, index, architecture)
        for package in only
        for index, case in enumerate(cases(package))
        for architecture in case.architectures
        if architecture in wanted
    ]


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns 1 when `--check` finds a defect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--only", nargs="+", choices=packages(), default=packages())
    parser.add_argument(
        "--architecture", nargs="+", type=int, choices=ARCHITECTURES, default=list(ARCHITECTURES)
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 on a defect")
    parser.add_argument("--write", action="store_true", help="write the CSV")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    # Read when a kernel is decorated: before any worker imports one.
    os.environ.pop("TRITON_INTERPRET", None)
    context = multiprocessing.get_context("spawn")
    wanted = jobs(options.only, options.architecture)
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        rows = list(tqdm(pool.map(measure, wanted), total=len(wanted), unit="kernel", leave=False))
    print_table(rows)
    if options.write:
        write_csv(RESULTS / "resources.csv", rows)
    found = [row for row in rows if row["defect"]]
    print(f"{len(rows)} compiled, {len(found)} with a defect")
    return 1 if options.check and found else 0


if __name__ == "__main__":
    sys.exit(main())
