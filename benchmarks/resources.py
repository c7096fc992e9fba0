"""Registers, spills, shared memory and tensor cores of every Triton kernel, without a GPU.

    python -m benchmarks.resources [--only losses] [--architecture 90] [--check] [--write]

Compiles every case of `benchmarks.resource_cases` for every architecture that it is meant for and
prints a table; `--write` also writes `benchmarks/results/resources.csv`. With `--check` the exit
status is 1 when a kernel spills registers, needs more shared memory than there is, or has no
tensor-core instruction where it should; or when it needs more of anything than the CSV says that it
did with the same version of Triton: registers, shared memory, and on sm_90, of a step of its main
loop, instructions for each one of the tensor cores, waits, and operands that go through registers.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib
import importlib.metadata
import multiprocessing
import os
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor

from tqdm import tqdm

from benchmarks import resource_cases
from benchmarks.offline import ARCHITECTURES, SHARED_MEMORY, Case, Loop, Resources, compile_case
from benchmarks.report import RESULTS, print_table, write_csv

# Of a step of the main loop on sm_90, where products are HGMMA.
LOOP = ("loop_per_hgmma", "loop_hgmma", "operand_a_in_registers", "waits_per_step")
# In which more is worse.
COMPARED = ("registers", "spills", "shared_bytes", "loop_per_hgmma", "operand_a_in_registers",
            "waits_per_step")  # fmt: skip
Job = tuple[str, int, int]  # module of cases, index of the case, architecture


def packages() -> list[str]:
    """Names of the modules of cases."""
    return sorted(module.name for module in pkgutil.iter_modules(resource_cases.__path__))


@functools.cache  # a worker asks for each of its jobs
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
        **loop_columns(resources.loop),
        "defect": "; ".join(defects(case, resources, architecture)),
    }


def loop_columns(loop: Loop | None) -> dict[str, object]:
    """What a step of the main loop issues, as columns; empty without a loop that is read."""
    if loop is None:
        return dict.fromkeys(LOOP)
    values = (
        round(loop.instructions / loop.products, 2), loop.products, loop.from_registers, loop.waits
    )  # fmt: skip
    return dict(zip(LOOP, values, strict=True))


def worse(
    rows: Iterable[Mapping[str, object]], committed: Iterable[Mapping[str, str]]
) -> list[str]:
    """What got worse against rows of a CSV, each as a sentence.

    Rows are compared by kernel and architecture, where the same compiler made both; those that
    one side alone has are passed over. More is worse in every column of `COMPARED`.
    """
    found = []
    held = {(row["kernel"], row["architecture"], row["triton"]): row for row in committed}
    for row in rows:
        before = held.get((str(row["kernel"]), str(row["architecture"]), _triton()))
        for column in COMPARED if before is not None else ():
            if before[column] in ("", None) or row[column] is None:
                continue
            if float(str(row[column])) > float(before[column]):
                found.append(
                    f"{row['kernel']} on {row['architecture']}: {column} {row[column]}, "
                    f"committed {before[column]}"
                )
    return found


def _triton() -> str:
    return importlib.metadata.version("triton")


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


def package_of(row: Mapping[str, object]) -> str:
    """The module whose case a row is of."""
    return str(row["kernel"]).split(":")[0]


def kept(
    committed: Iterable[Mapping[str, str]], only: Iterable[str], architectures: Iterable[int]
) -> list[Mapping[str, str]]:
    """Rows of a CSV that a run of `only` on `architectures` says nothing of."""
    measured = {(package, f"sm_{one}") for package in only for one in architectures}
    return [row for row in committed if (package_of(row), row["architecture"]) not in measured]


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns 1 when `--check` finds a defect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--only", nargs="+", choices=packages(), default=packages())
    parser.add_argument(
        "--architecture", nargs="+", type=int, choices=ARCHITECTURES, default=list(ARCHITECTURES)
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 on a defect")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write the CSV; rows of what --only and --architecture leave out stay",
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    # Read when a kernel is decorated: before any worker imports one.
    os.environ.pop("TRITON_INTERPRET", None)
    context = multiprocessing.get_context("spawn")
    wanted = jobs(options.only, options.architecture)
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        rows = list(tqdm(pool.map(measure, wanted), total=len(wanted), unit="kernel", leave=False))
    print_table(rows)
    with (RESULTS / "resources.csv").open(newline="") as file:
        committed = list(csv.DictReader(file))
    regressions = worse(rows, committed)
    for regression in regressions:
        print(f"worse: {regression}")
    if options.write:
        untouched = kept(committed, options.only, options.architecture)
        write_csv(RESULTS / "resources.csv", sorted([*untouched, *rows], key=package_of))
    found = [row for row in rows if row["defect"]]
    print(f"{len(rows)} compiled, {len(found)} with a defect, {len(regressions)} figures worse")
    return 1 if options.check and (found or regressions) else 0


if __name__ == "__main__":
    sys.exit(main())
