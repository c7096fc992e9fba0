"""Arrays in NumPy's format, `.npy`, read as a stream: from a file, or from a member of a `.npz`.

`numpy.load` would read a member of a `.npz` whole, and a memory map dies by a signal where a file
ends before its header says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gan import npy_file
from gan.errors import DataError, reading, shown

EXPECTED = "an array of numbers or text in NumPy's format, not of objects or records"
# Beyond these a header is taken for damage.
MAX_COUNT = 100_000_000
MAX_LENGTH = 1 << 20
BLOCK_BYTES = 1 << 22


class Header(NamedTuple):
    """What an array is, its elements in C order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # at least one axis

    @property
    def rows(self) -> int:
        """The length of the first axis."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def read_header(file: IO[bytes], name: str) -> Header:
    """The header of the array in `file`, which then stands at the first element.

    Args:
        file: at the start of the array.
        name: of the array, for messages.

    Raises:
        DataError: no array, damaged, of Python objects or of records, without axes, in the order
            of Fortran, or of lengths beyond sense.
    """
    with reading(name, EXPECTED):
        found = npy_file.read_header(file)
    return _checked(name, found)


def read_rows(
    file: IO[bytes], header: Header, name: str, block_bytes: int = BLOCK_BYTES
) -> Iterator[npt.NDArray[Any]]:
    """Blocks of consecutive rows, `[B, *header.shape[1:]]`, from where `read_header` left `file`.

    Raises:
        DataError: the file ends before its header says so, goes on, or cannot be read.
    """
    at_once = max(1, block_bytes // max(1, header.row_bytes))
    done = 0
    while done < header.rows:
        count = min(at_once, header.rows - done)
        with reading(name, EXPECTED):
            content = file.read(count * header.row_bytes)
        if len(content) < count * header.row_bytes:
            raise DataError(
                f"{shown(name)} is truncated: its header says {header.rows} rows, but it holds "
                f"{done + len(content) // header.row_bytes}"
            )
        yield np.frombuffer(content, header.dtype).reshape(count, *header.shape[1:])
        done += count
    with reading(name, EXPECTED):
        more = file.read(1)
    if more:
        raise DataError(f"{shown(name)} goes on after the {header.rows} rows that its header says")


def _checked(name: str, found: npy_file.Header) -> Header:
    dtype, lengths = found.dtype, found.shape
    if not lengths:
        raise DataError(f"{shown(name)} is a single number: expected an array with axes")
    if found.fortran and len(lengths) > 1:
        raise DataError(
            f"{shown(name)} is stored in the order of Fortran: expected that of C, as "
            "numpy.save(…, numpy.ascontiguousarray(array)) writes it"
        )
    if not 1 <= lengths[0] <= MAX_COUNT or not all(
        1 <= length <= MAX_LENGTH for length in lengths[1:]
    ):
        raise DataError(
            f"{shown(name)} has the shape {shown(list(lengths))}: expected 1 to {MAX_COUNT} rows"
        )
    header = Header(dtype, lengths)
    if not 1 <= header.row_bytes <= 1 << 30:
        raise DataError(
            f"{shown(name)} has {header.row_bytes} bytes a row: expected 1 to {1 << 30}"
        )
    return header
