from __future__ import annotations

import gzip
import os
from collections import Counter
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


def test_a_folder_in_the_order_of_its_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_text("second")
    (tmp_path / "a.TXT").write_text("first")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"third"))
    (tmp_path / "empty.txt").write_text("")
    for name in (".hidden.txt", "notes.md", "archive.tar.gz", "more.md", "README"):
        (tmp_path / name).write_bytes(b"\xff")
    with caplog.at_level("WARNING"):
        found = texts(tmp_path)
    passed_over = open_source(config(tmp_path)).passed_over
    assert passed_over == {".gz": 1, ".md": 2, "no ending": 1}
    assert [line.rstrip("\n") for line in found] == ["first", "second", "third"]
    assert [record.message for record in caplog.records][:1] == [
        f"data.path {tmp_path}: 1 of 4 texts are empty: empty.txt",
    ]


def test_files_of_other_endings_stand_in_the_manifest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("\n".join(LINES))
    (tmp_path / "in" / "b.pdf").write_bytes(b"%PDF")
    with caplog.at_level("WARNING"):
        manifest = prepare(config(tmp_path / "in"), tmp_path / "out", progress=False)
    assert manifest.passed_over == {".pdf": 1}
    assert f"{tmp_path}/in: passed over: 1 .pdf" in caplog.text
    assert open_prepared(tmp_path / "out").manifest == manifest


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfabc \xef\xbb\xbf d")
    assert "".join(read_utf8(tmp_path / "a.txt")) == "abc \ufeff d"


@given(
    content=st.text(st.characters(exclude_characters="\0", codec="utf-8")), size=st.integers(1, 5)
)
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
    with pytest.raises(DataError, match=rf"a.txt is not UTF-8: .* at byte offset {offset};"):
        open_source(config(path))
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=rf"gz is not .* offset {offset} of what it unpacks to;"):
        open_source(config(tmp_path / "a.txt.gz"))


def test_what_holds_no_text(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="nowhere does not exist: expected a text file, or a folder"
    ):
        open_source(config(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"holds no text: expected .txt or .txt.gz files"):
        open_source(config(tmp_path))
    (tmp_path / "a.pdf").write_text("")
    with pytest.raises(DataError, match=r"expected .txt or .txt.gz files; passed over: 1 .pdf$"):
        open_source(config(tmp_path))
    (tmp_path / "empty.txt").write_text("")
    for path in (tmp_path, tmp_path / "empty.txt"):
        with pytest.raises(DataError, match=f"data.path {path} holds no text$"):
            open_source(config(path))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe is neither a file nor a folder: expected one"):
        open_source(config(tmp_path / "pipe"))


def test_a_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(np.random.default_rng(0).integers(0, 128, 5000, np.uint8).tobytes())
    path = tmp_path / "a.gz"
    damaged = bytearray(whole)
    damaged[2000] ^= 0xFF
    for content in (whole[:-2000], whole[:5], bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"/a.gz is a damaged or incomplete gzip file: "):
            open_source(config(path))


CHINESE = "他们从很远的地方来到这里,为了看一看大海。海边的风很大,天上没有一片云。\n"
TRADITIONAL = "他們從很遠的地方來到這裡,為了看一看大海。海邊的風很大,天上沒有一片雲。\n"
JAPANESE = "私たちは海を見るために、とても遠いところからここに来ました。風が強いです。\n"
KOREAN = "우리는 바다를 보려고 아주 먼 곳에서 왔다. 바람이 많이 불고 하늘은 맑았다.\n"
RUSSIAN = "Мы приехали сюда издалека, чтобы посмотреть на море. Ветер был сильный.\n"
FRENCH = "Nous sommes venus de très loin pour voir la mer. Le vent était fort, à l'été.\n"
QUOTED = "Il a dit : « C’est très beau » – et l’été était passé.\n"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "codec", "named"),
    [
        (CHINESE, "gb18030", "GB18030"),
        (CHINESE, "gb2312", "GB18030"),
        (TRADITIONAL, "big5", "BIG5"),
        (JAPANESE, "shift_jis", "SHIFT_JIS"),
        (JAPANESE, "euc_jp", "EUC-JP"),
        (KOREAN, "euc_kr", "EUC-KR"),
        (RUSSIAN, "cp1251", "WINDOWS-1251"),
        (RUSSIAN, "koi8_r", "KOI8-R"),
        (FRENCH, "latin_1", "ISO-8859-1"),
        (QUOTED, "cp1252", "WINDOWS-1252"),
        ("plain ASCII " * 20_000 + "\n" + FRENCH, "latin_1", "ISO-8859-1"),
    ],
)
def test_other_encodings_are_refused_with_a_way_to_convert_them(
    tmp_path: Path, content: str, codec: str, named: str, packed: bool
) -> None:
    path = tmp_path / ("my book.txt.gz" if packed else "my book.txt")
    encoded = (content * 3).encode(codec)
    path.write_bytes(gzip.compress(encoded) if packed else encoded)
    command = (
        f"gzip -dc '{path}' | iconv -f {named} -t UTF-8 > 'my book-utf8.txt'"
        if packed
        else f"iconv -f {named} -t UTF-8 '{path}' > 'my book-utf8.txt'"
    )
    with pytest.raises(DataError, match="is not UTF-8") as caught:
        open_source(config(path))
    assert str(caught.value).endswith(f"it may be {named}; to convert it: {command}")


def test_mostly_utf8_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(CHINESE.encode() * 20 + b"\xff" + CHINESE.encode())
    with pytest.raises(DataError, match=r"offset \d+; most of it is, so it may be damaged there$"):
        open_source(config(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("abc".encode("utf-16"), "is UTF-16, by its byte order mark: .*iconv -f UTF-16 -t UTF-8"),
        (b"\xfe\xff" + CHINESE.encode("utf-16-be"), "is UTF-16, by its byte order mark"),
        ("abc".encode("utf-32"), "is UTF-32, by its byte order mark: .*iconv -f UTF-32"),
        (
            ("plain " * 9).encode("utf-16-le"),
            "has a NUL byte at byte offset 1: it seems to be UTF-16LE",
        ),
        (FRENCH.encode("utf-16-le"), "is not UTF-8: .*; it may be UTF-16LE; to convert"),
        (
            ("plain " * 9).encode("utf-16-be"),
            "has a NUL byte at byte offset 0: it seems to be UTF-16BE; to convert",
        ),
        (
            JAPANESE.encode("iso2022_jp"),
            "is ISO-2022-JP, by its escapes: .*iconv -f ISO-2022-JP -t UTF-8",
        ),
        (b"abc\0def", "has a NUL byte at byte offset 3: expected text in UTF-8"),
        (b"PK\x03\x04\x14\0", "is a zip archive, or a document .* unpack it"),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF: expected plain text in UTF-8; extract its text"),
        (b"{\\rtf1\\ansi abc}", "is a document in RTF: expected plain text"),
        (b"BZh91AY&SY\0", "is a bzip2 file"),
        (b"\xfd7zXZ\0\0", "is an xz file"),
        (b"\x28\xb5\x2f\xfd\0", "is a zstd file"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7z archive"),
        (b"\x89PNG\r\n", "is a PNG image"),
        (b"a.txt" + bytes(252) + b"ustar\x0000", "is a tar archive"),
    ],
)
def test_what_is_no_plain_text_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"/a.txt {message}"):
        open_source(config(path))
    path.write_bytes(gzip.compress(content))
    start = message.split(":")[0]
    if "not" not in start:
        start = start.replace("is ", "unpacks to ", 1)
    with pytest.raises(DataError, match=f"/a.txt {start}"):
        open_source(config(path))


def test_a_nul_far_behind_is_found_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PIECE_BYTES", 7)
    (tmp_path / "a.txt").write_bytes("é".encode() * 50 + b"\0a")
    with pytest.raises(DataError, match="NUL byte at byte offset 100: expected text"):
        open_source(config(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    "start", ["BZhang wrote this", "PKZIP is a program", "7z is one too", "%PDF", "ustar " * 60]
)
def test_words_are_no_formats(tmp_path: Path, start: str) -> None:
    (tmp_path / "a.txt").write_text(start + "\nand more")
    assert texts(tmp_path / "a.txt")[0].rstrip("\n") == start[:16]


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.txt"
    path.write_bytes(content)
    refused = ""
    try:
        found = "".join(read_utf8(path))
    except DataError as error:
        refused = str(error)
    if refused:
        assert refused.startswith(f"{path} ")
        assert "\n" not in refused
    else:
        assert found.encode() == content.removeprefix(b"\xef\xbb\xbf")


def test_a_chinese_text_says_what_it_loses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    characters = [chr(0x4E00 + place) for place in range(300)]
    # The first come a hundred times, the last once.
    lines = ["".join(characters[:100])] * 99 + ["".join(characters)] + ["甲乙丙"] * 3
    path = tmp_path / "a.txt"
    path.write_text("\n".join(lines))
    found = {}
    for size in (96, 120, 301, 400):
        caplog.clear()
        with caplog.at_level("WARNING"):
            out = tmp_path / str(size)
            settings = config(path, alphabet=size, windows="sliding", test_fraction=0.4)
            prepare(settings, out, progress=False)
        prepared = open_prepared(out)
        prepared.verify()
        lost = prepared.manifest.without_symbol
        found[size] = None if lost is None else (lost.count, lost.characters)
        symbols = prepared.symbols("train")
        assert symbols.dtype == (np.uint8 if size <= 256 else np.dtype("<u2"))
        assert prepared.manifest.dtype == symbols.dtype.name
        assert (out / "manifest.json").read_text().count('"without_symbol"') == (lost is not None)
        decoded = prepared.text_alphabet().decode(
            np.concatenate([symbols, prepared.symbols("test")])
        )
        assert any("\ufffd" in each for each in decoded) == (lost is not None)
        said = [record.message for record in caplog.records]
        if size == 96:
            assert len(said) == 1
            assert "7.79% of the text, 803 of 10311 characters, 207 different ones, have" in said[0]
            assert ": 乞 也 习 乡 乢 乣 甲 乤 乥 书 and 197 more; data" in said[0]
            assert said[0].endswith("data.alphabet=302 has one for all")
        assert bool(said) == (lost is not None and lost.share > 0.01)
    total = len("\n".join(lines))
    ranked = sorted(Counter("\n".join(lines)).values(), reverse=True)
    assert len(ranked) == 302
    assert found == {
        96: (sum(ranked[95:]), total),
        120: (sum(ranked[119:]), total),
        301: (2, total),
        400: None,
    }
    # Less than a hundredth is said without a warning.
    assert "0.02% of the text, 2 of 10311 characters" in capsys.readouterr().err


def test_one_paragraph_gets_the_hint_that_helps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("all of it is one paragraph. " * 800)
    with (
        caplog.at_level("WARNING"),
        pytest.raises(DataError, match=r"of 1 texts .* data.windows=sliding makes examples of"),
    ):
        prepare(config(path), tmp_path / "out", progress=False)
    assert "99.9% of the text is in lines beyond their first 16 characters" in caplog.text
    assert not (tmp_path / "out" / "manifest.json").exists()
    manifest = prepare(config(path, windows="sliding"), tmp_path / "out", progress=False)
    assert min(split.count for split in manifest.splits.values()) > 200


def test_too_little_running_text_says_how_it_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("all of it is one paragraph. " * 8)
    with pytest.raises(DataError, match="running text is held out in blocks of 2048 characters"):
        prepare(config(path, windows="sliding"), tmp_path / "out", progress=False)


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
