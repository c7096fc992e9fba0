import csv
from pathlib import Path

import numpy as np
import pytest

from gan.generators.lines import visible, write_lines, write_table


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


def test_rows_as_a_table_read_back_as_they_were(tmp_path: Path):
    rows = np.random.default_rng(0).normal(1e4, 1e-2, (50, 2)).astype(np.float32)
    write_table(rows, ["$0_$10", 'a "b", c'], tmp_path / "samples.csv")
    with (tmp_path / "samples.csv").open(newline="") as file:
        header, *found = csv.reader(file)
    assert header == ["$0_$10", 'a "b", c']
    assert np.array_equal(np.array(found, np.float32), rows)
