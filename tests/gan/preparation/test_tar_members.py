from __future__ import annotations

import contextlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.preparation import tar_members
from gan.preparation.tar_members import Member, TarError, members

BLOCK = 512


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytearray:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return bytearray(info.tobuf(tarfile.GNU_FORMAT))


def with_size(block: bytearray, size: int) -> bytes:
    """The header with any size, in the base 256 of GNU, which knows negative ones."""
    block[124:136] = (size + (1 << 96) if size < 0 else size | 1 << 95).to_bytes(12, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def pax(content: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return bytes(header("pax", len(content), kind)) + padded(content)


def record(key: str, value: str) -> bytes:
    rest = len(f" {key}={value}\n".encode())
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return f"{length} {key}={value}\n".encode()


END = bytes(2 * BLOCK)


def names(content: bytes) -> list[str]:
    return [member.name for member in members(io.BytesIO(content))]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_as_tarfile_has_them(kind: int) -> None:
    file = io.BytesIO()
    long = "f/" * 40 + "x" * 90 if kind == tarfile.USTAR_FORMAT else "ä" * 300 + "/" + "x" * 300
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for name, size in (("a.png", 0), ("b/c.png", 511), (long, 513), ("d", 1024)):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as archive:
        expected = [
            Member(info.name, info.offset_data, info.size, info.isdir(), "") for info in archive
        ]
    assert list(members(io.BytesIO(file.getvalue()))) == expected
    assert len(expected) == 5


def test_sizes_beyond_eight_digits() -> None:
    for content, size in (
        (with_size(header("big", 0), 1 << 40), 1 << 40),
        (pax(record("size", "7")) + bytes(header("x", 1)), 7),
    ):
        assert next(members(io.BytesIO(content))).size == size


@pytest.mark.parametrize("size", [-512, -1024, -1, -(1 << 60)])
@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, b"?"]
)
def test_negative_sizes_do_not_lead_back(size: int, kind: bytes) -> None:
    content = bytes(header("a", 0)) + with_size(header("b", 0, kind), size) + END
    with pytest.raises(TarError, match=f"a header says a size of {size}"):
        names(content)


def test_a_negative_size_of_a_pax_header_is_no_number() -> None:
    with pytest.raises(TarError, match="size that is no number"):
        names(pax(record("size", "-512")) + bytes(header("a", 0)) + END)


def test_the_offset_always_grows() -> None:
    content = b"".join(bytes(header(str(i), 0)) for i in range(9)) + END
    offsets = [member.offset for member in members(io.BytesIO(content))]
    assert offsets == [BLOCK * (i + 1) for i in range(9)]


def test_archives_one_behind_the_other_are_read_to_the_end() -> None:
    one, two = bytes(header("a", 0)) + bytes(20 * BLOCK), bytes(header("b", 0)) + END
    assert names(one + two) == ["a", "b"]


def test_what_lay_in_memory_behind_the_end_mark_is_no_member() -> None:
    assert names(bytes(header("a", 0)) + END + b"\x07" * 4000) == ["a"]


@pytest.mark.parametrize("keep", [0, 100, BLOCK, BLOCK + 100, 2 * BLOCK])
def test_a_tar_without_end_mark_is_truncated(keep: int) -> None:
    content = (bytes(header("a", 600)) + padded(b"x" * 600))[:keep]
    with pytest.raises(TarError, match="truncated"):
        names(content)


def test_links_devices_and_sparse_files_say_so() -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE, b"V"):
        [member] = members(io.BytesIO(bytes(header("a", 0, kind)) + END))
        assert member.refusal == "is not a plain file: a link, device or the like"
    content = pax(record("GNU.sparse.major", "1")) + bytes(header("a", 0)) + END
    [member] = members(io.BytesIO(content))
    assert member.refusal == "is a sparse file"


@pytest.mark.parametrize(
    "content",
    [
        b"0 path=a\n",
        b"-9 path=a\n",
        b"99 path=a\n",
        b"9 path=ab",
        b"9 pathab\n",
        b"\xff\xfe",
        b"9" * 400 + b" path=a\n",
        b"1 a1 a1 a1 a=\n",
    ],
)
def test_pax_headers_that_are_none(content: bytes) -> None:
    with pytest.raises(TarError, match="a long name or the like is damaged"):
        names(pax(content) + bytes(header("a", 0)) + END)


def test_a_hostile_header_takes_no_longer_than_its_length() -> None:
    # Each took the square of its length: digits, keys that end far behind, and both together.
    for content in (b"3 a" * 300_000 + b"=\n", record("x", "1" * 900_000)):
        try:
            assert names(pax(content) + bytes(header("a", 0)) + END) == ["a"]
        except TarError as error:
            assert "damaged" in str(error)  # noqa: PT017 - either is right


def test_headers_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_members, "MAX_HEADER_BYTES", 2000)
    with pytest.raises(TarError, match="a header of 2001 bytes is beyond sense"):
        names(pax(b"x" * 2001))


def test_a_global_header_names_nobody() -> None:
    comment = pax(record("comment", "made by git archive"), tarfile.XGLTYPE)
    assert names(comment + bytes(header("a", 0)) + END) == ["a"]
    with pytest.raises(TarError, match="all members the same name or size"):
        names(pax(record("path", "b"), tarfile.XGLTYPE) + bytes(header("a", 0)) + END)


def test_names_that_are_no_utf_8_are_kept_as_the_system_has_them() -> None:
    block = header("caf.", 0)
    block[3] = 0xE9
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert names(bytes(block) + END) == ["caf\udce9"]


@given(
    st.lists(
        st.tuples(st.sampled_from([*b"01234567xgLKSXV\0"]), st.integers(-(1 << 70), 1 << 70)),
        max_size=8,
    ),
    st.binary(max_size=2000),
)
def test_any_headers_end(headers: list[tuple[int, int]], rest: bytes) -> None:
    content = b"".join(
        with_size(header("a", 0, bytes([kind])), size) + padded(rest) for kind, size in headers
    )
    offsets: list[int] = []
    with contextlib.suppress(TarError):
        offsets.extend(member.offset for member in members(io.BytesIO(content + END)))
    assert offsets == sorted(set(offsets))
    assert len(offsets) <= len(content) // BLOCK
