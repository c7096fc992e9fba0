from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gan.preparation.decode import Form, decode
from gan.preparation.listing import UnreadableError
from gan.preparation.png import SIGNATURE, lacks_rows, without_texts

# Type of colour and depth of every PNG that there is.
COLOURS = [
    *((0, depth) for depth in (1, 2, 4, 8, 16)),
    *((3, depth) for depth in (1, 2, 4, 8)),
    *((colour, depth) for colour in (2, 4, 6) for depth in (8, 16)),
]
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(
    width: int, height: int, rows: int, colour: int = 0, depth: int = 8, texts: bytes = b""
) -> bytes:
    """A PNG that is white, of `rows` rows in its data."""
    row = b"\0" + b"\xff" * ((width * SAMPLES[colour] * depth + 7) // 8)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", b"\xff" * 3 * 2**depth) if colour == 3 else b""
    return b"".join(
        (
            SIGNATURE, chunk(b"IHDR", header), texts, palette,
            chunk(b"IDAT", zlib.compress(row * rows)), chunk(b"IEND", b""),
        )
    )  # fmt: skip


@pytest.mark.parametrize(("colour", "depth"), COLOURS)
@given(width=st.integers(1, 40), height=st.integers(1, 40), missing=st.integers(0, 40))
def test_rows_that_are_not_there(
    colour: int, depth: int, width: int, height: int, missing: int
) -> None:
    rows = max(height - missing, 0)
    content = png(width, height, rows, colour, depth)
    assert lacks_rows(content) == (rows < height)
    form = Form(8, 1, "resize")
    if rows < height:
        with pytest.raises(UnreadableError, match="truncated"):
            decode(content, form)
    else:
        assert (decode(content, form) == 255).all()


@given(width=st.integers(1, 20), height=st.integers(1, 20), cut=st.floats(0, 1))
def test_interlaced_images_have_the_rows_of_all_passes(width: int, height: int, cut: float) -> None:
    # Each pass is an image of its own; all that is not there of it is none.
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2))  # fmt: skip
    raw = b"".join(
        (b"\0" + b"\xff" * len(range(left, width, across))) * len(range(top, height, down))
        for left, top, across, down in passes
        if left < width
    )
    kept = raw[: round(cut * len(raw))]
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    content = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(kept))
    content += chunk(b"IEND", b"")
    assert lacks_rows(content) == (len(kept) < len(raw))
    if len(kept) == len(raw):
        assert (decode(content, Form(8, 1, "resize")) == 255).all()
    else:
        with pytest.raises(UnreadableError):
            decode(content, Form(8, 1, "resize"))


def test_black_images_are_whole() -> None:
    file = io.BytesIO()
    Image.new("RGB", (9, 7)).save(file, "PNG")
    assert not lacks_rows(file.getvalue())
    assert (decode(file.getvalue(), Form(8, 3, "resize")) == 0).all()


def test_pictures_behind_the_first_do_not_count() -> None:
    content = png(8, 8, 8)
    end = content.index(b"IEND") - 4
    more = content[:end] + chunk(b"fdAT", zlib.compress(bytes(3))) + content[end:]
    assert not lacks_rows(more)


def test_texts_go_and_nothing_else_does() -> None:
    texts = chunk(b"tEXt", b"Title\0" + b"x" * 1000) + chunk(b"iCCP", b"p\0\0" + b"y" * 99)
    assert without_texts(png(8, 8, 8, texts=texts)) == png(8, 8, 8)
    assert np.array_equal(
        decode(png(8, 8, 8, texts=texts), Form(8, 1, "resize")),
        decode(png(8, 8, 8), Form(8, 1, "resize")),
    )
