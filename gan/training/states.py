"""`python -m gan.state list | restart | prune`: the states of training runs, and removing them."""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gan.command import run
from gan.errors import StateError, reading, shown
from gan.training.checkpoints import aside_in, checkpoints_in
from gan.training.folder_lock import read_record
from gan.training.state import DEFAULT_ROOT, RunState

# A fingerprint. What has another name may be anybody's, and is neither shown nor removed.
_NAME = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class StoredRun:
    """One run's folder, as `list` shows it.

    Attributes:
        folder: its place.
        step: of the newest checkpoint, None without one.
        damaged: checkpoints that were set aside.
        finished: whether the results of `step` were written out.
        running: whether a process holds it.
        size: bytes.
        modified: seconds since 1970.
        about: what the run says of itself.
    """

    folder: Path
    step: int | None
    damaged: int
    finished: bool
    running: bool
    size: int
    modified: float
    about: dict[str, Any]

    def line(self) -> str:
        """One line of the table."""
        status = (
            "running"
            if self.running
            else "finished"
            if self.finished
            else "damaged"
            if self.damaged and self.step is None
            else "interrupted"
        )
        step = "none" if self.step is None else str(self.step)
        about = ", ".join(
            f"{shown(key, 40)} {shown(value, 40)}" for key, value in self.about.items()
        )
        aside = f", {self.damaged} damaged set aside" if self.damaged else ""
        return (
            f"{shown(self.folder.name)}  {status:<11}  step {step:>8}  "
            f"{self.size / 2**20:8.1f} MiB  {_when(self.modified)}  {about}{aside}"
        )


def _when(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "at no known time"


def entries(root: Path) -> list[StoredRun]:
    """All runs below `root`, the oldest first; what is no run is left out.

    Raises:
        StateError: `root` is there and cannot be read.
    """
    return sorted(_found(root)[0], key=lambda entry: entry.modified)


def _found(root: Path) -> tuple[list[StoredRun], list[str]]:
    """The runs below `root`, and why other entries are not shown as such."""
    with reading(root, "a folder of states", StateError):
        try:
            folders = sorted(root.iterdir())
        except FileNotFoundError:
            return [], []
    runs, others = [], []
    for folder in folders:
        try:
            with reading(folder, "the state of a run", StateError):
                run = _entry(folder)
        except StateError as error:
            others.append(str(error))
            continue
        if run is None:
            others.append(f"{shown(folder)} is no state of a run")
        else:
            runs.append(run)
    return runs, others


def _entry(folder: Path) -> StoredRun | None:
    """The run in `folder`, None when there is none; raises StateError where it cannot be read."""
    if not _NAME.fullmatch(folder.name) or not folder.is_dir():
        return None
    checkpoints, aside = checkpoints_in(folder), aside_in(folder)
    description = folder / "run.json"
    if not (checkpoints or aside or description.is_file()):
        return None
    record = read_record(description)
    about = record.get("about")
    if not isinstance(about, dict):
        about = {shown(description.name): "is missing or damaged"}
    step = checkpoints[0][0] if checkpoints else None
    finished = RunState(folder).finished_at
    sizes, times = [0], [0.0]
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # a run that goes on removes files meanwhile
            if path.is_file() and not path.is_symlink():
                found = path.stat()
                sizes.append(found.st_size)
                times.append(found.st_mtime)
    return StoredRun(
        folder=folder,
        step=step,
        damaged=len(aside),
        finished=finished is not None and finished == step,
        running=_is_held(folder),
        size=sum(sizes),
        modified=max(times),
        about=about,
    )


def _is_held(folder: Path) -> bool:
    if not (folder / "lock").is_file():
        return False  # and none is made in a folder that may be someone else's
    try:
        with FileLock(folder / "lock").acquire(timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StateError(
            f"{shown(folder)} cannot be looked at: its lock cannot be tried: {shown(reason)}"
        ) from error


@contextlib.contextmanager
def _holding(folder: Path) -> Iterator[bool]:
    """Hold `folder` for the length of the block, if nobody else does."""
    try:
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StateError(f"cannot hold {shown(folder)}: {shown(reason)}") from error
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            lock.release()


def prune(root: Path, *, everything: bool, dry_run: bool) -> list[StoredRun]:
    """Remove finished runs below `root`, all others too when `everything`; never a running.

    Returns:
        What was removed, or would be when `dry_run`.

    Raises:
        StateError: one cannot be removed.
    """
    removed = []
    for entry in entries(root):
        if not (everything or (entry.finished and not entry.damaged)) or entry.running:
            continue
        if not dry_run:
            # Held while it goes, so that nobody starts on a folder that is half gone.
            with _holding(entry.folder) as held:
                if not held:
                    continue  # someone has started it since we looked
                try:
                    shutil.rmtree(entry.folder)
                except OSError as error:
                    raise StateError(
                        f"cannot remove {shown(entry.folder)}: {shown(error.strerror or error)}"
                    ) from error
        removed.append(entry)
    return removed


def restart(root: Path, name: str) -> StoredRun:
    """Make the run `name` below `root` start afresh next time; damaged checkpoints are put away.

    Returns:
        What it was like before.

    Raises:
        StateError: there is no such run, it is running, or something cannot be removed.
    """
    known = {entry.folder.name: entry for entry in entries(root)}
    if name not in known:
        there = ", ".join(shown(each, 40) for each in sorted(known)) or "none"
        raise StateError(f"no run {shown(name)} in {shown(root)}, expected one of: {there}")
    entry = known[name]
    with _holding(entry.folder) as held:
        if not held:
            raise StateError(f"{shown(entry.folder)} is running; wait for it or end it first")
        RunState(entry.folder).give_up()
    return entry


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `gan.state`. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gan.state", description=__doc__)
    parser.add_argument(
        "--root", type=Path, default=DEFAULT_ROOT, help="folder of the states (%(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show every run that has a state")
    restarting = commands.add_parser("restart", help="make a run start from step 0 next time")
    restarting.add_argument("run", metavar="FINGERPRINT", help="as `list` shows it")
    pruning = commands.add_parser("prune", help="remove the states of finished runs")
    pruning.add_argument(
        "--all", action="store_true", help="interrupted runs too, and damaged checkpoints"
    )
    pruning.add_argument("--dry-run", action="store_true", help="only say what would go")
    options = parser.parse_args(arguments)
    return run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    root: Path = options.root
    if options.command == "list":
        runs, others = _found(root)
        for entry in sorted(runs, key=lambda entry: entry.modified):
            print(entry.line())
        if not runs:
            print(f"no states in {shown(root)}")
        for other in others:
            print(f"note: {other}", file=sys.stderr)
    elif options.command == "restart":
        before = restart(root, options.run)
        at = "nothing" if before.step is None else f"step {before.step}"
        put_away = f"; {before.damaged} damaged checkpoints are put away" if before.damaged else ""
        print(f"{before.folder.name} had {at}, and starts from step 0 next time{put_away}")
    else:
        gone = prune(root, everything=options.all, dry_run=options.dry_run)
        for entry in gone:
            print(("would remove " if options.dry_run else "removed ") + entry.line())
        print(f"{len(gone)} states, {sum(entry.size for entry in gone) / 2**20:.1f} MiB")
