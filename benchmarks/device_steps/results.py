"""What a run on a device leaves in its folder: at most eight files, whole at any moment.

`status.json` has a line a step, `log.txt` what the steps printed, four CSV files their rows. The
step that tunes adds its table and its journal.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan.files import write_bytes, write_json

STATUS, LOG = "status.json", "log.txt"
# Which steps' rows are in which file.
CHECKS, SPEED, TUNING, RUN = "checks.csv", "speed.csv", "tuning.csv", "run.csv"
TABLES = (CHECKS, SPEED, TUNING, RUN)
JOURNAL = "tuning.jsonl"
MOST_FILES = 8
# In front of every row: whose it is.
KEY = ("step", "case")
FORMAT = 1

Row = dict[str, Any]


class ResultsError(Exception):
    """A folder holds something else than results, or those of another machine."""


class Results:
    """The files of one run.

    Args:
        folder: of the results, or where they will be.
        machine: what stands beside every row that is added.
    """

    def __init__(self, folder: Path, machine: Mapping[str, str]) -> None:
        self.folder = folder
        self.machine = dict(machine)
        self.tables: dict[str, list[Row]] = {name: read_rows(folder / name) for name in TABLES}
        self.status: dict[str, Any] = {"format": FORMAT, "machine": self.machine, "calls": 0}
        self.status["steps"] = {}
        path = folder / STATUS
        if path.is_file():
            self.status = read_status(path)
            self._check_machine()
        elif any(self.tables.values()):
            raise ResultsError(f"{folder} has tables, but no {STATUS}: not the results of a run")

    def add(self, table: str, step: str, rows: Iterable[Row]) -> None:
        """Add rows, each with its "case"; on disk before this returns."""
        self.tables[table] += [{"step": step, **row, **self.machine} for row in rows]
        write_rows(self.folder / table, self.tables[table], last=tuple(self.machine))

    def forget(self, table: str, step: str) -> None:
        """Remove the rows of a step, so that it begins anew."""
        kept = [row for row in self.tables[table] if row["step"] != step]
        if len(kept) < len(self.tables[table]):
            self.tables[table] = kept
            write_rows(self.folder / table, kept, last=tuple(self.machine))

    def cases(self, table: str, step: str) -> set[str]:
        """The cases of a step that have rows."""
        return {str(row["case"]) for row in self.tables[table] if row["step"] == step}

    def line(self, step: str) -> dict[str, Any]:
        """What is known of a step: state, seconds, what came of it, how often it was tried."""
        found: dict[str, Any] = self.status["steps"].get(step, {})
        return {"state": "waiting", "what": "", "seconds": 0.0, "tries": 0, **found}

    def note(self, step: str, **line: Any) -> None:
        """Change what is known of a step; on disk before this returns."""
        self.status["steps"][step] = {**self.line(step), **line}
        self.write_status()

    def write_status(self) -> None:
        """Write `status.json`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / STATUS, self.status)

    def _check_machine(self) -> None:
        found, now = self.status["machine"], self.machine
        if (found.get("gpu"), found.get("dry")) != (now.get("gpu"), now.get("dry")):
            raise ResultsError(
                f"{self.folder} has measurements of {described(found)}, and this machine has "
                f"{described(now)}: expected the same, or another folder"
            )


def described(machine: Mapping[str, str]) -> str:
    """What a machine measures on, in words."""
    name = machine.get("gpu") or f"no GPU ({machine.get('cpu', 'an unknown CPU')})"
    return f"{name}, a dry run" if "dry" in machine else name


def read_status(path: Path) -> dict[str, Any]:
    """The content of a `status.json`.

    Raises:
        ResultsError: it is not one.
    """
    try:
        status = json.loads(path.read_text())
        if status["format"] != FORMAT:
            raise ResultsError(f"{path}: found format {status['format']}, expected {FORMAT}")
        if not isinstance(status["steps"], dict) or not isinstance(status["machine"], dict):
            raise TypeError("steps and machine are no mappings")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path} is not the status of a run: {error!r}") from error
    found: dict[str, Any] = status
    return found


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, values as texts, empty ones left out; none without the file.

    Raises:
        ResultsError: it is no table of steps.
    """
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ())[: len(KEY)] != KEY:
            raise ResultsError(f"{path} is no table of steps: expected columns {', '.join(KEY)}, …")
        return [{key: value for key, value in row.items() if value} for row in reader]


def write_rows(path: Path, rows: Sequence[Row], last: tuple[str, ...] = ()) -> None:
    """Write rows, whole or not at all: `KEY` first, the columns `last` last."""
    columns = dict.fromkeys(KEY) | dict.fromkeys(key for row in rows for key in row)
    ordered = [*(key for key in columns if key not in last), *last]
    text = io.StringIO()
    writer = csv.DictWriter(text, ordered, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.getvalue().encode())


def copy(source: Path, target: Path) -> None:
    """Copy the files of a run to where it goes on."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file():
            shutil.copyfile(path, target / path.name)
