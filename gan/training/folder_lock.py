"""A run's folder is held by one process alone, and that stays so when someone removes it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gan.errors import StateError, shown
from gan.files import write_json


class FolderLock:
    """A lock on a run's folder, and the folder's description. Ends with the process."""

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self._folder = folder
        self._description = dict(description)
        self._lock = FileLock(folder / "lock")
        self._taken: tuple[int, int] | None = None

    def acquire(self) -> None:
        """Take it, making the folder when it is not there; raises StateError."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._taken = self._there()
        except Timeout:
            raise StateError(
                f"another process{_holder(self._folder)} is training this very run "
                f"({shown(self._folder)}); wait for it or end it, then try again"
            ) from None
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StateError(
                f"cannot hold the state in {shown(self._folder)}: {shown(reason)}"
            ) from error

    def describe(self) -> None:
        """Write the description."""
        write_json(self._folder / "run.json", self._description)

    def release(self) -> None:
        """Let others have it."""
        with contextlib.suppress(OSError):
            self._lock.release()

    def ensure(self) -> None:
        """Take it anew where its file is gone; raises StateError."""
        if self._taken is not None and self._there() == self._taken:
            return
        self.release()  # of a file without a name: it keeps nobody out
        try:
            self.acquire()
        except StateError as error:
            raise StateError(
                f"{shown(self._folder)} was removed while this run held it, and cannot be taken "
                f"again: {error}"
            ) from error
        self.describe()
        print(
            f"warning: {shown(self._folder)}, or the lock in it, was removed while this run held "
            "it. It is made anew and the run goes on; snapshots that were in it are lost",
            file=sys.stderr,
        )

    def _there(self) -> tuple[int, int] | None:
        """Which file the lock is now, None where there is none."""
        try:
            found = (self._folder / "lock").stat()
        except OSError:  # of a folder that is gone on a server too
            return None
        return found.st_dev, found.st_ino


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object at `path`; an empty one where it is missing, damaged or something else.

    For what is only told to people: no run depends on it.
    """
    try:
        # To read a pipe would be to wait.
        found = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError, MemoryError):
        return {}
    return found if isinstance(found, dict) else {}


def _holder(folder: Path) -> str:
    process = read_record(folder / "run.json").get("process")
    return f" (process {process})" if type(process) is int else ""
