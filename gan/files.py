"""Files are written whole or not at all: to a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gan.errors import UserError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that takes its place at `path` only when the block ends without error.

    The file may be written, read back and seeked within the block. On any error, a full disk
    for example, the temporary file is removed and what stood at `path` before is untouched.

    Raises:
        UserError: the operating system refused to write (disk full, no permission); names `path`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if not _concerns_writing(error, path, temporary):
            raise
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what was there before is unchanged"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises as `atomic_write`."""
    with atomic_write(path) as file:
        file.write(content)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write `content` as indented JSON with sorted keys: the same content gives the same bytes."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def open_plain(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a plain file for reading.

    Raises:
        OSError: it cannot be opened, or is none: a pipe for example, where reading would wait for
            whoever writes to it.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _concerns_writing(error: OSError, path: Path, temporary: Path) -> bool:
    """Whether an error inside the block is about our file, not about one that the caller reads."""
    # A failing write() carries no file name; a failing open() of another file names that file.
    return error.filename is None or str(error.filename) in {
        str(path),
        str(temporary),
        str(path.parent),
    }


def _sync_folder(folder: Path) -> None:
    """Make the rename survive a power loss, where the platform can sync a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
