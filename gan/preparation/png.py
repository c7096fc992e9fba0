"""What Pillow does not look at in a PNG: rows that its data do not have, texts in the way."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks of text or of a profile, which Pillow refuses where they are large.
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # a pixel, by type of colour
# First column and row of each pass of an interlaced image, and its steps.
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip
_BLOCK = 1 << 16


def lacks_rows(png: bytes) -> bool:
    """Whether the data of a PNG, valid otherwise, end before its last row.

    Pillow takes such a file, and what is missing is black. Takes as long as unpacking does.
    """
    expected, found = 0, 0
    unpacker = zlib.decompressobj()
    for kind, content in _chunks(png):
        if kind == b"IHDR":
            expected = _bytes_of_rows(*struct.unpack(">IIBBxxB", content))
        elif kind == b"IDAT":
            while content and not unpacker.eof:
                found += len(unpacker.decompress(content, _BLOCK))
                content = unpacker.unconsumed_tail
        elif found:  # those of other frames may follow
            break
    return found < expected


def without_texts(png: bytes) -> bytes:
    """A PNG without its texts and its profile."""
    kept, start = [SIGNATURE], len(SIGNATURE)
    while start < len(png):
        length = int.from_bytes(png[start : start + 4], "big")
        end = start + 12 + length
        if png[start + 4 : start + 8] not in _TEXTS:
            kept.append(png[start:end])
        start = end
    return b"".join(kept)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = len(SIGNATURE)
    while start + 12 <= len(png):
        length = int.from_bytes(png[start : start + 4], "big")
        yield png[start + 4 : start + 8], png[start + 8 : start + 8 + length]
        start += 12 + length


def _bytes_of_rows(width: int, height: int, depth: int, colour: int, interlaced: int) -> int:
    bits = depth * _SAMPLES[colour]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
