import contextlib
import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.errors import DataError
from gan.preparation.npy import Header, read_header, read_rows


def saved(array: Any, version: tuple[int, int] | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    if version is None:
        np.save(file, array, **options)
    else:
        np.lib.format.write_array(file, array, version)
    return file.getvalue()


def with_header(text: bytes, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def read(content: bytes, block_bytes: int = 64) -> tuple[Header, Any]:
    file = io.BytesIO(content)
    header = read_header(file, "a.npy")
    blocks = list(read_rows(file, header, "a.npy", block_bytes))
    assert all(block.nbytes <= max(block_bytes, header.row_bytes) for block in blocks)
    return header, np.concatenate(blocks)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">f4", "f8", "U3", "S2", "?"])
def test_rows_in_blocks(version: tuple[int, int], dtype: str) -> None:
    array = np.arange(60).reshape(10, 2, 3).astype(dtype)
    header, found = read(saved(array, version))
    assert (header.shape, header.dtype, header.rows) == ((10, 2, 3), array.dtype, 10)
    assert np.array_equal(found, array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin as a .npy file"),
        (b"\x89PNG\r\n\x1a\n", "does not begin as a .npy file"),
        (b"\x93NUMPY\x03\x00" + bytes(20), "header is none of a plain array"),
        (b"\x93NUMPY\x01\x00\x05", "damaged or foreign"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31), "header has 2147483648 bytes"),
        (with_header(b"{'descr': open('x')}\n"), "damaged or foreign"),
        (with_header(b"(" * 5000 + b"\n"), "header has 5001 bytes"),
        (with_header(b"-" * 4000), "header is none of a plain array"),
        (with_header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (-4, 2), }\n"),
         "header is none of a plain array"),
        (with_header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (9, 0), }\n"),
         "has the shape \\[9, 0\\]"),
        (with_header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (" + b"9" * 30 + b",)}\n"),
         "header is none of a plain array"),
        (with_header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (1,1048576,1048576), }\n"),
         "has 1099511627776 bytes a row"),
        (saved(np.float64(3.0)), "is a single number"),
        (saved(np.zeros((0, 3))), "has the shape \\[0, 3\\]"),
        (saved(np.array([{}, None]), allow_pickle=True), "not of objects or records"),
        (saved(np.zeros(2, [("x", "u1"), ("y", "u1")])), "not of objects or records"),
        (saved(np.zeros((2, 3, 4)).T), "stored in the order of Fortran"),
        (saved(np.zeros((4, 2), np.uint8))[:-3], "its header says 4 rows, but it holds 2"),
        (saved(np.zeros((4, 2), np.uint8)) + b"x", "goes on after the 4 rows"),
    ],
)  # fmt: skip
def test_what_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(content)
    assert "a.npy" in str(caught.value)


@settings(max_examples=300)
@given(st.data())
def test_damage_is_refused_or_read(data: st.DataObject) -> None:
    content = bytearray(saved(np.arange(12, dtype=np.uint8).reshape(4, 3)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataError):
        header, found = read(bytes(content))
        assert found.shape == header.shape
