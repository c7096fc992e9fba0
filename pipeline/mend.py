"""What a kill or a full disk left half-written of DVC is mended: `python -m pipeline.mend`.

DVC fails on every later command where one of these was left behind:

- `.dvc/tmp/rwlock`, which of its processes use which files. It is removed, also where it only
  names processes that are long gone: their numbers may belong to others by now, a few hours or a
  container later, and DVC would wait for these.
- `dvc.lock`. It is set aside as `.dvc/tmp/dvc.lock.damaged`; DVC writes it anew from its cache of
  runs, without running a stage again. One with the marks of a merge is left to people.

- `.git/index.lock`, which `dvc exp run` makes. It is removed.

Nothing is touched while another process of DVC or Git, or a stage, is at work here. `make` runs
this before `dvc repro`, and so does `python -m pipeline.preset`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from ruamel.yaml import YAML

from gan.command import run
from gan.errors import StateError, reading, shown

LOCK_FILE = Path("dvc.lock")
TMP = Path(".dvc/tmp")
MERGE_MARK = b"<<<<<<<"
INDEX_SECONDS = 2.0  # longer than anyone who is alive keeps Git's index


def mend(root: Path = Path()) -> list[str]:
    """Mend what DVC cannot read in the checkout at `root`.

    Returns:
        What was done, a line each; nothing where all is well.

    Raises:
        StateError: something is to be mended, and another process is at work; or the operating
            system refused it.
    """
    rwlock, lock_file = root / TMP / "rwlock", root / LOCK_FILE
    damaged, stale = _rwlock_damaged(rwlock), _rwlock_in_use(rwlock)
    lost, index = _lock_file_damaged(lock_file), _index_left_locked(root)
    if not (damaged or stale or lost or index):
        return []
    others = _at_work(root)
    if others:
        if not (damaged or lost or index):
            return []  # in use, as it says
        what = " and ".join(
            str(path)
            for path, found in ((rwlock, damaged), (lock_file, lost), (index, index))
            if found
        )
        raise StateError(
            f"{what} is in the way of DVC, and is not mended while another process works here: "
            f"{'; '.join(others)}. Once it is done, run python -m pipeline.mend"
        )
    done = []
    with _alone(root), _refusals(root):
        if index:
            index.unlink(missing_ok=True)
            done.append(f"{index} was left by a process that is gone: removed")
        if damaged or stale:
            rwlock.unlink(missing_ok=True)
            why = "was half-written" if damaged else "named processes that are gone"
            done.append(f"{rwlock} {why}: removed")
        if lost:
            aside = root / TMP / "dvc.lock.damaged"
            lock_file.replace(aside)
            done.append(
                f"{lock_file} was half-written: set aside as {aside}; DVC writes it anew, from its "
                "cache where the runs are in it"
            )
    return done


def _rwlock_damaged(path: Path) -> bool:
    """Whether DVC would refuse to read it."""
    from dvc.rwlock import SCHEMA

    raw = _read(path)
    if raw is None or raw.strip() == b"{}":
        return False
    try:
        SCHEMA(json.loads(raw))
    except Exception:  # of JSON, of text, of the schema
        return True
    return False


def _rwlock_in_use(path: Path) -> bool:
    """Whether it can be read, and names processes."""
    raw = _read(path)
    try:
        found = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and any(found.values())


def _lock_file_damaged(path: Path) -> bool:
    """Whether it is cut off, so that DVC would refuse it."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA

    raw = _read(path)
    if raw is None or MERGE_MARK in raw:
        return False
    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe", pure=True).load(raw))
    except Exception:  # of YAML, of text, of the schema
        return True
    return False


def _index_left_locked(root: Path) -> Path | None:
    """The lock on Git's index, when it stays; None when there is none."""
    folder = root / ".git"
    link = _read(folder)  # of a work tree, it is a file that names the folder
    if link is not None:
        folder = root / os.fsdecode(link).removeprefix("gitdir:").strip()
    lock = folder / "index.lock"
    with reading(lock, "a lock of Git", StateError):
        try:
            before = lock.stat()
            time.sleep(min(INDEX_SECONDS, max(0.0, before.st_mtime + INDEX_SECONDS - time.time())))
            return lock if lock.stat().st_ino == before.st_ino else None
        except (FileNotFoundError, NotADirectoryError):
            return None


def _read(path: Path) -> bytes | None:
    """What is in the file, None when there is none."""
    with reading(path, "a file of DVC", StateError):
        return path.read_bytes() if path.is_file() else None


def _at_work(root: Path) -> list[str]:
    """The processes of DVC, of Git and of stages in the checkout at `root`, but this one's own."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    place = root.resolve()
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words, folder = process.info["cmdline"] or [], process.info["cwd"]
        if process.info["pid"] in own or not _is_ours(words):
            continue
        # One whose folder may not be seen could be here.
        if folder is None or Path(folder).is_relative_to(place):
            found.append(f"process {process.info['pid']} ({shown(' '.join(words), 80)})")
    return found


def _is_ours(words: Sequence[str]) -> bool:
    """Whether a command line is one of DVC, of Git or of a stage of the pipeline."""
    names = {Path(word).name for word in words[:3]}  # an interpreter, `-m` or a script, its name
    dvc = bool({"dvc", "dvc.exe"} & names) and "daemon" not in words
    # A daemon of either never ends, and holds none of these files.
    git = (
        bool(words)
        and Path(words[0]).name in ("git", "git.exe")
        and not any("daemon" in word for word in words)
    )
    return (
        dvc or git or any(word.startswith("pipeline.") for word in words[:3] if "-m" in words[:2])
    )


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold both locks of DVC; raises StateError when somebody else does."""
    from dvc.lock import Lock, LockError

    with contextlib.ExitStack() as held:
        for name in ("lock", "rwlock.lock"):
            try:
                held.enter_context(Lock(str(root / TMP / name)))
            except LockError as error:
                raise StateError(
                    f"{root / TMP / name} is held by another process of DVC: nothing was mended. "
                    "Once it is done, run python -m pipeline.mend"
                ) from error
        yield


@contextlib.contextmanager
def _refusals(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"cannot mend {shown(error.filename or root)}: {shown(error.strerror or error)}"
        ) from error


def main() -> int:
    """Entry point. Returns the exit status."""
    return run(_main)


def _main() -> None:
    for line in mend():
        print(f"mended: {line}")


if __name__ == "__main__":
    sys.exit(main())
