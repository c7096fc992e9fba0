import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.errors import DataError, StateError
from gan.npy_file import describe, map_array

DTYPES = ("|u1", "<f4", "<i8", "<u2", ">f8", "|b1")


def with_header(text: str, version: bytes = b"\x01\x00", data: bytes = bytes(64)) -> bytes:
    header = text.encode("latin-1")
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=4))
def test_what_numpy_writes_is_mapped(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, shape: list[int]
):
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    np.save(path, array)
    found = map_array(path, "an array", dtypes=DTYPES, ndim=len(shape))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)
    assert describe(path) == f"{array.dtype} {list(array.shape)}"


def test_what_is_written_to_the_map_stays_there(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros(5, np.uint8))
    before = (tmp_path / "a.npy").read_bytes()
    map_array(tmp_path / "a.npy", "an array", dtypes=["|u1"], ndim=1)[:] = 7
    assert (tmp_path / "a.npy").read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1+1",
        "(" * 200 + ")" * 200,
        "[" * 3000,
        "-" * 3000 + "1",
        "'\x00",
        "{'descr': '<f4'",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f3', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1+1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 2, }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}",
    ],
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "a.npy"
    path.write_bytes(with_header(text))
    with pytest.raises(DataError, match=r"a.npy is damaged or foreign, expected points; run it: "):
        map_array(path, "points; run it", dtypes=["<f4"], ndim=1)
    assert describe(path) == "no whole .npy file"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin as a .npy file does"),
        (b"\x93NUMPY", "does not begin as a .npy file does"),
        (b"PK\x03\x04" + bytes(100), "does not begin as a .npy file does"),
        (with_header("", b"\x09\x00"), "its format version is 9.0"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{", "its header has 2147483647 bytes, more than 4096"),
        (b"\x93NUMPY\x01\x00\x80\x00{'descr'", "its header is none of a plain array"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(StateError, match=message):
        map_array(tmp_path / "a.npy", "x", dtypes=["<f4"], ndim=1, kind=StateError)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3), np.float64), r"it holds float64 \[2, 3\], not float32 in 2 dimensions"),
        (np.zeros((2, 3), ">f4"), r"it holds >f4 \[2, 3\], not float32"),
        (np.zeros(3, np.float32), r"it holds float32 \[3\], not float32 in 2 dimensions"),
        (np.zeros((3, 2), np.float32).T, r"it holds float32 \[2, 3\] in Fortran's order, not"),
    ],
)
def test_another_array_is_refused(tmp_path: Path, array: np.ndarray, message: str):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        map_array(tmp_path / "a.npy", "points", dtypes=["<f4"], ndim=2)


@pytest.mark.parametrize("change", [-1, 1, -24])
def test_another_length_is_refused(tmp_path: Path, change: int):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    os.truncate(tmp_path / "a.npy", 152 + change)
    with pytest.raises(DataError, match=rf"has {152 + change} bytes, but holds .* header: 152"):
        map_array(tmp_path / "a.npy", "points", dtypes=["<f4"], ndim=2)


def test_a_shape_beyond_memory_takes_none(tmp_path: Path):
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999999999, 9), }"
    (tmp_path / "a.npy").write_bytes(with_header(text))
    with pytest.raises(DataError, match="has 150 bytes, but holds"):
        map_array(tmp_path / "a.npy", "points", dtypes=["<f4"], ndim=2)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"cannot read .*a.npy: it is no plain file"):
        map_array(tmp_path / "a.npy", "points", dtypes=["<f4"], ndim=2)
    assert describe(tmp_path / "a.npy") == "no whole .npy file"
