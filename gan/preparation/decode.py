"""From the bytes of image files to arrays. Worker processes import this: no torch, no pydantic."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from gan.errors import DataError, UserError, shown
from gan.preparation import formats, png
from gan.preparation.fit import DoesNotFitError, Fit, fit_image
from gan.preparation.listing import Content, UnreadableError, load

# As `data.max_pixels` has it: some 270 MB in RGB, of which Pillow makes four bytes.
MAX_PIXELS = 1 << 26

# A JPEG is decoded at a fraction of its size if that leaves this many times the wanted one.
_REDUCING_GAP = 3
# Decoding such a fraction may take a JPEG's coefficients as a whole, of this many times the pixels.
_WHOLE_JPEG = 8

# Of 16 bits, converted at once.
_BLOCK_PIXELS = 1 << 20
_JPEG = b"\xff\xd8\xff"
# Of a TIFF: what 0 stands for.
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


class Form(NamedTuple):
    """What every image becomes."""

    size: int
    channels: Literal[1, 3]
    fit: Fit
    max_pixels: int = MAX_PIXELS  # of an image as it is decoded


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
            raise DataError(f"{shown(name)}: {error}") from None
        except MemoryError:
            raise UserError(
                f"{shown(name)}: not enough memory to decode it; try fewer runtime.workers"
            ) from None
        else:
            places.append(place)
    return Decoded(images[: len(places)], np.array(places, np.int64), failures)


def decode(content: bytes, form: Form) -> npt.NDArray[np.uint8]:
    """Decode one image file of any of `formats.ENDINGS` to uint8 `[C, size, size]`.

    The EXIF orientation is applied. Transparency is composited on white, as on paper. 16-bit grey
    is scaled to 8 bits. Of several pictures in a file the first counts. Grey is the luma of ITU-R
    601. Colour profiles are not applied. A JPEG is decoded at a fraction of its size where
    `form.size` needs no more, and it is the fraction that `form.max_pixels` bounds.

    Raises:
        UnreadableError: damaged, of another format, or of more than `form.max_pixels`; says which.
        DoesNotFitError: larger than the square that it should be padded to.
    """
    try:
        try:
            fitted = np.asarray(_fitted(content, form))
        except DoesNotFitError:
            raise
        except ValueError:
            # Pillow refuses a PNG for a long text or profile in it, whatever its pixels.
            if not content.startswith(png.SIGNATURE):
                raise
            fitted = np.asarray(_fitted(png.without_texts(content), form))
    except (MemoryError, UnreadableError, DoesNotFitError):
        raise
    except UnidentifiedImageError:
        raise UnreadableError(_unknown(content)) from None
    except Exception as error:  # decoders raise what they like on damaged input
        raise UnreadableError(shown(error) or type(error).__name__) from error
    shape = (form.size, form.size, form.channels)
    pixels: npt.NDArray[np.uint8] = fitted.reshape(shape).transpose(2, 0, 1)
    return pixels


def _fitted(content: bytes, form: Form) -> Image.Image:
    with _own_limit(), _open(content) as image:
        whole = image.size
        _draft(image, form)
        _check_decoded(image, whole, form)
        image.load()
        if image.format == "PNG" and _may_lack_rows(image) and png.lacks_rows(content):
            raise UnreadableError("image file is truncated: its data end before its last row")
        upright = _turn(image)
        plain = _to_mode(upright, "L" if form.channels == 1 else "RGB")
    return fit_image(plain, form.size, form.fit)


@contextlib.contextmanager
def _own_limit() -> Iterator[None]:
    """Pillow's own limit of pixels knows nothing of fractions, and of no parameter."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _open(content: bytes) -> Image.Image:
    if content.startswith(_JPEG):
        # By its class: `Image.open` makes another thing of one with more pictures behind it (MPO,
        # as phones write them), which is never decoded in part.
        return JpegImagePlugin.JpegImageFile(io.BytesIO(content))
    if formats.told_by_content(content) == "HEIF" and formats.is_available("HEIF"):
        import pillow_heif

        return pillow_heif.HeifImageFile(io.BytesIO(content))
    return Image.open(io.BytesIO(content), formats=formats.readable_formats())


def _unknown(content: bytes) -> str:
    """Why a file is none of the formats."""
    name = formats.told_by_content(content)
    if name is not None and not formats.is_available(name):
        return f"is a file of the format {name}, which needs more: {formats.INSTALL[name]}"
    return f"is not a {formats.NAMES} image"


def _draft(image: Image.Image, form: Form) -> None:
    """Let libjpeg leave out what is not needed: colours, and frequencies far beyond the size."""
    if image.format == "JPEG":
        mode = "L" if form.channels == 1 else None
        wanted = 2 * (_REDUCING_GAP * form.size,) if form.fit == "resize" else image.size
        image.draft(mode, wanted)


def _check_decoded(image: Image.Image, whole: tuple[int, int], form: Form) -> None:
    """Raise unless what is decoded of an image, drafted already, is within the limit."""
    pixels, limit = image.width * image.height, form.max_pixels
    found = f"has {whole[0]} x {whole[1]} pixels"
    if pixels > limit:
        part = "" if image.size == whole else f", decoded at {image.width} x {image.height}"
        raise UnreadableError(f"{found}{part}, more than the {limit} of data.max_pixels")
    # One of several passes is held whole before anything is left out.
    often = 1 if "progressive" in image.info else _WHOLE_JPEG
    if whole[0] * whole[1] > often * limit:
        raise UnreadableError(f"{found}, more than can be decoded within data.max_pixels {limit}")


def _may_lack_rows(image: Image.Image) -> bool:
    """Whether the last row is black, or interlaced: then it may be that Pillow was given none."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    return bool(image.info.get("interlace")) or not any(last.tobytes())


def _turn(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, in place."""
    # A damaged EXIF block does not make an image unreadable; a damaged image is told by `load`.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    image.load()
    return image


def _to_mode(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """Convert any mode that the formats give to L or RGB."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return _from_16_bits(image).convert(mode)
    if image.mode in {"I", "F"}:
        raise UnreadableError(
            f"has levels of {'32 bits' if image.mode == 'I' else 'floating point'}, whose black "
            "and white nothing tells: expected 8 or 16 bits"
        )
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
    levels = np.asarray(image)
    inverted = (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    )
    transparent = image.info.get("transparency")
    grey = np.empty(levels.shape, np.uint8)
    rows = max(1, _BLOCK_PIXELS // levels.shape[1])
    for top in range(0, len(levels), rows):
        values = levels[top : top + rows].astype(np.uint32)
        if inverted:
            values = 65535 - values
        part = (values + 128) // 257  # 65535 = 257 × 255
        if transparent is not None:
            part[values == transparent] = 255
        grey[top : top + rows] = part
    return Image.fromarray(grey)
