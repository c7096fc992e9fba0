from pathlib import Path

import pytest

from gan.figures import glyphs
from gan.figures.glyphs import FONT, fonts_for

LATIN = frozenset(range(0x20, 0x250))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, frozenset[int]]:
    """Fonts by name, and the characters they have."""
    fonts = {FONT: LATIN}

    class Manager:
        @property
        def ttflist(self):
            return [type("Entry", (), {"name": name}) for name in fonts]

    monkeypatch.setattr(glyphs.font_manager, "fontManager", Manager())
    monkeypatch.setattr(glyphs, "_characters_of", fonts.__getitem__)
    return fonts


def test_latin_needs_one_font(installed: dict):
    found = fonts_for(["abc", "naïve"])
    assert (found.families, found.boxes) == ([FONT], 0)
    assert found.width("abc") == 3


def test_without_another_font_the_missing_are_counted_once_each(installed: dict):
    found = fonts_for(["漢字", "漢a"])
    assert (found.families, found.boxes) == ([FONT], 2)
    assert found.width("漢a") == 3


def test_the_font_that_has_most_of_them(installed: dict):
    installed["Unifont"] = frozenset(map(ord, "漢"))
    installed["SimHei"] = frozenset(map(ord, "漢字"))
    installed["Noto Sans CJK SC"] = frozenset(map(ord, "語漢"))
    installed["Some Other Font"] = frozenset(map(ord, "漢字語か"))
    found = fonts_for(["漢字か"])
    assert (found.families, found.boxes) == ([FONT, "SimHei"], 1)
    # Of those equally good the first in the list.
    assert fonts_for(["漢"]).families == [FONT, "Noto Sans CJK SC"]


def test_a_font_that_has_none_of_them_is_no_help(installed: dict):
    installed["SimHei"] = LATIN
    assert fonts_for(["漢"]).families == [FONT]


def test_the_font_is_there(tmp_path: Path):
    assert {ord("a"), ord("↵"), 0xFFFD} <= glyphs._characters_of(FONT)
