"""Names in a zip: bytes of a code page that the archive does not tell.

Only a flag for UTF-8 is part of the format. Without it `zipfile` reads code page 437, and a folder
`猫` made in Japan becomes `öL`.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import get_args

from gan.config.sections import CodePage

CODE_PAGES = tuple(filter(None, get_args(CodePage)))
# Of these the readings are shown when none is known.
_SHOWN = ("utf-8", "cp850", "cp866", "cp932", "gbk", "cp949", "big5")
_UNIX = (3, 19)  # and macOS, by the numbers of systems in the format
_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075


class UnknownCodePageError(Exception):
    """A name whose code page is not known; the message says what it may be."""


def name_of(info: zipfile.ZipInfo, code_page: str = "") -> str:
    """The name of a member as its author saw it.

    That is what the archive tells, by its flag or in the field that Info-ZIP adds. All else is read
    as `code_page`, or if that is empty as UTF-8 where the archive was made on Unix or a Mac. Of
    Windows nobody can tell: two bytes that are 猫 in China are a valid è.

    Raises:
        UnknownCodePageError: it is none of these and `code_page` is empty, or the name is not
            valid in it.
    """
    if info.flag_bits & _UTF8_FLAG or info.orig_filename.isascii():
        return info.filename
    # As zipfile has decoded it, without loss; a name ends where a program in C would end it.
    raw = info.orig_filename.partition("\0")[0].encode("cp437")
    for found in _unicode_path(info, raw):
        return found
    if not code_page and info.create_system in _UNIX:
        reading = _decoded(raw, "utf-8")
        if reading is not None:
            return reading
    if not code_page:
        readings = ", ".join(
            f"{page} '{reading}'" for page in _SHOWN if (reading := _decoded(raw, page)) is not None
        )
        raise UnknownCodePageError(
            "has a name in a code page that the archive does not tell; it may be "
            f"{readings or 'one of those of Windows'}: set data.zip_names to one of "
            f"{', '.join(CODE_PAGES)}, or pack it again with names in UTF-8"
        )
    reading = _decoded(raw, code_page)
    if reading is None:
        raise UnknownCodePageError(
            f"has a name that is not valid in data.zip_names {code_page}: expected another of "
            f"{', '.join(CODE_PAGES)}"
        )
    return reading


def _decoded(raw: bytes, page: str) -> str | None:
    try:
        name = raw.decode(page)
    except UnicodeDecodeError:
        return None
    return name if name.isprintable() else None


def _unicode_path(info: zipfile.ZipInfo, raw: bytes) -> Iterator[str]:
    extra = info.extra
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        content, extra = extra[4 : 4 + length], extra[4 + length :]
        # Version 1, and a checksum that tells whether the name was changed since.
        if (
            kind == _UNICODE_PATH
            and len(content) >= 5
            and content[0] == 1
            and struct.unpack("<I", content[1:5])[0] == zlib.crc32(raw)
        ):
            try:
                yield content[5:].decode()
            except UnicodeDecodeError:
                return
