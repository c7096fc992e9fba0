import csv
from pathlib import Path

import pytest

from gan.history import COLUMNS, MEASURES, as_columns, write_csv


def test_csv_has_every_column_and_counts_are_whole(tmp_path: Path):
    rows = [
        [50.0, 3200.0, *(0.1 * i for i in range(len(MEASURES)))],
        [100.0, 6400.0, *(-1e-7 * i for i in range(len(MEASURES)))],
    ]
    write_csv(rows, tmp_path / "history.csv")
    with (tmp_path / "history.csv").open() as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == COLUMNS
    assert [row["step"] for row in read] == ["50", "100"]
    assert [row["images"] for row in read] == ["3200", "6400"]
    assert float(read[1]["real_logit"]) == pytest.approx(-1e-7 * MEASURES.index("real_logit"))
    assert as_columns(rows)["generator_loss"] == [0.2, -2e-7]


def test_an_empty_history_is_a_header(tmp_path: Path):
    write_csv([], tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text() == ",".join(COLUMNS) + "\n"
