from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.config import DataConfig
from gan.data.prepared import open_prepared
from gan.errors import DataError
from gan.preparation.prepare import prepare
from gan.preparation.sources import open_source, text
from gan.preparation.sources.text import read_utf8

LINES = [f"line {number}, whatever it says" for number in range(60)]


def config(path: Path, **values: object) -> DataConfig:
    return DataConfig(name="text", path=str(path), **{"length": 16, **values})


def texts(path: Path, **values: object) -> list[str]:
    source = open_source(config(path, **values))
    assert source.alphabet is not None
    return [line for batch in source.batches for line in source.alphabet.decode(batch.examples)]


def test_a_file_plain_or_gzip(tmp_path: Path) -> None:
    content = "\n".join(LINES).encode()
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(content))
    expected = [line[:16] for line in LINES]
    assert texts(tmp_path / "plain") == texts(tmp_path / "packed.gz") == expected


def test_a_folder_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_text("second")
    (tmp_path / "a.TXT").write_text("first")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"third"))
    (tmp_path / "empty.txt").write_text("")
    for name in (".hidden.txt", "notes.md", "archive.tar.gz"):
        (tmp_path / name).write_bytes(b"\xff")
    assert [line.rstrip("\n") for line in texts(tmp_path)] == ["first", "second", "third"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfabc \xef\xbb\xbf d")
    assert "".join(read_utf8(tmp_path / "a.txt")) == "abc \ufeff d"


@given(content=st.text(), size=st.integers(1, 5))
def test_pieces_end_anywhere(
    tmp_path_factory: pytest.TempPathFactory, content: str, size: int
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "a.txt"
    path.write_bytes(content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE_BYTES", max(size, 3))
        assert "".join(read_utf8(path)) == content.removeprefix("\ufeff")


@pytest.mark.parametrize("piece", [3, 1 << 20])
@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (b"\xff", 0),
        (b"abcd\x80efg", 4),
        ("é".encode() * 5 + b"\xc3(", 10),
        (b"abc\xe2\x82", 3),  # ends within a character
        (b"abc\xe2\x82xyz", 3),
        (b"abc\xed\xa0\x80", 3),  # half of a surrogate pair
    ],
)
def test_malformed_utf8_is_found_at_its_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, offset: int, piece: int
) -> None:
    monkeypatch.setattr(text, "PIECE_BYTES", piece)
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a.txt is not UTF-8: .* at byte offset {offset}$"):
        open_source(config(path))
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=rf"gz is not .* offset {offset} of what it unpacks to"):
        open_source(config(tmp_path / "a.txt.gz"))


def test_what_holds_no_text(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="nowhere does not exist: expected a text file, or a folder"
    ):
        open_source(config(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"holds no text: expected .txt or .txt.gz files"):
        open_source(config(tmp_path))
    (tmp_path / "empty.txt").write_text("")
    for path in (tmp_path, tmp_path / "empty.txt"):
        with pytest.raises(DataError, match=f"data.path {path} holds no text$"):
            open_source(config(path))


def test_a_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(np.random.default_rng(0).integers(0, 128, 5000, np.uint8).tobytes())
    path = tmp_path / "a.gz"
    damaged = bytearray(whole)
    damaged[2000] ^= 0xFF
    for content in (whole[:-2000], whole[:5], bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cannot read .*a.gz"):
            open_source(config(path))


def test_a_link_that_leads_out_is_followed_or_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("abc\n" * 40)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.txt").symlink_to(tmp_path / "outside.txt")
    assert open_source(config(tmp_path / "inside")).alphabet is not None
    with pytest.raises(DataError, match="link that leads out"):
        open_source(config(tmp_path / "inside", links="refuse"))


@pytest.mark.parametrize("windows", ["lines", "sliding"])
def test_prepared_twice_and_read_back(tmp_path: Path, windows: str) -> None:
    content = "".join(f"Line {number} says {number**2}.\r\n" for number in range(2000))
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode())
    for out in ("one", "two"):
        prepare(config(path, windows=windows), tmp_path / out, progress=False)
    files = [
        {file.name: file.read_bytes() for file in (tmp_path / out).iterdir()}
        for out in ("one", "two")
    ]
    assert files[0] == files[1]
    prepared = open_prepared(tmp_path / "one")
    prepared.verify()
    assert (prepared.manifest.kind, prepared.manifest.source) == ("text", "text")
    assert prepared.manifest.shape == [16]
    assert prepared.example_shape == (16,)
    alphabet = prepared.alphabet
    assert alphabet is not None
    assert "".join(alphabet.values) == "\n .0123456789Laeinsy"
    plain = content.replace("\r\n", "\n")
    for split in ("train", "test"):
        for example in alphabet.decode(prepared.symbols(split)):
            assert example.rstrip("\n") in plain
    with pytest.raises(DataError, match="holds text: expected images or symbol_images"):
        prepared.images("train")


def test_text_of_nothing_but_white_space_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n \n")
    with pytest.raises(DataError, match="no text of it can be used"):
        prepare(config(tmp_path / "a.txt"), tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []
