"""What a pickle may hold, and that nothing in it runs."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.errors import DataError
from gan.preparation.unpickle import load_pickle


def python_2(value: Any) -> bytes:
    """A pickle as Python 2 writes it, protocol 2: CIFAR's own files have this form."""
    return b"\x80\x02" + _python_2(value) + b"."


def _python_2(value: Any) -> bytes:
    if isinstance(value, bytes):
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_python_2, value)) + b"e"
    if isinstance(value, dict):
        items = (_python_2(key) + _python_2(each) for key, each in value.items())
        return b"}(" + b"".join(items) + b"u"
    shape = b"(" + b"".join(map(_python_2, value.shape)) + b"t"
    minus_one = b"J\xff\xff\xff\xff"
    state = b"(K\x03U\x01|NNN" + 2 * minus_one + b"K\x00tb"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR" + state
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        + b"(K\x01" + shape + dtype + b"\x89" + _python_2(value.tobytes()) + b"tb"
    )  # fmt: skip


BATCH = {
    b"batch_label": b"training batch 1 of 5",
    b"labels": [6, 9, 300],
    b"data": np.arange(3 * 200, dtype=np.uint8).reshape(3, 200),
    b"filenames": [b"leptodactylus_pentadactylus_s_000004.png", b"camion.png", b"x" * 300],
}


def assert_equal(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, each in expected.items():
            assert_equal(found[key], each)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == np.uint8
        assert np.array_equal(found, expected)
    else:
        assert found == expected


def test_pickles_of_python_2() -> None:
    content = python_2(BATCH)
    assert_equal(pickle.loads(content, encoding="bytes"), BATCH)  # the test's own writer is right
    assert_equal(load_pickle(content, "data_batch_1"), BATCH)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_python_3(protocol: int) -> None:
    content = pickle.dumps({**BATCH, "more": (None, True, "text", -(10**9))}, protocol)
    expected = {**BATCH, "more": (None, True, "text", -(10**9))}
    assert_equal(load_pickle(content, "test_batch"), expected)


def test_arrays_in_the_order_of_fortran() -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    for protocol in (2, 5):
        assert_equal(load_pickle(pickle.dumps(array, protocol), "data"), np.array(array))


class Attack:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


MEMO = b"\x80\x02]r" + struct.pack("<I", 1 << 31) + b"."
LISTS = b"\x80\x02](K\x01K\x01K\x01K\x01eq\x00" + b"".join(
    b"](" + 9 * (b"h" + bytes([level])) + b"eq" + bytes([level + 1]) for level in range(7)
) + b"."  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Attack(os.system, "touch ran"), 2), "posix.system, which is not loaded"),
        (pickle.dumps(Attack(eval, "1"), 4), "builtins.eval, which is not loaded"),
        (pickle.dumps(Attack(np.load, "ran"), 4), "numpy.load, which is not loaded"),
        (pickle.dumps(collections.OrderedDict(a=1), 4), "OrderedDict, which is not loaded"),
        (pickle.dumps(1.5), "instruction BINFLOAT"),
        (pickle.dumps({1, 2}), "instruction EMPTY_SET"),
        (pickle.dumps([1], 0), "instruction LIST"),
        (b"\x80\x02U\x02idQ.", "instruction BINPERSID"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "instruction NEWOBJ"),
        (pickle.dumps(np.array([{}])), "array of O8?, expected uint8"),
        (pickle.dumps(np.zeros(3)), "array of f8, expected uint8"),
        (MEMO, "numbers its parts beyond sense"),
        (LISTS, "nested deeper than plain data are"),
        (b"\x80\x02]q\x00h\x00a.", "nested deeper than plain data are"),  # a list that holds itself
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}b.", "changes what it calls"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n.", "it has a _Reconstruct"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.", "an array without content"),
        (python_2(BATCH)[:-40], "damaged or foreign"),
        (python_2(BATCH).replace(b"K\xc8t", b"K\xc9t"), "shape \\(3, 201\\) and 600 bytes"),
        (b"", "damaged or foreign"),
        (b"\x80\x02U\xff.", "damaged or foreign"),
        (b"\x80\x02T\xff\xff\xff\x7f.", "damaged or foreign"),
        (b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".", "nested deeper"),
    ],
)  # fmt: skip
def test_what_is_refused(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load_pickle(content, "data_batch_1")
    assert "data_batch_1" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=300)
@given(st.data())
def test_damage_is_refused_or_read(data: st.DataObject) -> None:
    content = bytearray(python_2(BATCH))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataError):
        load_pickle(bytes(content), "data_batch_1")
