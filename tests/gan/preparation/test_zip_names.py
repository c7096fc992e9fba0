from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.errors import DataError
from gan.preparation.archives import open_collection
from gan.preparation.zip_names import CODE_PAGES, UnknownCodePageError, name_of

FLAG = 0x800
WINDOWS, UNIX = 0, 3


def info(raw: bytes, flag: int = 0, extra: bytes = b"", system: int = UNIX) -> zipfile.ZipInfo:
    """As `zipfile` makes it of a directory's entry."""
    found = zipfile.ZipInfo(raw.decode("utf-8" if flag else "cp437"))
    found.flag_bits, found.extra, found.create_system = flag, extra, system
    return found


def pack(path: Path, names: list[bytes]) -> Path:
    """A zip with names of these bytes and no flag."""
    stand_ins = [bytes([ord("a") + i]) * len(name) for i, name in enumerate(names)]
    with zipfile.ZipFile(path, "w") as archive:
        for name in stand_ins:
            entry = zipfile.ZipInfo(name.decode())
            entry.create_system = WINDOWS
            archive.writestr(entry, b"x")
    content = path.read_bytes()
    for stand_in, name in zip(stand_ins, names, strict=True):
        assert content.count(stand_in) == 2
        content = content.replace(stand_in, name)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("cp850", "straße/schön.png"),
        ("cp437", "señor/ñ.png"),
        ("cp866", "кошка/1.png"),
        ("cp932", "猫ソ/1.png"),  # of ソ the second byte is a backslash
        ("gbk", "猫/1.png"),
        ("cp949", "고양이/1.png"),
        ("big5", "貓功/1.png"),
    ],
)
def test_names_in_a_code_page_are_read_in_it_or_refused(
    tmp_path: Path, page: str, name: str
) -> None:
    path = pack(tmp_path / "a.zip", [b"abc/1.png", name.encode(page)])
    with pytest.raises(DataError) as caught:
        open_collection(path, frozenset({".png"}))
    assert "has a name in a code page that the archive does not tell" in str(caught.value)
    assert "set data.zip_names to one of utf-8, cp437, cp850" in str(caught.value)
    assert page == "cp437" or f"{page} '{name}'" in str(caught.value)
    collection = open_collection(path, frozenset({".png"}), zip_names=page)
    assert collection.names == ["abc/1.png", name]
    assert list(collection.contents()) == [b"x", b"x"]


def test_names_of_files_passed_over_do_not_matter(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", [b"abc/1.png", "猫.txt".encode("gbk")])
    collection = open_collection(path, frozenset({".png"}))
    assert collection.names == ["abc/1.png"]
    assert collection.passed_over == {".txt": 1}


def test_another_code_page_does_not_lead_out(tmp_path: Path) -> None:
    # 0x5c is a separator in cp437 alone when it is no half of a letter.
    path = pack(tmp_path / "a.zip", [b"\x83\x5c..\\..\\1.png"])
    with pytest.raises(DataError, match=r"leads out of the archive"):
        open_collection(path, frozenset({".png"}), zip_names="cp932")


def test_utf_8_without_its_flag() -> None:
    raw = "猫/ä.png".encode()
    assert name_of(info(raw)) == "猫/ä.png"
    assert name_of(info(raw, FLAG), "cp932") == "猫/ä.png"
    assert name_of(info(raw, system=WINDOWS), "utf-8") == "猫/ä.png"
    # What is valid by chance is no label: 猫 of China, or è.
    with pytest.raises(UnknownCodePageError, match=r"utf-8 'è', .*gbk '猫'"):
        name_of(info("猫".encode("gbk"), system=WINDOWS))


def test_the_field_of_info_zip() -> None:
    raw, name = "schön".encode("cp850"), "schön".encode()
    field = struct.pack("<HHBI", 0x7075, 5 + len(name), 1, zlib.crc32(raw)) + name
    other = struct.pack("<HH", 0x5455, 1) + b"\0"
    assert name_of(info(raw, extra=other + field)) == "schön"
    # Of another name, as after renaming by a program that does not know it.
    with pytest.raises(UnknownCodePageError):
        name_of(info(raw + b"2", extra=field))


def test_a_name_that_the_code_page_does_not_have() -> None:
    with pytest.raises(UnknownCodePageError, match=r"not valid in data\.zip_names cp932"):
        name_of(info(b"\x85\xff"), "cp932")


@given(st.binary(min_size=1, max_size=20), st.sampled_from(["", *CODE_PAGES]), st.integers(0, 20))
def test_any_name_is_read_or_refused(raw: bytes, page: str, system: int) -> None:
    try:
        name = name_of(info(raw, system=system), page)
    except UnknownCodePageError:
        assert not raw.isascii()
        return
    assert name.encode(page or "utf-8") == raw.partition(b"\0")[0]
