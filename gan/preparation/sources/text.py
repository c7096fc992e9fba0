"""Text in UTF-8: a file, plain or gzip, or a folder of `.txt` and `.txt.gz`, however deep."""

from __future__ import annotations

import codecs
import contextlib
import functools
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from gan.config import DataConfig
from gan.errors import DataError
from gan.preparation.archives import open_collection
from gan.preparation.sources import Source
from gan.preparation.text import Text, text_source

PIECE_BYTES = 1 << 20
_SUFFIXES = (".txt", ".txt.gz")
_GZIP = b"\x1f\x8b"  # no text begins so: the second byte is never the first of a character
_BYTE_ORDER_MARK = "\ufeff"


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The text at `config.path`, read once to count its characters.

    A folder is read in the order of its files' names, links and hidden files as for images. Nothing
    is decoded elsewhere, so `workers` is not used.

    Raises:
        DataError: the path is missing, holds no text, or a file cannot be read or is not UTF-8;
            names the file, and the offset of the first byte that is wrong.
    """
    path = Path(config.path)
    if path.is_dir():
        names = open_collection(path, frozenset({".txt", ".gz"}), links=config.links).names
        names = [name for name in names if name.lower().endswith(_SUFFIXES)]
        if not names:
            raise DataError(f"data.path {path} holds no text: expected .txt or .txt.gz files")
        texts = [Text(name, functools.partial(read_utf8, path / name)) for name in names]
    elif path.exists():
        # Not by its name, which may change where the text does not.
        texts = [Text("text", functools.partial(read_utf8, path))]
    else:
        raise DataError(f"data.path {path} does not exist: expected a text file, or a folder")
    return text_source(texts, config, f"data.path {path}")


def read_utf8(path: Path) -> Iterator[str]:
    """The text of a file, piece by piece, without a byte order mark; gzip is told by content.

    Raises:
        DataError: it cannot be read, is a damaged gzip, or is not UTF-8: names the file and where
            the first wrong byte lies, in what the file unpacks to if it is gzip.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    try:
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(path.open("rb"))
            packed = plain.peek(len(_GZIP)).startswith(_GZIP)
            file = stack.enter_context(gzip.GzipFile(fileobj=plain)) if packed else plain
            while True:
                content = file.read(PIECE_BYTES)
                pending = len(decoder.getstate()[0])
                piece = decoder.decode(content, final=not content)
                if read == 0:
                    piece = piece.removeprefix(_BYTE_ORDER_MARK)
                if piece:
                    yield piece
                if not content:
                    return
                read += len(content)
    except UnicodeDecodeError as error:
        unpacked = " of what it unpacks to" if packed else ""
        raise DataError(
            f"{path} is not UTF-8: {error.reason} at byte offset {read - pending + error.start}"
            f"{unpacked}"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path}: {reason}") from error
