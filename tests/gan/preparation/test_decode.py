from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from gan.errors import DataError, UserError
from gan.preparation import decode as module
from gan.preparation import formats
from gan.preparation.decode import Form, decode, decode_chunk
from gan.preparation.fit import fit_image
from gan.preparation.listing import Content, UnreadableError

# Pillow itself can be told to raise instead of warning of images that are refused here anyway.
pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if nothing were installed that a format takes beside Pillow."""
    formats.readable_formats.cache_clear()
    monkeypatch.setattr(formats, "is_available", lambda name: name not in formats.INSTALL)
    yield
    formats.readable_formats.cache_clear()


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def filled(mode: str, colour: Any, size: int = 8) -> Image.Image:
    return Image.new(mode, (size, size), colour)


def pixel(content: bytes, channels: Literal[1, 3] = 3) -> list[int]:
    """The one colour that all pixels of an image have."""
    pixels = decode(content, Form(8, channels, "resize"))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (channels, 8, 8)
    colour = pixels[:, :1, :1]
    np.testing.assert_array_equal(pixels, np.broadcast_to(colour, pixels.shape))
    return [int(value) for value in colour.ravel()]


def png(depth: int, colour_type: int, row: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """An 8×8 PNG whose rows are all `row`: Pillow does not write every kind that it reads."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return b"".join(
            (struct.pack(">I", len(content)), name, content, struct.pack(">I", crc(name + content)))
        )

    header = struct.pack(">IIBBBBB", 8, 8, depth, colour_type, 0, 0, 0)
    body = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress((b"\0" + row) * 8)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in body)


def crc(content: bytes) -> int:
    return zlib.crc32(content)


class TestModes:
    def test_rgb(self) -> None:
        assert pixel(encoded(filled("RGB", (10, 200, 30)))) == [10, 200, 30]

    def test_rgb_to_grey_is_luma(self) -> None:
        # 0.299 · 10 + 0.587 · 200 + 0.114 · 30 = 123.81
        assert pixel(encoded(filled("RGB", (10, 200, 30))), 1) == [124]

    def test_grey_to_rgb(self) -> None:
        assert pixel(encoded(filled("L", 77))) == [77, 77, 77]

    def test_one_bit(self) -> None:
        assert pixel(encoded(filled("1", 1)), 1) == [255]
        assert pixel(encoded(filled("1", 0)), 1) == [0]

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(0, 0), (0x8000, 128), (0xFFFF, 255), (257, 1), (128, 0), (129, 1), (0x7FFF, 127)],
    )
    def test_16_bit_grey_is_scaled_by_257(self, value: int, expected: int) -> None:
        content = encoded(Image.fromarray(np.full((8, 8), value, np.uint16)))
        assert pixel(content, 1) == [expected]
        assert pixel(content, 3) == [expected] * 3

    def test_16_bits_in_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = np.random.default_rng(0).integers(0, 65536, (8, 8), dtype=np.uint16)
        monkeypatch.setattr(module, "_BLOCK_PIXELS", 24)
        found = decode(encoded(Image.fromarray(values)), Form(8, 1, "pad"))
        np.testing.assert_array_equal(found[0], np.round(values / 257).astype(np.uint8))

    def test_16_bit_rgb(self) -> None:
        assert pixel(png(16, 2, struct.pack(">3H", 0xFFFF, 0x8000, 0) * 8)) == [255, 128, 0]

    def test_palette(self) -> None:
        image = filled("P", 1)
        image.putpalette([9, 9, 9, 250, 100, 5])
        assert pixel(encoded(image)) == [250, 100, 5]
        assert pixel(encoded(image, "BMP")) == [250, 100, 5]
        assert pixel(encoded(image), 1) == [134]  # 0.299 · 250 + 0.587 · 100 + 0.114 · 5 = 134.02

    def test_cmyk_jpeg_as_adobe_writes_it(self) -> None:
        # No cyan, all magenta and yellow: red.
        content = encoded(filled("CMYK", (0, 255, 255, 0)), "JPEG", quality=100)
        assert b"Adobe" in content
        red, green, blue = pixel(content)
        assert (red, green, blue) == pytest.approx((255, 0, 0), abs=3)
        assert pixel(content, 1) == pytest.approx([76], abs=3)

    def test_grey_jpeg(self) -> None:
        assert pixel(encoded(filled("L", 90), "JPEG", quality=100)) == [90] * 3

    def test_colour_jpeg_to_grey(self) -> None:
        content = encoded(filled("RGB", (10, 200, 30)), "JPEG", quality=100)
        assert pixel(content, 1) == pytest.approx([124], abs=2)

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "JPEG"])
    def test_formats(self, kind: str) -> None:
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(filled("RGB", (200, 100, 50)), kind, **options)
        assert pixel(content) == pytest.approx([200, 100, 50], abs=3 if kind == "JPEG" else 0)

    def test_animated_webp_gives_its_first_frame(self) -> None:
        first, second = filled("RGB", (255, 0, 0)), filled("RGB", (0, 255, 0))
        content = encoded(first, "WEBP", save_all=True, append_images=[second], lossless=True)
        assert pixel(content) == [255, 0, 0]


def mpo(first: Image.Image, second: Image.Image, **options: Any) -> bytes:
    return encoded(first, "MPO", save_all=True, append_images=[second], **options)


class TestJpeg:
    """Whatever lies behind its picture, and however large it is."""

    @pytest.fixture
    def photograph(self) -> Image.Image:
        rng = np.random.default_rng(0)
        small = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        return small.resize((640, 480), Image.Resampling.BICUBIC)

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("size", [8, 16, 64])
    def test_one_with_a_picture_behind_it_is_decoded_as_without(
        self, photograph: Image.Image, size: int, channels: Literal[1, 3]
    ) -> None:
        content = mpo(photograph, filled("RGB", 0, 640), quality=90)
        alone = content[: content.index(b"\xff\xd9\xff\xd8") + 2]
        with Image.open(io.BytesIO(content)) as opened:
            assert opened.format == "MPO"
        form = Form(size, channels, "resize")
        np.testing.assert_array_equal(decode(content, form), decode(alone, form))
        with Image.open(io.BytesIO(alone)) as jpeg:
            jpeg.draft("L" if channels == 1 else None, (3 * size, 3 * size))
            assert size == 64 or jpeg.width < 640
            expected = np.asarray(fit_image(jpeg.convert(jpeg.mode), size, "resize"))
        np.testing.assert_array_equal(
            decode(content, form), expected.reshape(size, size, channels).transpose(2, 0, 1)
        )

    def test_a_damaged_index_of_pictures_is_passed_over(self, photograph: Image.Image) -> None:
        content = bytearray(mpo(photograph, photograph))
        start = content.index(b"MPF\0")
        content[start + 4 : start + 60] = b"\xff" * 56
        form = Form(8, 3, "resize")
        whole = decode(mpo(photograph, photograph), form)
        np.testing.assert_array_equal(decode(bytes(content), form), whole)

    def test_its_fraction_is_what_the_limit_counts(self) -> None:
        content = encoded(filled("L", 90, 800), "JPEG")
        for size, limit, part in ((128, 400**2, r"400 x 400"), (256, 800**2, "")):
            assert decode(content, Form(size, 1, "resize", limit)).shape == (1, size, size)
            with pytest.raises(UnreadableError, match=rf"{part}, more than the {limit - 1} of"):
                decode(content, Form(size, 1, "resize", limit - 1))
        # At an eighth it needs no more than what libjpeg may hold to get there.
        assert decode(content, Form(8, 1, "resize", 800**2 // 8)).shape == (1, 8, 8)
        with pytest.raises(UnreadableError, match="more than can be decoded within"):
            decode(content, Form(8, 1, "resize", 800**2 // 8 - 1))

    def test_a_jpeg_that_is_held_whole_counts_whole(self) -> None:
        content = encoded(filled("L", 90, 800), "JPEG", progressive=True)
        assert decode(content, Form(8, 1, "resize", 640_000)).shape == (1, 8, 8)
        with pytest.raises(UnreadableError, match="more than can be decoded within"):
            decode(content, Form(8, 1, "resize", 639_999))

    def test_hundreds_of_megapixels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Only the header is of that size; what is decoded of it, one eighth, is not reached.
        content = bytearray(encoded(filled("L", 90, 16), "JPEG"))
        start = content.index(b"\xff\xc0")
        content[start + 5 : start + 9] = struct.pack(">HH", 16_320, 12_240)  # 200 megapixels
        sizes = []

        def load(image: Image.Image) -> None:
            sizes.append(image.size)
            raise OSError("not needed")

        monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", load)
        with pytest.raises(UnreadableError, match="not needed"):
            decode(bytes(content), Form(128, 1, "resize"))
        assert set(sizes) == {(12_240 // 8, 16_320 // 8)}


class TestPng:
    @pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP", b"tEXt"])
    def test_long_texts_and_profiles_do_not_matter(self, kind: bytes) -> None:
        packed = zlib.compress(bytes(5 << 20))
        texts = {
            b"zTXt": b"Comment\0\0" + packed,
            b"iTXt": b"Comment\0\1\0\0\0" + packed,
            b"iCCP": b"profile\0\0" + packed,
            b"tEXt": b"Comment\0" + b"x" * (70 << 20),
        }
        content = png(8, 2, bytes((1, 2, 3)) * 8, (kind, texts[kind]))
        with (
            pytest.raises(ValueError, match=r"too large|Too much memory"),
            Image.open(io.BytesIO(content)),
        ):
            pass
        assert pixel(content) == [1, 2, 3]

    def test_damage_beside_a_long_text_is_still_damage(self) -> None:
        text = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(5 << 20)))
        content = png(8, 2, bytes((1, 2, 3)) * 8, text)
        for end in (content.index(b"IDAT") + 8, content.index(b"IDAT"), 60, 30):
            with pytest.raises(UnreadableError):
                decode(content[:end], Form(8, 3, "resize"))


class TestFurtherFormats:
    def test_gif_gives_its_first_frame(self) -> None:
        first, second = filled("RGB", (255, 0, 0)), filled("RGB", (0, 255, 0))
        content = encoded(first, "GIF", save_all=True, append_images=[second])
        assert pixel(content) == [255, 0, 0]

    def test_transparent_gif(self) -> None:
        image = filled("P", 1)
        image.putpalette([9, 9, 9, 250, 100, 5])
        assert pixel(encoded(image, "GIF", transparency=1)) == [255, 255, 255]

    @pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "jpeg"])
    def test_tiff(self, compression: str | None) -> None:
        content = encoded(filled("RGB", (200, 100, 50)), "TIFF", compression=compression)
        assert pixel(content) == pytest.approx(
            [200, 100, 50], abs=3 if compression == "jpeg" else 0
        )

    def test_tiff_gives_its_first_page(self) -> None:
        pages = [filled("L", 7), filled("L", 9)]
        content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
        assert pixel(content, 1) == [7]

    def test_tiff_of_cmyk_and_with_alpha(self) -> None:
        assert pixel(encoded(filled("CMYK", (0, 255, 255, 0)), "TIFF")) == [255, 0, 0]
        assert pixel(encoded(filled("RGBA", (255, 0, 0, 102)), "TIFF")) == [255, 153, 153]

    @pytest.mark.parametrize(("white_is_zero", "expected"), [(False, 128), (True, 127)])
    def test_tiff_of_16_bits(self, white_is_zero: bool, expected: int) -> None:
        image = Image.fromarray(np.full((8, 8), 0x8000, np.uint16))
        content = bytearray(encoded(image, "TIFF"))
        assert pixel(bytes(content), 1) == [128]
        entry = content.index(struct.pack("<HHII", 262, 3, 1, 1))
        if white_is_zero:
            content[entry + 8] = 0
        assert pixel(bytes(content), 1) == [expected]

    @pytest.mark.parametrize(
        ("dtype", "found"), [(np.float32, "floating point"), (np.int32, "32 bits")]
    )
    def test_tiff_whose_levels_mean_nothing(self, dtype: Any, found: str) -> None:
        content = encoded(Image.fromarray(np.full((8, 8), 7, dtype)), "TIFF")
        with pytest.raises(UnreadableError, match=f"has levels of {found}.*expected 8 or 16 bits"):
            decode(content, Form(8, 1, "resize"))

    @pytest.mark.skipif(not formats.is_available("AVIF"), reason="Pillow is without AVIF")
    def test_avif(self) -> None:
        content = encoded(filled("RGB", (200, 100, 50), 64), "AVIF", quality=95)
        assert formats.told_by_content(content) == "AVIF"
        assert pixel(content) == pytest.approx([200, 100, 50], abs=4)

    def test_heic(self) -> None:
        pillow_heif = pytest.importorskip("pillow_heif")
        file = io.BytesIO()
        pillow_heif.from_pillow(filled("RGB", (200, 100, 50), 64)).save(file, quality=95)
        content = file.getvalue()
        assert formats.told_by_content(content) == "HEIF"
        # Whatever the ending says: it is told by the content.
        assert pixel(content) == pytest.approx([200, 100, 50], abs=4)
        with pytest.raises(UnreadableError, match="has 64 x 64 pixels, more than the 4095"):
            decode(content, Form(8, 3, "resize", 4095))
        with pytest.raises(UnreadableError):
            decode(content[: len(content) // 2], Form(8, 3, "resize"))

    @pytest.mark.usefixtures("without")
    def test_what_is_not_installed_is_named(self) -> None:
        assert ".heic" not in formats.readable_endings()
        assert formats.hint(".heic") == "install pillow-heif"
        assert formats.hint(".png") == formats.hint(".txt") == ""
        heic = b"\0\0\0\x18ftypheic" + bytes(40)
        with pytest.raises(UnreadableError, match=r"of the format HEIF.*: install pillow-heif"):
            decode(heic, Form(8, 3, "resize"))

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"\0\0\0\x14ftypmif1\0\0\0\0avif", "AVIF"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
            (b"\0\0\0\x14ftypisom\0\0\0\0mp42", None),
            (b"\xff\xd8\xff\xe0", None),
            (b"", None),
        ],
    )
    def test_what_content_tells(self, content: bytes, expected: str | None) -> None:
        assert formats.told_by_content(content) == expected


def test_pillows_own_limit_is_left_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    pixel(encoded(filled("L", 9)))
    assert before == Image.MAX_IMAGE_PIXELS


class TestTransparency:
    """Painted over white."""

    def test_alpha(self) -> None:
        assert pixel(encoded(filled("RGBA", (255, 0, 0, 255)))) == [255, 0, 0]
        assert pixel(encoded(filled("RGBA", (255, 0, 0, 0)))) == [255, 255, 255]
        # 0.4 · 0 + 0.6 · 255 = 153
        assert pixel(encoded(filled("RGBA", (255, 0, 0, 102)))) == [255, 153, 153]

    def test_alpha_in_webp(self) -> None:
        content = encoded(filled("RGBA", (0, 0, 0, 0)), "WEBP", lossless=True)
        assert pixel(content) == [255, 255, 255]

    def test_grey_with_alpha(self) -> None:
        assert pixel(encoded(filled("LA", (0, 51))), 1) == [204]

    def test_16_bit_grey_with_alpha(self) -> None:
        assert pixel(png(16, 4, struct.pack(">2H", 0, 0x3333) * 8), 1) == [204]

    def test_transparent_colour_of_a_palette(self) -> None:
        image = filled("P", 1)
        image.putpalette([9, 9, 9, 250, 100, 5])
        assert pixel(encoded(image, transparency=1)) == [255, 255, 255]
        assert pixel(encoded(image, transparency=0)) == [250, 100, 5]
        assert pixel(encoded(image, transparency=b"\x00\x66")) == [253, 193, 155]

    def test_transparent_colour(self) -> None:
        key = (b"tRNS", struct.pack(">3H", 1, 2, 3))
        assert pixel(png(8, 2, bytes((1, 2, 3)) * 8, key)) == [255, 255, 255]
        assert pixel(png(8, 2, bytes((1, 2, 4)) * 8, key)) == [1, 2, 4]

    def test_transparent_grey(self) -> None:
        assert pixel(png(8, 0, b"\x05" * 8, (b"tRNS", b"\x00\x05"))) == [255] * 3
        assert pixel(png(1, 0, b"\x00", (b"tRNS", b"\x00\x00")), 1) == [255]

    def test_transparent_16_bit_grey(self) -> None:
        key = (b"tRNS", b"\x12\x34")
        assert pixel(png(16, 0, b"\x12\x34" * 8, key), 1) == [255]
        assert pixel(png(16, 0, b"\x12\x35" * 8, key), 1) == [18]


class TestGeometry:
    @pytest.fixture
    def pixels(self) -> npt.NDArray[np.uint8]:
        return np.random.default_rng(0).integers(0, 256, (8, 11, 3), dtype=np.uint8)

    @pytest.mark.parametrize(
        ("orientation", "turn"),
        [
            (1, lambda a: a),
            (2, lambda a: a[:, ::-1]),
            (3, lambda a: a[::-1, ::-1]),
            (4, lambda a: a[::-1]),
            (5, lambda a: a.swapaxes(0, 1)),
            (6, lambda a: np.rot90(a, -1)),
            (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
            (8, lambda a: np.rot90(a)),
        ],
    )
    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_exif_orientation(
        self, pixels: npt.NDArray[np.uint8], orientation: int, turn: Any, kind: str
    ) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(Image.fromarray(pixels), kind, exif=exif, **options)
        upright = turn(pixels)
        height, width = upright.shape[:2]
        expected = np.zeros((16, 16, 3), np.uint8)
        top, left = (16 - height) // 2, (16 - width) // 2
        expected[top : top + height, left : left + width] = upright
        fitted = decode(content, Form(16, 3, "pad"))
        np.testing.assert_array_equal(fitted, expected.transpose(2, 0, 1))

    def test_exif_orientation_of_a_jpeg(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: what is on the left belongs on top
        image = Image.new("L", (64, 64))
        image.paste(255, (0, 0, 32, 64))
        fitted = decode(encoded(image, "JPEG", exif=exif), Form(8, 1, "resize"))[0]
        assert fitted[:3].min() > 250
        assert fitted[-3:].max() < 5

    def test_damaged_exif_is_passed_over(self) -> None:
        content = encoded(filled("RGB", (5, 5, 5)), exif=b"Exif\x00\x00MM\x00*\xff\xff")
        assert pixel(content) == [5, 5, 5]

    def test_central_crop(self, pixels: npt.NDArray[np.uint8]) -> None:
        fitted = decode(encoded(Image.fromarray(pixels)), Form(8, 3, "resize"))
        np.testing.assert_array_equal(fitted, pixels[:, 1:9].transpose(2, 0, 1))

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_large_jpeg_is_decoded_in_part_without_harm(self, channels: Literal[1, 3]) -> None:
        rng = np.random.default_rng(0)
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        image = small.resize((640, 480), Image.Resampling.BICUBIC)
        form = Form(16, channels, "resize")
        in_part = decode(encoded(image, "JPEG", quality=95), form).astype(int)
        whole = decode(encoded(image, "PNG"), form).astype(int)
        assert np.abs(in_part - whole).mean() < 1.5

    def test_pad_refuses_what_is_larger(self) -> None:
        content = encoded(filled("L", 0, 9))
        with pytest.raises(DataError, match=r"cat/1\.png: 9 x 9 is larger than data\.size 8"):
            decode_chunk(Form(8, 1, "pad"), [("cat/1.png", content)])


class TestUnreadable:
    def check(self, content: bytes, message: str) -> None:
        with pytest.raises(UnreadableError, match=message):
            decode(content, Form(8, 3, "resize"))

    @pytest.mark.parametrize("content", [b"", b"text", b"RIFF" + bytes(99), b"\x89PNG\r\n\x1a\n"])
    def test_no_image(self, content: bytes) -> None:
        self.check(content, "^is not a PNG, JPEG, WebP, BMP, GIF, TIFF, AVIF or HEIC image$")

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
    @pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
    def test_truncated(self, kind: str, keep: float) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        content = encoded(Image.fromarray(noise), kind)
        self.check(content[: int(len(content) * keep)], ".")

    def test_a_damaged_checksum(self) -> None:
        content = bytearray(encoded(filled("RGB", (1, 2, 3))))
        content[20] ^= 0xFF
        self.check(bytes(content), ".")

    @pytest.mark.parametrize("side", [10_000, 60_000])
    def test_an_image_bomb_is_not_even_decoded(
        self, monkeypatch: pytest.MonkeyPatch, side: int
    ) -> None:
        monkeypatch.setattr(Image.Image, "load", None)
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        content = png(1, 0, b"\0").replace(struct.pack(">IIBBBBB", 8, 8, 1, 0, 0, 0, 0), header)
        start = content.index(b"IHDR")
        checksum = struct.pack(">I", crc(content[start : start + 17]))
        content = content[: start + 17] + checksum + content[start + 21 :]
        self.check(content, f"has {side} x {side} pixels, more than the 67108864 of")

    def test_a_chunk_lists_them_and_keeps_the_others(self) -> None:
        good = encoded(filled("L", 9))
        chunk: list[tuple[str, Content]] = [
            ("a.png", good),
            ("b.png", b""),
            ("c.png", good),
            ("d.png", UnreadableError("x")),
        ]
        images, places, failures = decode_chunk(Form(8, 1, "resize"), chunk)
        assert images.shape == (2, 1, 8, 8)
        assert places.tolist() == [0, 2]
        assert failures == [
            ("b.png", "is not a PNG, JPEG, WebP, BMP, GIF, TIFF, AVIF or HEIC image"),
            ("d.png", "x"),
        ]

    def test_want_of_memory_is_no_fault_of_the_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_memory(*_: Any) -> None:
            raise MemoryError

        monkeypatch.setattr(module, "fit_image", no_memory)
        with pytest.raises(UserError, match=r"a\.png: not enough memory"):
            decode_chunk(Form(8, 1, "resize"), [("a.png", encoded(filled("L", 9)))])


SEEDS = [
    encoded(Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)), kind, **options)
    for kind, options in (
        ("PNG", {}), ("JPEG", {}), ("WEBP", {}), ("BMP", {}), ("GIF", {}), ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    )
]  # fmt: skip


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    st.integers(0, 100),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
def test_any_bytes_are_an_image_or_unreadable(
    seed: bytes, changes: list[tuple[float, int]], cut: int
) -> None:
    content = bytearray(seed)
    for place, value in changes:
        content[int(place * len(content))] = value
    try:
        pixels = decode(bytes(content[: len(content) - cut]), Form(8, 3, "resize", 1 << 20))
    except UnreadableError as error:
        assert str(error).isprintable()  # noqa: PT017 - either is right
        assert len(str(error)) < 300  # noqa: PT017
    else:
        assert pixels.shape == (3, 8, 8)


def test_workers_import_little() -> None:
    program = (
        "import sys, gan.preparation.decode\n"
        "print({'torch', 'pydantic', 'tqdm'} & set(sys.modules))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=root, text=True)
    assert done.stdout.strip() == "set()", done.stderr
