"""The entries of an LMDB. A process of its own imports this: no torch, no pydantic."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gan.errors import DataError, reading, shown
from gan.preparation.extras import need
from gan.preparation.listing import MAX_FILE_BYTES

DATA = "data.mdb"
EXPECTED = "an LMDB of image files, or a folder of such, named like bedroom_train_lmdb"
# Of what travels to the main process at once.
BLOCK_ENTRIES = 64
BLOCK_BYTES = 1 << 21


def count_entries(path: Path) -> Iterator[int]:
    """How many entries there are."""
    with _opened(path) as opened, reading(path, EXPECTED):
        yield int(opened.stat()["entries"])


def read_entries(path: Path) -> Iterator[list[tuple[bytes, bytes | int]]]:
    """Keys and values, some at once; of a value that is too large how large it is."""
    with _opened(path) as opened, reading(path, EXPECTED), opened.begin(buffers=True) as reader:
        block: list[tuple[bytes, bytes | int]] = []
        size = 0
        for key, value in reader.cursor():
            large = len(value) > MAX_FILE_BYTES
            block.append((bytes(key), len(value) if large else bytes(value)))
            size += 0 if large else len(value)
            if len(block) == BLOCK_ENTRIES or size >= BLOCK_BYTES:
                yield block
                block, size = [], 0
        yield block


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An environment for reading alone, that no lock is written to."""
    lmdb = need("lmdb", "lmdb", "data.name lmdb")
    with reading(path, EXPECTED):
        try:
            environment = lmdb.open(
                os.fspath(path), subdir=path.is_dir(), create=False, readonly=True, lock=False,
                readahead=False, meminit=False, max_readers=1,
            )  # fmt: skip
        except lmdb.Error as error:
            raise DataError(
                f"{shown(path)} is no LMDB, or damaged: {shown(str(error))}; expected {EXPECTED}"
            ) from None
    with contextlib.closing(environment):
        file = path / DATA if path.is_dir() else path
        with reading(file, EXPECTED):
            # It is mapped into memory, where what is missing would end this process.
            pages = environment.info()["last_pgno"] + 1
            expected, found = pages * environment.stat()["psize"], file.stat().st_size
        if found < expected:
            raise DataError(
                f"{shown(file)} is truncated: it has {found} bytes, expected {expected} or more"
            )
        yield environment
