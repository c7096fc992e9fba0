"""The tests that need a GPU, by pytest; a row each that does not pass."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks.device_steps.results import Row
from benchmarks.device_steps.step import Context, Failed, Rows, installed

ROOT = Path(__file__).resolve().parents[2]
WORKERS = "8"
# Where there is no GPU: a few, to see that this runs tests and reads what comes of them.
DRY = ("tests/kernels/test_private.py",)
# pytest's exit statuses: passed, failed, interrupted by errors of collection.
_UNDERSTOOD = (0, 1, 2)


def run(context: Context) -> Rows:
    """A row with the counts, and one for each test that failed."""
    report = context.work / "tests.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", f"--junitxml={report}"]
    if context.dry:
        command += DRY
    else:
        command += ["-m", "gpu", *gpu_tests()]
        if installed("xdist"):
            command += ["-n", WORKERS]
    done = subprocess.run(command, cwd=ROOT)
    if done.returncode not in _UNDERSTOOD or not report.is_file():
        raise Failed(f"pytest ended with status {done.returncode}")
    rows, counts = read_report(report)
    yield rows
    line = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if counts["failed"] or counts["errors"]:
        raise Failed(line)
    if not counts["passed"]:
        raise Failed("no test ran")
    return line


def gpu_tests() -> list[str]:
    """Files and folders with tests that are marked so: others need not even be importable."""
    found = ["tests/kernels"]
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("tests/kernels/") and "mark.gpu" in path.read_text():
            found.append(name)
    return found


def read_report(path: Path) -> tuple[list[Row], dict[str, int]]:
    """Rows and counts of a report in JUnit's format."""
    counts = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0}
    rows: list[Row] = []
    for case in ElementTree.parse(path).iter("testcase"):
        kinds = {"failure": "failed", "error": "errors", "skipped": "skipped"}
        told = next((child for child in case if child.tag in kinds), None)
        what = "passed" if told is None else kinds[told.tag]
        counts[what] += 1
        if told is not None and what != "skipped":
            name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
            rows.append({"case": name, "defect": _in_a_line(told.get("message") or what)})
    return [{"case": "pytest -m gpu", **counts}, *rows], counts


def _in_a_line(text: str) -> str:
    """The first line of a text, of a length that a table bears."""
    return (text.strip().splitlines() or [""])[0][:200]
