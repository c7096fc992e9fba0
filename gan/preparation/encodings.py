"""What a file that is no text in UTF-8 may be, so that a message can say how to make it that.

Formats are told by their first bytes. Encodings are guessed, for a hint and nothing else: nothing
is ever read by a guess.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import NamedTuple

# Bytes that a guess looks at, on either side of the first one that is wrong.
SAMPLE_BYTES = 1 << 16
# A tar says what it is behind the name of its first file.
HEAD_BYTES = 512
_TAR_MAGIC_AT = 257
_BZIP2_BLOCK = b"1AY&SY"


class Foreign(NamedTuple):
    """A format that is not plain text.

    Attributes:
        what: its name, with an article.
        remedy: what makes text of it.
    """

    what: str
    remedy: str


_UNPACK = "unpack it, and give the text files in it"
_SAVE = "save it as plain text in UTF-8"
# The first that fits: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_MAGIC = (
    (b"PK\x03\x04", Foreign("a zip archive, or a document of an office or an e-book in one",
                            f"{_UNPACK}; of a document, {_SAVE}")),
    (b"PK\x05\x06", Foreign("an empty zip archive", "give a file of text")),
    (b"\x1f\x8b", Foreign("gzip within gzip", "unpack it once")),
    (b"\xfd7zXZ\x00", Foreign("an xz file", "unpack it with unxz")),
    (b"\x28\xb5\x2f\xfd", Foreign("a zstd file", "unpack it with unzstd")),
    (b"7z\xbc\xaf\x27\x1c", Foreign("a 7z archive", _UNPACK)),
    (b"Rar!\x1a\x07", Foreign("a rar archive", _UNPACK)),
    (b"%PDF-", Foreign("a PDF", "extract its text, with pdftotext for example")),
    (b"{\\rtf", Foreign("a document in RTF", _SAVE)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Foreign("a document of an old office", _SAVE)),
    (b"\x89PNG", Foreign("a PNG image", "for images set data.name to images")),
    (b"\xff\xd8\xff", Foreign("a JPEG image", "for images set data.name to images")),
)  # fmt: skip


def byte_order_mark(head: bytes) -> str | None:
    """The encoding that a file beginning with `head` says it has, other than UTF-8; None: none."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def escapes_to_japanese(head: bytes) -> bool:
    """Whether there are escapes of ISO-2022-JP in `head`: all of it is ASCII, and so is UTF-8."""
    return b"\x1b$B" in head or b"\x1b$@" in head


def foreign_format(head: bytes) -> Foreign | None:
    """What a file beginning with `head` is, if that is known and not plain text."""
    # Words that a text may have in these places too are no proof: its header has NUL bytes as well.
    if head[_TAR_MAGIC_AT:].startswith(b"ustar") and 0 in head[:_TAR_MAGIC_AT]:
        return Foreign("a tar archive", _UNPACK)
    if head.startswith(b"BZh") and head[4:].startswith(_BZIP2_BLOCK):
        return Foreign("a bzip2 file", "unpack it with bunzip2")
    return next((found for magic, found in _MAGIC if head.startswith(magic)), None)


def utf16_without_mark(sample: bytes) -> str | None:
    """UTF-16LE or UTF-16BE, if `sample` has the NUL bytes of Latin text in it; else None."""
    pairs = len(sample) // 2
    if not pairs:
        return None
    for name, low in (("UTF-16LE", 1), ("UTF-16BE", 0)):
        zeros, others = sample[low::2].count(0), sample[1 - low :: 2].count(0)
        if zeros > pairs // 2 and others * 10 < zeros:
            return name
    return None


def guess_encoding(content: bytes, wrong: int) -> str | None:
    """How bytes that are not UTF-8 are probably encoded, as `iconv` calls it; None: no idea.

    `UTF-8` says that they are, but for a few damaged characters.

    Args:
        content: bytes of a file, from the beginning of a character on.
        wrong: the place of the first that cannot be UTF-8.
    """
    start = max(0, wrong - SAMPLE_BYTES)
    if start:  # no encoding here has the end of a line within a character
        start = content.find(b"\n", start, wrong) + 1 or wrong
    sample = content[start : wrong + SAMPLE_BYTES]
    if 0 in sample:
        return utf16_without_mark(sample)
    text = sample.decode("utf-8", "replace")
    others = [each for each in text if not each.isascii()]
    damaged = others.count("\ufffd")
    if len(others) - damaged > 3 * damaged:
        return "UTF-8"
    return next((name for name, fits in _GUESSES if fits(sample)), None)


# --- guesses -------------------------------------------------------------------------------------


def _others(sample: bytes, codec: str) -> list[str]:
    """The characters of `sample` that are not ASCII; none if it cannot be of this encoding."""
    try:
        # The last character may be cut.
        text = codecs.getincrementaldecoder(codec)().decode(sample)
    except UnicodeDecodeError:
        return []
    return [each for each in text if not each.isascii()]


def _share(characters: list[str], common: Callable[[str], bool]) -> float:
    return sum(map(common, characters)) / len(characters) if characters else 0.0


def _kana(codec: str) -> Callable[[bytes], bool]:
    return lambda sample: _share(_others(sample, codec), lambda c: "\u3041" <= c <= "\u30ff") > 0.3


def _hangul(sample: bytes) -> bool:
    # Chinese in this encoding has syllables too, but no more than two in three.
    return _share(_others(sample, "cp949"), lambda c: "\uac00" <= c <= "\ud7a3") > 0.85


def _chinese(codec: str, rows: str, first: int, last: int) -> Callable[[bytes], bool]:
    """Whether most characters are of the more frequent half of a standard, by their row in it."""

    def common(character: str) -> bool:
        try:
            return first <= character.encode(rows)[0] <= last
        except UnicodeEncodeError:
            return False

    return lambda sample: _share(_others(sample, codec), common) > 0.5


def _cyrillic(codec: str) -> Callable[[bytes], bool]:
    def fits(sample: bytes) -> bool:
        others = _others(sample, codec)
        latin = sum(bytes([each]).isalpha() for each in sample)
        return len(others) > latin and _share(others, lambda c: "а" <= c <= "я") > 0.6

    return fits


def _latin(codec: str) -> Callable[[bytes], bool]:
    def fits(sample: bytes) -> bool:
        others = _others(sample, codec)
        # A control character, which ISO 8859-1 has 32 more of, is in no text.
        return bool(others) and all(each.isprintable() or each == "\xa0" for each in others)

    return fits


# The first that fits: those that tell most come first.
_GUESSES: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("SHIFT_JIS", _kana("cp932")),
    ("EUC-JP", _kana("euc_jp")),
    ("EUC-KR", _hangul),
    ("GB18030", _chinese("gb18030", "gb2312", 0xB0, 0xD7)),
    ("BIG5", _chinese("big5", "big5", 0xA4, 0xC6)),
    ("WINDOWS-1251", _cyrillic("cp1251")),
    ("KOI8-R", _cyrillic("koi8_r")),
    ("ISO-8859-1", _latin("latin_1")),
    ("WINDOWS-1252", _latin("cp1252")),
)
