"""Files of some kinds in a folder or an archive, listed safely and read without extraction.

Memory holds a name and two numbers a file, never more than one content of an archive at a time.
What is hidden, and what systems leave behind, is passed over; files of other kinds are counted.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import itertools
import lzma
import re
import stat
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from gan.errors import DataError, UserError, reading, shown
from gan.files import open_plain
from gan.preparation import listing, tar_members
from gan.preparation.folders import Links, open_folder
from gan.preparation.listing import (
    Collection,
    Content,
    Sorter,
    UnreadableError,
    Wanted,
    is_debris,
    refused,
    too_large,
)
from gan.preparation.zip_names import UnknownCodePageError, name_of
from gan.preparation.zstd import MAGIC, open_zstd

_TAR_NAME = re.compile(
    r".*\.(tar(\.(gz|bz2|xz|zst))?|tgz|tbz2?|txz|tzst)", re.IGNORECASE | re.DOTALL
)
_COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    MAGIC: open_zstd,
}


def open_collection(
    path: Path,
    wanted: Wanted | frozenset[str],
    *,
    links: Links = "follow",
    zip_names: str = "",
) -> Collection:
    """List the files under `path` that are `wanted`.

    Folders, `.zip` and uncompressed `.tar` are read in the order of the sorted names. A compressed
    tar can only be read forwards, so its files come in the order of the archive.

    Args:
        path: folder or archive.
        wanted: which files; endings alone list those that have one of them.
        links: what is done about symbolic links within a folder; see `folders.open_folder`.
        zip_names: code page of names in a zip that are not UTF-8; see `zip_names.name_of`.

    Raises:
        DataError: `path` is missing, is neither a folder nor an archive, or the archive is damaged
            or has a member that is refused: an absolute path, `..`, a link, a device, encrypted,
            twice the same name, or more than `listing.MAX_FILE_BYTES`. Names the member.
    """
    with reading(path, "a folder, .zip or .tar"):
        if not path.exists():
            raise DataError(
                f"data.path {shown(path)} does not exist: expected a folder, .zip or .tar"
            )
        is_folder = path.is_dir()
    sorter = Sorter(Wanted(wanted) if isinstance(wanted, frozenset) else wanted)
    if is_folder:
        try:
            return open_folder(path, sorter, links)
        except OSError as error:
            place = shown(error.filename or path)
            raise DataError(f"cannot read {place}: {error.strerror or error}") from error
    if path.suffix.lower() == ".zip":
        with _reading(path):
            return _open_zip(path, sorter, zip_names)
    if _TAR_NAME.fullmatch(path.name):
        with _reading(path):
            return _open_tar(path, sorter)
    raise DataError(
        f"data.path {shown(path)} is a file: expected a folder, .zip, .tar, .tar.gz, .tar.bz2, "
        ".tar.xz or .tar.zst"
    )


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """`gan.errors.reading` of an archive, where damage may come as an error of the system, too."""
    with reading(path, "a .zip or .tar that is whole"):
        try:
            yield
        except OSError as error:
            if error.errno is None:  # raised by a decompressor
                raise EOFError(str(error)) from error
            raise


def _open_zip(path: Path, sorter: Sorter, zip_names: str) -> Collection:
    # Of each its place in the directory and in the archive: all that is said there takes ten times
    # the memory, and is read again with the contents.
    members: dict[str, tuple[int, int]] = {}
    aside: dict[str, bytes] = {}
    with open_plain(path) as file, zipfile.ZipFile(file) as archive:
        for place, info in enumerate(archive.infolist()):
            name = _checked_name(path, info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            # Zero where the archive was made on a system without Unix file types.
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise refused(path, info.filename, "is a link or a device")
            if info.is_dir() or _in_debris(name):
                continue
            is_aside = sorter.is_aside(name)
            if not sorter.is_listed(name) and not is_aside:
                sorter.pass_over(name)
                continue
            name = _told_name(path, info, zip_names)
            if info.flag_bits & 1:
                raise refused(path, name, "is encrypted")
            if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise refused(path, name, "is compressed by another method than deflate")
            if info.file_size > listing.MAX_FILE_BYTES:
                raise refused(path, name, too_large(info.file_size))
            if name in members:
                raise refused(path, name, "is there twice")
            if is_aside:
                aside[name] = _read_member(archive, info)
            else:
                members[name] = place, info.header_offset
    names = sorted(members)

    def read(places: Sequence[int]) -> Generator[Content, None, None]:
        with _reading(path), open_plain(path) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            for place in places:
                at, offset = members[names[place]]
                if at >= len(infos) or infos[at].header_offset != offset:
                    raise EOFError("it was changed while it was read")
                yield _read_or_tell(archive, infos[at])

    return Collection(names, read, aside, sorter.passed_over())


def _told_name(path: Path, info: zipfile.ZipInfo, zip_names: str) -> str:
    try:
        # Checked once more: another code page may have another sign for a byte.
        return _checked_name(path, name_of(info, zip_names))
    except UnknownCodePageError as error:
        raise refused(path, info.filename, str(error)) from None


def _read_or_tell(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Content:
    try:
        return _read_member(archive, info)
    except (MemoryError, UserError):
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        return UnreadableError(f"damaged in the archive: {shown(error)}")
    except Exception as error:  # zipfile raises what it likes on damaged input
        return UnreadableError(f"damaged in the archive: {shown(error) or type(error).__name__}")


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


def _open_tar(path: Path, sorter: Sorter) -> Collection:
    aside: dict[str, bytes] = {}
    with _opened_tar(path) as (file, compressed):
        members = list(_list_tar(path, file, sorter, aside))
    by_name = sorted(members)
    for one, other in itertools.pairwise(by_name):
        if one.name == other.name:
            raise refused(path, one.name, "is there twice")
    if not compressed:
        members = by_name

    def read(places: Sequence[int]) -> Generator[Content, None, None]:
        with _reading(path), _opened_tar(path) as (file, _):
            for place in places:
                yield _read_at(file, members[place])

    return Collection([member.name for member in members], read, aside, sorter.passed_over())


def _list_tar(
    path: Path, file: IO[bytes], sorter: Sorter, aside: dict[str, bytes]
) -> Iterator[_Member]:
    for member in tar_members.members(file):
        name = _checked_name(path, member.name)
        if member.refusal:
            raise refused(path, member.name, member.refusal)
        if member.is_folder or _in_debris(name):
            continue
        is_aside = sorter.is_aside(name)
        if not sorter.is_listed(name) and not is_aside:
            sorter.pass_over(name)
            continue
        if member.size > listing.MAX_FILE_BYTES:
            raise refused(path, member.name, too_large(member.size))
        found = _Member(name, member.offset, member.size)
        if is_aside:
            if name in aside:
                raise refused(path, name, "is there twice")
            aside[name] = _read_at(file, found)
        else:
            yield found


def _read_at(file: IO[bytes], member: _Member) -> bytes:
    if file.tell() != member.offset:
        file.seek(member.offset)
    content = file.read(member.size)
    if len(content) < member.size:
        raise EOFError(f"it ends within {shown(member.name)}")
    return content


@contextlib.contextmanager
def _opened_tar(path: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """The decompressed content of a tar, and whether it was compressed."""
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(open_plain(path))
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
        raise refused(archive, name, "has an absolute path")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise refused(archive, name, "leads out of the archive by '..'")
    return "/".join(parts)


def _in_debris(name: str) -> bool:
    return any(map(is_debris, name.split("/")))
