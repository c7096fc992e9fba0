"""Files of some kinds in a folder or an archive, listed safely and read without extraction.

Memory holds a name and two numbers a file, never more than one content of an archive at a time.
Hidden files, `__MACOSX` and files of other kinds are passed over.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import itertools
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias, cast

from gan.errors import DataError
from gan.preparation.zstd import MAGIC, open_zstd

# No image of use is larger, while a few kilobytes of an archive can unpack to petabytes.
MAX_FILE_BYTES = 1 << 28
# Names in the headers of an archive are read whole; longer ones are an attack on memory.
MAX_HEADER_BYTES = 1 << 20

_TAR_NAME = re.compile(r".*\.(tar(\.(gz|bz2|xz|zst))?|tgz|tbz2?|txz|tzst)", re.IGNORECASE)
_COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    MAGIC: open_zstd,
}
_DAMAGE = (
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


class UnreadableError(Exception):
    """The content of one file cannot be read; the message says why, without the name."""


# What `load` takes: the content itself, where it lies, or why there is none.
Content: TypeAlias = "bytes | Path | UnreadableError"


@dataclass(frozen=True)
class Collection:
    """The files of a folder or an archive."""

    names: list[str]  # relative, parts joined by "/", in the order of `contents`
    contents: Callable[[], Generator[Content, None, None]]


def open_collection(path: Path, suffixes: frozenset[str]) -> Collection:
    """List the files under `path` whose names end in one of `suffixes` (lower case, with dot).

    Folders, `.zip` and uncompressed `.tar` are read in the order of the sorted names. A compressed
    tar can only be read forwards, so its files come in the order of the archive.

    Symbolic links within a folder are not followed: what one points at in the same folder is found
    under its own name, and one that leads out of the folder is refused.

    Raises:
        DataError: `path` is missing, is neither a folder nor an archive, or the archive is damaged
            or has a member that is refused: an absolute path, `..`, a link, a device, encrypted,
            twice the same name, or more than `MAX_FILE_BYTES`. Names the member.
    """
    if not path.exists():
        raise DataError(f"data.path {path} does not exist: expected a folder, .zip or .tar")
    try:
        if path.is_dir():
            return _open_folder(path, suffixes)
        if path.suffix.lower() == ".zip":
            return _open_zip(path, suffixes)
        if _TAR_NAME.fullmatch(path.name):
            return _open_tar(path, suffixes)
    except (PermissionError, FileNotFoundError) as error:
        raise DataError(f"cannot read {error.filename or path}: {error.strerror}") from error
    except _DAMAGE as error:
        raise DataError(f"{path} is not an archive or is damaged: {error}") from error
    raise DataError(
        f"data.path {path} is a file: expected a folder, .zip, .tar, .tar.gz, .tar.bz2, .tar.xz or "
        ".tar.zst"
    )


def load(content: Content) -> bytes:
    """The bytes of a file.

    Raises:
        UnreadableError: they cannot be read, or are more than `MAX_FILE_BYTES`.
    """
    if isinstance(content, UnreadableError):
        raise content
    if isinstance(content, bytes):
        return content
    try:
        with content.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise UnreadableError(_too_large(size))
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror or error}") from error


def _open_folder(root: Path, suffixes: frozenset[str]) -> Collection:
    names = []
    folders = [""]
    while folders:
        prefix = folders.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                name = prefix + entry.name
                if _is_hidden(name):
                    continue
                if entry.is_symlink():
                    _check_link(root, name, suffixes)
                elif entry.is_dir():
                    folders.append(name + "/")
                elif entry.is_file() and _has_suffix(name, suffixes):
                    names.append(name)
    names.sort()

    def contents() -> Generator[Content, None, None]:
        for name in names:
            yield root / name

    return Collection(names, contents)


def _check_link(root: Path, name: str, suffixes: frozenset[str]) -> None:
    path = root / name
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a loop of links
        inside = False
    if not inside and (path.is_dir() or _has_suffix(name, suffixes)):
        raise DataError(
            f"{path} is a link that leads out of data.path: expected the file or folder itself"
        )


def _open_zip(path: Path, suffixes: frozenset[str]) -> Collection:
    members: dict[str, zipfile.ZipInfo] = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = _checked_name(path, info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            # Zero where the archive was made on a system without Unix file types.
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise _refused(path, info.filename, "is a link or a device")
            if info.is_dir() or not _is_wanted(name, suffixes):
                continue
            if info.flag_bits & 1:
                raise _refused(path, info.filename, "is encrypted")
            if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise _refused(path, info.filename, "is compressed by another method than deflate")
            if info.file_size > MAX_FILE_BYTES:
                raise _refused(path, info.filename, _too_large(info.file_size))
            if name in members:
                raise _refused(path, info.filename, "is there twice")
            members[name] = info
    names = sorted(members)

    def contents() -> Generator[Content, None, None]:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                try:
                    yield _read_member(archive, members[name])
                except _DAMAGE as error:
                    yield UnreadableError(f"damaged in the archive: {error}")

    return Collection(names, contents)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as file:
        # Given a length, no more than that is unpacked, whatever the header hides.
        content = file.read(info.file_size)
    if len(content) < info.file_size:
        raise EOFError("it is shorter than its header says")
    return content


class _Member(NamedTuple):
    name: str
    offset: int  # of the content in the tar, once that is decompressed
    size: int


def _open_tar(path: Path, suffixes: frozenset[str]) -> Collection:
    with _opened_tar(path) as (file, compressed):
        members = list(_list_tar(path, file, suffixes))
    by_name = sorted(members)
    for one, other in itertools.pairwise(by_name):
        if one.name == other.name:
            raise _refused(path, one.name, "is there twice")
    if not compressed:
        members = by_name

    def contents() -> Generator[Content, None, None]:
        try:
            with _opened_tar(path) as (file, _):
                for member in members:
                    file.seek(member.offset)
                    content = file.read(member.size)
                    if len(content) < member.size:
                        raise EOFError(f"it ends within {member.name}")
                    yield content
        except _DAMAGE as error:
            raise DataError(f"{path} is damaged: {error}") from error

    return Collection([member.name for member in members], contents)


def _list_tar(path: Path, file: IO[bytes], suffixes: frozenset[str]) -> Iterator[_Member]:
    headers = _Headers(file)
    with tarfile.open(fileobj=cast("IO[bytes]", headers), mode="r:") as archive:
        while (info := archive.next()) is not None:
            # It would keep them all.
            archive.members = []  # type: ignore[attr-defined]
            name = _checked_name(path, info.name)
            if not (info.isdir() or info.isreg()) or info.issparse():
                raise _refused(path, info.name, "is not a plain file: a link, device or the like")
            if info.isdir() or not _is_wanted(name, suffixes):
                continue
            if info.size > MAX_FILE_BYTES:
                raise _refused(path, info.name, _too_large(info.size))
            yield _Member(name, info.offset_data, info.size)
    # A damaged or missing header ends the list of tarfile just as the end mark does.
    if headers.last != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it is truncated, or a header is damaged")
    # To the end, where compressed formats keep their checksums.
    while file.read(1 << 20):
        pass


class _Headers:
    """The file that tarfile reads headers from: remembers the last one and bounds their size."""

    def __init__(self, file: IO[bytes]) -> None:
        self.last = b""
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes is beyond sense")
        self.last = self._file.read(size)
        return self.last


@contextlib.contextmanager
def _opened_tar(path: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """The decompressed content of a tar, and whether it was compressed."""
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        start = file.read(6)
        file.seek(0)
        for magic, unpack in _COMPRESSIONS.items():
            if start.startswith(magic):
                yield stack.enter_context(unpack(file)), True
                return
        yield file, False


def _checked_name(archive: Path, name: str) -> str:
    """The name of a member in normal form; raises if it would lead out of the archive."""
    # Archives made on Windows may separate by backslashes.
    path = name.replace("\\", "/")
    if path.startswith("/") or re.match("[A-Za-z]:", path):
        raise _refused(archive, name, "has an absolute path")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise _refused(archive, name, "leads out of the archive by '..'")
    return "/".join(parts)


def _is_wanted(name: str, suffixes: frozenset[str]) -> bool:
    return _has_suffix(name, suffixes) and not any(map(_is_hidden, name.split("/")))


def _is_hidden(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.startswith(".") or last == "__MACOSX"


def _has_suffix(name: str, suffixes: frozenset[str]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes  # noqa: PTH122 - called for every file


def _too_large(size: int) -> str:
    return f"has {size} bytes, more than the {MAX_FILE_BYTES} that are read"


def _refused(archive: Path, member: str, reason: str) -> DataError:
    return DataError(f"{archive} is refused: its member {member!r} {reason}")
