"""Arrays in `.npy` files, mapped into memory.

numpy takes a header for a literal of Python, and what its parser raises over one that is none is
anything from SyntaxError to MemoryError. Here a header is read as numpy writes it, or refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gan.errors import DataError, UserError, reading
from gan.files import open_plain

_MAGIC = b"\x93NUMPY"
# By version: bytes of the header's length, which comes before the header.
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
_MOST_HEADER_BYTES = 4096
_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[<>|=][biufcSU]\d{1,3})', 'fortran_order': (?P<fortran>False|True), "
    rb"'shape': \((?P<shape>(?:\d{1,18}(?:, ?|(?=\))))*)\), ?\} *\n?"
)


class Header(NamedTuple):
    """What the header of a `.npy` file says, and how many bytes of the file it takes."""

    dtype: np.dtype[Any]
    fortran: bool
    shape: tuple[int, ...]
    size: int

    def __str__(self) -> str:
        order = " in Fortran's order" if self.fortran and len(self.shape) > 1 else ""
        return f"{self.dtype} {list(self.shape)}{order}"


def read_header(file: IO[bytes]) -> Header:
    """The header that `file` begins with.

    Raises:
        ValueError: it is none; says why.
    """
    start = file.read(len(_MAGIC) + 2)
    if len(start) < len(_MAGIC) + 2 or not start.startswith(_MAGIC):
        raise ValueError("it does not begin as a .npy file does")
    version = (start[-2], start[-1])
    if version not in _LENGTH_BYTES:
        raise ValueError(f"its format version is {version[0]}.{version[1]}")
    width = _LENGTH_BYTES[version]
    length = int.from_bytes(file.read(width), "little")
    if length > _MOST_HEADER_BYTES:
        raise ValueError(f"its header has {length} bytes, more than {_MOST_HEADER_BYTES}")
    text = file.read(length)
    match = _HEADER.fullmatch(text)
    if len(text) < length or match is None:
        raise ValueError("its header is none of a plain array")
    try:
        dtype = np.dtype(match["dtype"].decode())
    except TypeError as error:
        raise ValueError(str(error)) from None
    return Header(
        dtype,
        match["fortran"] == b"True",
        tuple(int(each) for each in match["shape"].replace(b" ", b"").split(b",") if each),
        len(start) + width + length,
    )


def map_array(
    path: Path,
    expected: str,
    *,
    dtypes: Collection[str],
    ndim: int,
    kind: type[UserError] = DataError,
) -> npt.NDArray[Any]:
    """The array in the file at `path`, mapped: what is written to it never reaches the file.

    Args:
        path: of a plain file.
        expected: what it should be, with its article, for messages.
        dtypes: as headers spell them, `<f4` for example; one of these.
        ndim: how many dimensions.
        kind: what is raised.

    Raises:
        UserError: of class `kind`: the file is missing, cannot be read, is no `.npy` file, has
            another dtype, number of dimensions or order than C's, or is shorter or longer than its
            header says; names it.
    """
    wanted = [np.dtype(each) for each in dtypes]
    with reading(path, expected, kind):
        with open_plain(path) as file:
            header = read_header(file)
            found = file.seek(0, 2)
        if header.dtype not in wanted or len(header.shape) != ndim or header.fortran:
            names = " or ".join(str(each) for each in wanted)
            raise ValueError(f"it holds {header}, not {names} in {ndim} dimensions")
        size = header.size + math.prod(header.shape) * header.dtype.itemsize
        if found != size:
            raise ValueError(f"it has {found} bytes, but holds {header} by its header: {size}")
        return np.memmap(path, header.dtype, "c", header.size, header.shape)


def describe(path: Path) -> str:
    """What the `.npy` file at `path` says that it holds, for a message."""
    try:
        with open_plain(path) as file:
            return str(read_header(file))
    except (OSError, ValueError):
        return "no whole .npy file"
