"""Formats of image files: their endings, and what has to be installed for some of them."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping

from PIL import features

# As Pillow names them, the most frequent first. A JPEG may have further pictures behind it (MPO).
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
NAMES = "PNG, JPEG, WebP, BMP, GIF, TIFF, AVIF or HEIC"
# What a format takes that is not always there.
INSTALL = {"AVIF": "install pillow>=11.3", "HEIF": "install pillow-heif"}

# Brands of files of the kind `ftyp` (ISO 14496-12), which are of pictures alone or of either kind.
_AVIF = (b"avif", b"avis")
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@functools.cache
def is_available(name: str) -> bool:
    """Whether what the format `name` takes is installed."""
    if name == "HEIF":
        return importlib.util.find_spec("pillow_heif") is not None
    return name not in INSTALL or bool(features.check(name.lower()))


def readable_endings() -> frozenset[str]:
    """Endings of files that are read with what is installed, in lower case."""
    return frozenset(
        each for name, endings in ENDINGS.items() if is_available(name) for each in endings
    )


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """The formats themselves, but HEIF, which Pillow does not know by itself."""
    return tuple(name for name in ENDINGS if name != "HEIF" and is_available(name))


def hint(ending: str) -> str:
    """What to install to read files of this ending, or nothing."""
    for name, endings in ENDINGS.items():
        if ending in endings and not is_available(name):
            return INSTALL[name]
    return ""


def told_by_content(content: bytes) -> str | None:
    """AVIF or HEIF, where the first bytes say so."""
    if content[4:8] != b"ftyp":
        return None
    brands = content[8 : min(int.from_bytes(content[:4], "big"), 256)]
    found = {brands[start : start + 4] for start in range(0, len(brands), 4)}
    if not found.isdisjoint(_AVIF):
        return "AVIF"
    return None if found.isdisjoint(_HEIF) else "HEIF"
