from pathlib import Path

import pytest

from gan.generators.lines import visible, write_lines


def test_what_breaks_or_hides_a_line_becomes_visible():
    assert visible("a b\n\tc\r\x00\u2028ü") == "a b↵→c···ü"


def test_texts_become_lines(tmp_path: Path):
    write_lines(iter(["a\nb", "", "naïve"]), tmp_path / "texts.txt")
    assert (tmp_path / "texts.txt").read_bytes() == "a↵b\n\nnaïve\n".encode()


def test_what_fails_half_way_leaves_no_file(tmp_path: Path):
    def texts():
        yield "one"
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write_lines(texts(), tmp_path / "texts.txt")
    assert list(tmp_path.iterdir()) == []
