"""Which characters a page can show, and with what font.

A page has the font that comes with Matplotlib, so that it looks alike on every machine; only
characters that this one does not have are taken from another that is installed. Without such a
font they are boxes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

from matplotlib import font_manager

FONT = "DejaVu Sans Mono"
# Fonts of many scripts that come with systems or are often installed, the more even ones first.
OTHERS = (
    "Noto Sans Mono CJK SC",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei Mono",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Yu Gothic",
    "MS Gothic",
    "Malgun Gothic",
    "NanumGothic",
    "Unifont",
    "Arial Unicode MS",
)
# Cells that a character takes up which is not of `FONT`: none is wider than an em.
WIDE = 2


class Fonts(NamedTuple):
    """What a text is drawn with.

    Attributes:
        families: in the order in which they are asked for a glyph.
        own: the characters that `FONT` has.
        boxes: how many different characters none of them has.
    """

    families: list[str]
    own: frozenset[int]
    boxes: int

    def width(self, line: str) -> int:
        """Of a line, in cells as wide as a character of `FONT`."""
        return sum(1 if ord(character) in self.own else WIDE for character in line)


def fonts_for(lines: Iterable[str]) -> Fonts:
    """`FONT`, and the one of `OTHERS` that is installed and has most of what `FONT` has not."""
    own = _characters_of(FONT)
    missing = {ord(character) for line in lines for character in line} - own
    if not missing:
        return Fonts([FONT], own, 0)
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    left = {name: len(missing - _characters_of(name)) for name in OTHERS if name in installed}
    if not left or min(left.values()) == len(missing):
        return Fonts([FONT], own, len(missing))
    best = min(left, key=lambda name: left[name])  # the first of those equally good
    return Fonts([FONT, best], own, left[best])


@functools.cache
def _characters_of(family: str) -> frozenset[int]:
    """Code points that an installed font has a glyph for."""
    path = font_manager.findfont(family, fallback_to_default=False)
    return frozenset(font_manager.get_font(path).get_charmap())
