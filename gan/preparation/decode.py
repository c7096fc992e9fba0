"""From the bytes of image files to arrays. Worker processes import this: no torch, no pydantic."""

from __future__ import annotations

import contextlib
import io
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from gan.errors import DataError, UserError
from gan.preparation.archives import Content, UnreadableError, load
from gan.preparation.fit import DoesNotFitError, Fit, fit_image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
# Pillow's own threshold, from which it only warns of decompression bombs. Checked before decoding.
MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3

# A JPEG is decoded at a fraction of its size if that leaves this many times the wanted one.
_REDUCING_GAP = 3


class Form(NamedTuple):
    """What every image becomes."""

    size: int
    channels: Literal[1, 3]
    fit: Fit


class Decoded(NamedTuple):
    """The images of a chunk that could be read, and what became of the others."""

    images: npt.NDArray[np.uint8]  # [B, C, H, W]
    places: npt.NDArray[np.int64]  # [B], which files of the chunk they are
    failures: list[tuple[str, str]]  # name, reason


def decode_chunk(form: Form, chunk: list[tuple[str, Content]]) -> Decoded:
    """Decode files given as name and content. Each is decoded once; those unreadable are listed.

    Raises:
        DataError: an image is larger than the square that it should be padded to.
        UserError: there is not enough memory for an image.
    """
    images = np.empty((len(chunk), form.channels, form.size, form.size), np.uint8)
    places: list[int] = []
    failures: list[tuple[str, str]] = []
    for place, (name, content) in enumerate(chunk):
        try:
            images[len(places)] = decode(load(content), form)
        except UnreadableError as error:
            failures.append((name, str(error)))
        except DoesNotFitError as error:
            raise DataError(f"{name}: {error}") from None
        except MemoryError:
            raise UserError(
                f"{name}: not enough memory to decode it; try fewer runtime.workers"
            ) from None
        else:
            places.append(place)
    return Decoded(images[: len(places)], np.array(places, np.int64), failures)


def decode(content: bytes, form: Form) -> npt.NDArray[np.uint8]:
    """Decode one image file (PNG, JPEG, WebP or BMP) to uint8 `[C, size, size]`.

    The EXIF orientation is applied. Transparency is composited on white, as on paper. 16-bit grey
    is scaled to 8 bits. Of an animation the first frame counts. Grey is the luma of ITU-R 601.
    Colour profiles are not applied.

    Raises:
        UnreadableError: damaged, of another format, or of more than `MAX_PIXELS`; says which.
        DoesNotFitError: larger than the square that it should be padded to.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_pixels(image)
            _draft(image, form)
            upright = _turn(image)
            plain = _to_mode(upright, "L" if form.channels == 1 else "RGB")
        fitted = np.asarray(fit_image(plain, form.size, form.fit))
    except (DoesNotFitError, MemoryError, UnreadableError):
        raise
    except UnidentifiedImageError:
        raise UnreadableError("is not a PNG, JPEG, WebP or BMP image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(f"has more than the {MAX_PIXELS} pixels that are read") from None
    except Exception as error:  # decoders raise what they like on damaged input
        raise UnreadableError(f"{error}" or type(error).__name__) from error
    shape = (form.size, form.size, form.channels)
    pixels: npt.NDArray[np.uint8] = fitted.reshape(shape).transpose(2, 0, 1)
    return pixels


def _check_pixels(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableError(
            f"has {image.width} x {image.height} pixels, more than the {MAX_PIXELS} that are read"
        )


def _draft(image: Image.Image, form: Form) -> None:
    """Let libjpeg leave out what is not needed: colours, and frequencies far beyond the size."""
    if image.format == "JPEG":
        mode = "L" if form.channels == 1 else None
        wanted = 2 * (_REDUCING_GAP * form.size,) if form.fit == "resize" else image.size
        image.draft(mode, wanted)


def _turn(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, in place."""
    # A damaged EXIF block does not make an image unreadable; a damaged image is told by `load`.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    image.load()
    return image


def _to_mode(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """Convert any mode that the four formats give to L or RGB."""
    if image.mode.startswith("I"):
        return _from_16_bits(image).convert(mode)
    if image.has_transparency_data:
        # As by painting over white: what is transparent is bright, also where it hides a colour.
        painted = Image.new("RGBA", image.size, "white")
        painted.alpha_composite(image.convert("RGBA"))
        return painted.convert(mode)
    if image.mode == mode:
        return image
    # Palettes and CMYK know no way to grey of their own. Pillow reads CMYK JPEGs as browsers do,
    # inverted as Adobe writes them.
    return image.convert("RGB").convert(mode)


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits to L, where Pillow would clip at 255."""
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)  # 65535 = 257 × 255
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey)
