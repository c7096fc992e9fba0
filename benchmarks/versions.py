"""The tests of the kernels with other versions of PyTorch, Triton and NumPy.

    python -m benchmarks.versions [--only WORDS] [--work FOLDER] [--tests tests/kernels]

Makes an environment for each set of `SETS`, the lowest and the newest that `pyproject.toml` allows
among them, and runs the tests in it, in Triton's interpreter, one after the other. The ranges in
both `pyproject.toml` are those whose ends passed here. The environments hold some gigabytes each,
since PyTorch from PyPI is a CUDA build on Linux; `--work` keeps them, and uses what is there.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.environments import ROOT, Environment, FailedError
from benchmarks.report import RESULTS, TableRow, print_table, write_csv

SHOWN = ("torch", "triton", "numpy")
# What the tests take beside.
TOOLS = ("pytest", "hypothesis", "mypy", "safetensors", "tqdm")


def ranges(project: Path = ROOT / "pyproject.toml") -> dict[str, str]:
    """What a project depends on, name to range: `{"torch": ">=2.11,<2.15", …}`."""
    found = {}
    for requirement in tomllib.loads(project.read_text())["project"]["dependencies"]:
        named = re.fullmatch(r"([\w.-]+)\s*([^;]*)(;.*)?", requirement)
        assert named is not None, requirement
        found[named[1]] = named[2].strip()
    return found


def floor(specifier: str) -> str:
    """The lowest of a range, `==2.11.*` of `>=2.11,<2.15`."""
    lowest = re.search(r">=\s*([\d.]+)", specifier)
    if lowest is None:
        raise ValueError(f"{specifier!r} names no lowest version: expected '>='")
    return f"=={lowest[1]}.*"


def sets() -> dict[str, tuple[str, ...]]:
    """What pip is told to install, by what the set is for.

    Triton comes with PyTorch's own choice where that brings one; the versions named here are the
    same ones, for builds that bring none.
    """
    allowed = ranges()
    return {
        "lowest": (f"torch{floor(allowed['torch'])}", "triton==3.6.*",
                   f"numpy{floor(allowed['numpy'])}"),
        # 3.6's interpreter fails with NumPy 2.4.
        "GPU machines": ("torch==2.11.*", "triton==3.6.*", "numpy==2.3.*"),
        "tested": ("-c", str(ROOT / "constraints.txt"), *SHOWN),
        "newest": (f"torch{allowed['torch']}", "triton", f"numpy{allowed['numpy']}"),
    }  # fmt: skip


def environment_of(name: str, requirements: Iterable[str], work: Path) -> Environment:
    """The set's environment, made where it is not there yet."""
    folder = work / re.sub(r"\W+", "_", name)
    done = folder / ".complete"
    if done.exists():
        return Environment(folder)
    shutil.rmtree(folder, ignore_errors=True)
    environment = Environment.create(folder)
    environment.pip("install", *requirements, *TOOLS, cwd=ROOT)
    done.touch()
    return environment


def versions_of(environment: Environment) -> dict[str, str]:
    """The versions of what is `SHOWN`, as installed."""
    code = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    printed = environment.python("-c", code, *SHOWN, cwd=ROOT).split()
    return {f"with {name}": version for name, version in zip(SHOWN, printed, strict=True)}


def outcome(report: Path) -> dict[str, object]:
    """Counts of a report that pytest wrote as JUnit's XML, and which tests failed."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    counts = {
        key: sum(int(suite.get(key, 0)) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    }
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for suite in suites
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    wrong = counts["failures"] + counts["errors"]
    return {
        "passed": counts["tests"] - wrong - counts["skipped"],
        "failed": wrong,
        "skipped": counts["skipped"],
        "which": " ".join(failed),
    }


def measure(name: str, requirements: Iterable[str], tests: Sequence[str], work: Path) -> TableRow:
    """Run the tests with one set; a row."""
    row: TableRow = {"set": name}
    try:
        environment = environment_of(name, requirements, work)
        row.update(versions_of(environment))
    except FailedError as error:
        return {**row, "passed": 0, "failed": 0, "skipped": 0, "which": f"not installed: {error}"}
    report = work / "report.xml"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    said = ""
    try:
        environment.python(
            "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests,
            cwd=ROOT, TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1",
        )  # fmt: skip
    except FailedError as error:
        said = str(error)  # with a report, that says more
    if not report.exists():
        return {**row, "passed": 0, "failed": 0, "skipped": 0, "which": said}
    return {**row, **outcome(report), "minutes": round((time.monotonic() - began) / 60, 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 1 where a test failed or a set could not be had."""
    wanted = sets()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.versions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=tuple(wanted), help="these sets")
    parser.add_argument("--work", type=Path, help="where environments are kept")
    parser.add_argument("--tests", nargs="+", default=["tests/kernels"], help="for pytest")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory(prefix="versions_") as temporary:
        work = (options.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        for name in options.only or wanted:
            rows.append(measure(name, wanted[name], options.tests, work))
            print(rows[-1], flush=True)
    print()
    print_table(rows)
    if options.only is None and options.tests == parser.get_default("tests"):
        write_csv(RESULTS / "versions.csv", rows)
    return 0 if all(row["passed"] and not row["failed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
