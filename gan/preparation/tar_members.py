"""The members of a tar, read forwards from one header to the next.

`tarfile` understands single headers here but does not walk from one to the other: over a hostile
archive its own walk goes back to where it was, for ever (CVE-2025-8194), or takes time and memory
that grow with the square of a header's length.
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple

# Names in the headers of an archive are read whole; longer ones are an attack on memory.
MAX_HEADER_BYTES = 1 << 20

_BLOCK = tarfile.BLOCKSIZE
_FOLDER = tarfile.DIRTYPE
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, _FOLDER)
_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_ENCODING = ("utf-8", "surrogateescape")


class TarError(Exception):
    """What is wrong with the archive; the message says it without the archive's name."""


class Member(NamedTuple):
    """A file or folder of the archive."""

    name: str  # as it stands there
    offset: int  # of the content in the decompressed tar
    size: int
    is_folder: bool
    refusal: str  # why it is not to be read, or nothing


def members(file: IO[bytes]) -> Iterator[Member]:
    """The members of the tar `file`, at its beginning and already decompressed.

    Between two members the file may be read at will as long as it is not left behind the end of
    the last one's content: a compressed tar cannot go back. Archives that were put one behind the
    other are one archive.

    Raises:
        TarError: a header is damaged, or the tar ends before its end mark.
    """
    offset, ended, names = 0, False, _Names()
    while True:
        if file.tell() != offset:
            file.seek(offset)
        block = file.read(_BLOCK)
        offset += len(block)
        if not block and ended:
            return
        if len(block) < _BLOCK:
            if ended:
                return  # what fills up the last record
            raise TarError("it is truncated")
        if block.count(0) == _BLOCK:
            ended = True
            continue
        try:
            info = tarfile.TarInfo.frombuf(block, *_ENCODING)
        except tarfile.HeaderError as error:
            if ended:
                # Not an archive behind the end mark, but what lay in the writer's memory.
                _read_to_end(file)
                return
            raise TarError(f"a header is damaged: {error}") from None
        if info.size < 0:
            raise TarError(f"a header says a size of {info.size}")
        if info.type in (tarfile.XGLTYPE, *_PAX, *_LONG):
            offset = names.read(file, info, offset)
            ended = False
            continue
        name, size, refusal = names.of(info)
        is_folder = info.type == _FOLDER
        if info.type not in _PLAIN:
            refusal = "is not a plain file: a link, device or the like"
        ended = False
        yield Member(name, offset, size, is_folder, refusal)
        if not is_folder:
            offset += -(-size // _BLOCK) * _BLOCK
            if offset > sys.maxsize:
                raise TarError(f"a header says a size of {size}")


class _Names:
    """What headers before that of a member say about it."""

    def __init__(self) -> None:
        self._long: bytes | None = None
        self._pax: dict[bytes, bytes] = {}

    def read(self, file: IO[bytes], info: tarfile.TarInfo, offset: int) -> int:
        """Read the content of such a header, which begins at `offset`; says where it ends."""
        if info.size > MAX_HEADER_BYTES:
            raise TarError(f"a header of {info.size} bytes is beyond sense")
        length = -(-info.size // _BLOCK) * _BLOCK
        content = file.read(length)
        if len(content) < length:
            raise TarError("it ends within a header")
        content = content[: info.size]
        if info.type == tarfile.GNUTYPE_LONGNAME:
            self._long = content.partition(b"\0")[0]
        elif info.type != tarfile.GNUTYPE_LONGLINK:
            records = dict(_records(content))
            if info.type != tarfile.XGLTYPE:
                self._pax.update(records)
            elif records.keys() & {b"path", b"size"}:
                raise TarError("a header gives all members the same name or size")
        return offset + length

    def of(self, info: tarfile.TarInfo) -> tuple[str, int, str]:
        """Name and size of the member `info`, and why it is refused or nothing; then forgets."""
        name, size = info.name, info.size
        if self._long is not None:
            name = self._long.decode(*_ENCODING)
        if b"path" in self._pax:
            name = self._pax[b"path"].decode(*_ENCODING)
        if b"size" in self._pax:
            digits = self._pax[b"size"]
            if not (digits.isdigit() and len(digits) < 20):
                raise TarError("a header says a size that is no number")
            size = int(digits)
        sparse = any(key.startswith(b"GNU.sparse.") for key in self._pax)
        self._long, self._pax = None, {}
        return name, size, "is a sparse file" if sparse else ""


def _records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a pax header: `length key=value`, each with an end of line."""
    start = 0
    while start < len(content):
        digits, _, _ = content[start : start + 9].partition(b" ")
        end = start + int(digits) if digits.isdigit() and len(digits) < 9 else 0
        key, equals, value = content[start + len(digits) + 1 : end].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(content):
            raise TarError("a header with a long name or the like is damaged")
        yield key, value[:-1]
        start = end


def _read_to_end(file: IO[bytes]) -> None:
    """To the end, where compressed formats keep their checksums."""
    while file.read(1 << 20):
        pass
