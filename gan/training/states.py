"""`python -m gan.state list | prune`: what states of training runs there are, and removing them."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gan.training.state import DEFAULT_ROOT, RunState


@dataclass(frozen=True)
class StoredRun:
    """One run's folder, as `list` shows it."""

    folder: Path
    step: int | None
    finished: bool
    running: bool
    size: int
    modified: float
    about: dict[str, Any]

    def line(self) -> str:
        """One line of the table."""
        status = "running" if self.running else "finished" if self.finished else "interrupted"
        when = datetime.fromtimestamp(self.modified).strftime("%Y-%m-%d %H:%M")
        step = "none" if self.step is None else str(self.step)
        about = ", ".join(f"{key} {value}" for key, value in self.about.items())
        return (
            f"{self.folder.name}  {status:<11}  step {step:>8}  {self.size / 2**20:8.1f} MiB  "
            f"{when}  {about}"
        )


def entries(root: Path) -> list[StoredRun]:
    """All runs below `root`, the oldest first."""
    found = [_entry(file.parent) for file in root.glob("*/run.json")]
    return sorted(found, key=lambda entry: entry.modified)


def _entry(folder: Path) -> StoredRun:
    files = [path for path in folder.rglob("*") if path.is_file()]
    steps = [int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.pt")]
    try:
        about = dict(json.loads((folder / "run.json").read_text())["about"])
    except (ValueError, KeyError, TypeError):
        about = {}
    step = max(steps, default=None)
    finished = RunState(folder).finished_at
    return StoredRun(
        folder=folder,
        step=step,
        finished=finished is not None and finished == step,
        running=_is_held(folder),
        size=sum(path.stat().st_size for path in files),
        modified=max((path.stat().st_mtime for path in files), default=0.0),
        about=about,
    )


def _is_held(folder: Path) -> bool:
    lock = FileLock(folder / "lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def prune(root: Path, *, everything: bool, dry_run: bool) -> list[StoredRun]:
    """Remove finished runs below `root`, interrupted ones too when `everything`; never a running.

    Returns:
        What was removed, or would be when `dry_run`.
    """
    removed = []
    for entry in entries(root):
        if not (entry.finished or everything) or entry.running:
            continue
        if not dry_run:
            try:
                # Held while it goes, so that nobody starts on a folder that is half gone.
                with FileLock(entry.folder / "lock").acquire(timeout=0):
                    shutil.rmtree(entry.folder)
            except Timeout:
                continue  # someone has started it since we looked
        removed.append(entry)
    return removed


def main(arguments: Sequence[str] | None = None) -> int:
    """StoredRun point. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gan.state", description=__doc__)
    parser.add_argument(
        "--root", type=Path, default=DEFAULT_ROOT, help="folder of the states (%(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show every run that has a state")
    pruning = commands.add_parser("prune", help="remove the states of finished runs")
    pruning.add_argument("--all", action="store_true", help="interrupted runs too")
    pruning.add_argument("--dry-run", action="store_true", help="only say what would go")
    options = parser.parse_args(arguments)

    if options.command == "list":
        shown = entries(options.root)
        for entry in shown:
            print(entry.line())
        if not shown:
            print(f"no states in {options.root}")
        return 0
    gone = prune(options.root, everything=options.all, dry_run=options.dry_run)
    for entry in gone:
        print(("would remove " if options.dry_run else "removed ") + entry.line())
    print(f"{len(gone)} states, {sum(entry.size for entry in gone) / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
