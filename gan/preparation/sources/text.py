"""Text in UTF-8: a file, plain or gzip, or a folder of `.txt` and `.txt.gz`, however deep."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import functools
import gzip
import shlex
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from gan.config import DataConfig
from gan.errors import DataError, shown
from gan.preparation.archives import open_collection
from gan.preparation.encodings import (
    HEAD_BYTES,
    byte_order_mark,
    escapes_to_japanese,
    foreign_format,
    guess_encoding,
    utf16_without_mark,
)
from gan.preparation.listing import by_ending
from gan.preparation.sources import Source, passed_over_text
from gan.preparation.text import Text, text_source

PIECE_BYTES = 1 << 20
_SUFFIXES = (".txt", ".txt.gz")
_GZIP = b"\x1f\x8b"  # no text begins so: the second byte is never the first of a character
_BYTE_ORDER_MARK = "\ufeff"
_COMMAND_CHARACTERS = 1000


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The text at `config.path`, read once to count its characters.

    A folder is read in the order of its files' names, links and hidden files as for images. Nothing
    is decoded elsewhere, so `workers` is not used.

    Raises:
        DataError: the path is missing, holds no text, or a file cannot be read or is not UTF-8;
            names the file, and the offset of the first byte that is wrong.
    """
    path = Path(config.path)
    passed_over: dict[str, int] = {}
    if path.is_dir():
        collection = open_collection(path, frozenset({".txt", ".gz"}), links=config.links)
        names = [name for name in collection.names if name.lower().endswith(_SUFFIXES)]
        counted = Counter(collection.passed_over)
        counted[".gz"] += len(collection.names) - len(names)  # of other files than texts
        passed_over = by_ending(+counted)
        if not names:
            others = passed_over_text(passed_over)
            raise DataError(
                f"data.path {shown(path)} holds no text: expected .txt or .txt.gz files"
                + (f"; passed over: {others}" if others else "")
            )
        texts = [Text(name, functools.partial(read_utf8, path / name)) for name in names]
    elif path.is_file():
        # Not by its name, which may change where the text does not.
        texts = [Text("text", functools.partial(read_utf8, path))]
    elif path.exists():
        # A pipe would be waited for, and could not be read twice.
        raise DataError(f"data.path {shown(path)} is neither a file nor a folder: expected one")
    else:
        raise DataError(
            f"data.path {shown(path)} does not exist: expected a text file, or a folder"
        )
    source = text_source(texts, config, f"data.path {shown(path)}")
    return dataclasses.replace(source, passed_over=passed_over)


def read_utf8(path: Path) -> Iterator[str]:
    """The text of a file, piece by piece, without a byte order mark; gzip is told by content.

    Raises:
        DataError: it cannot be read, is a damaged gzip, or is not UTF-8: names the file, where
            the first wrong byte lies, in what the file unpacks to if it is gzip, what the file
            seems to be instead, and how to make UTF-8 of it.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    read, packed = 0, False
    try:
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(path.open("rb"))
            packed = plain.peek(len(_GZIP)).startswith(_GZIP)
            file = stack.enter_context(gzip.GzipFile(fileobj=plain)) if packed else plain
            while True:
                content = file.read(PIECE_BYTES)
                if read == 0:
                    _check_format(content[:HEAD_BYTES], path, packed)
                pending = len(decoder.getstate()[0])
                piece = decoder.decode(content, final=not content)
                if "\0" in piece:
                    _refuse_nul(content, read, path, packed)
                if read == 0:
                    piece = piece.removeprefix(_BYTE_ORDER_MARK)
                if piece:
                    yield piece
                if not content:
                    return
                read += len(content)
    except UnicodeDecodeError as error:
        _refuse_bytes(error, read - pending + error.start, path, packed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{shown(path)} is a damaged or incomplete gzip file: {shown(error)}"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {shown(path)}: {error.strerror or error}") from error


def _check_format(head: bytes, path: Path, packed: bool) -> None:
    """Raise DataError if what begins with `head` says itself that it is something else."""
    found = "unpacks to" if packed else "is"
    marked, by = byte_order_mark(head), "byte order mark"
    if not marked and escapes_to_japanese(head):
        marked, by = "ISO-2022-JP", "escapes"
    if marked:
        raise DataError(
            f"{shown(path)} {found} {marked}, by its {by}: expected UTF-8; to convert "
            f"it: {_conversion(marked, path, packed)}"
        )
    foreign = foreign_format(head)
    if foreign:
        raise DataError(
            f"{shown(path)} {found} {foreign.what}: expected plain text in UTF-8; {foreign.remedy}"
        )


def _refuse_nul(content: bytes, read: int, path: Path, packed: bool) -> NoReturn:
    encoding = utf16_without_mark(content)
    if encoding:
        reason = f"it seems to be {encoding}; to convert it: {_conversion(encoding, path, packed)}"
    else:
        reason = "expected text in UTF-8, which has none; it may be binary data"
    raise DataError(
        f"{shown(path)} has a NUL byte at byte offset {read + content.index(0)}"
        f"{_unpacked(packed)}: {reason}"
    )


def _refuse_bytes(error: UnicodeDecodeError, offset: int, path: Path, packed: bool) -> NoReturn:
    encoding = guess_encoding(error.object, error.start)
    if encoding == "UTF-8":
        hint = "most of it is, so it may be damaged there"
    elif encoding:
        hint = f"it may be {encoding}; to convert it: {_conversion(encoding, path, packed)}"
    else:
        known = _conversion("ITS_ENCODING", path, packed)
        hint = f"if it is text of another encoding, convert it: {known}"
    raise DataError(
        f"{shown(path)} is not UTF-8: {error.reason} at byte offset {offset}{_unpacked(packed)}; "
        f"{hint}"
    ) from None


def _unpacked(packed: bool) -> str:
    return " of what it unpacks to" if packed else ""


def _conversion(encoding: str, path: Path, packed: bool) -> str:
    """A command line that makes UTF-8 of the file."""
    stem = path.name.removesuffix(".gz").removesuffix(".txt")
    names = (str(path), f"{stem}-utf8.txt")
    # Longer than names in messages are elsewhere: one wants to copy it.
    given, made = (shown(shlex.quote(each), _COMMAND_CHARACTERS) for each in names)
    if packed:
        return f"gzip -dc {given} | iconv -f {encoding} -t UTF-8 > {made}"
    return f"iconv -f {encoding} -t UTF-8 {given} > {made}"
