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

from gan.errors import UserError, shown

# Of a name, what its temporary one begins with: a longest possible name has no room for more.
NAME_CHARACTERS = 32


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that takes its place at `path` only when the block ends without error.

    The file may be written, read back and seeked within the block. On any error, a full disk
    for example, the temporary file is removed and what stood at `path` before is untouched.

    A file that is there keeps its permissions, and a symbolic link stays one: what it points to is
    replaced. A link to a file that nobody may write to, as DVC makes into its cache, is replaced
    itself. Another name of the same file (a hard link) goes on to name what was there before.

    Raises:
        UserError: the operating system refused to write (disk full, no permission), or `path` is
            no file (a device, a pipe, a folder); names `path`.
    """
    path = Path(path)
    target = path
    temporary: Path | None = None
    try:
        target = _behind_links(path)
        mode = _mode(target)
        temporary = target.with_name(f".{target.name[:NAME_CHARACTERS]}.{secrets.token_hex(4)}.tmp")
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w+b") as file:
            if mode is not None:
                temporary.chmod(mode)  # before there is anything in it to be read
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        if not _concerns_writing(error, path, target, temporary):
            raise
        raise UserError(
            f"cannot write {shown(path)}: {shown(error.strerror or error)}; "
            "what was there before is unchanged"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _behind_links(path: Path) -> Path:
    """The file that a write to `path` replaces."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # that is how a circle ends
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if target.exists() and not target.stat().st_mode & 0o222:
        return path
    return target


def _mode(target: Path) -> int | None:
    """The permissions of the file at `target`, None when there is none."""
    if target.is_symlink():
        return None  # it is the link that is replaced
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(mode):
        raise OSError(
            errno.EINVAL, "found a device, a pipe or a socket, expected a file", str(target)
        )
    return stat.S_IMODE(mode)


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


def _concerns_writing(error: OSError, *ours: Path | None) -> bool:
    """Whether an error inside the block is about our file, not about one that the caller reads."""
    # A failing write() carries no file name; a failing open() of another file names that file.
    names = {str(name) for path in ours if path is not None for name in (path, *path.parents)}
    return error.filename is None or str(error.filename) in names


def _sync_folder(folder: Path) -> None:
    """Make the rename survive a power loss, where the platform can sync a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
