import csv
from pathlib import Path

import pytest

from gan.game.measures import DISCRETE_MEASURES, MEASURES
from gan.training.history import COUNTERS, as_columns, write_csv


def test_csv_has_every_column_and_counts_are_whole(tmp_path: Path):
    rows = [
        [50.0, 3200.0, *(0.1 * i for i in range(len(MEASURES)))],
        [100.0, 6400.0, *(-1e-7 * i for i in range(len(MEASURES)))],
    ]
    write_csv(rows, tmp_path / "history.csv")
    with (tmp_path / "history.csv").open() as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == COUNTERS + MEASURES
    assert [row["step"] for row in read] == ["50", "100"]
    assert [row["images"] for row in read] == ["3200", "6400"]
    assert float(read[1]["real_logit"]) == pytest.approx(-1e-7 * MEASURES.index("real_logit"))
    assert as_columns(rows)["generator_loss"] == [0.2, -2e-7]


def test_an_empty_history_is_a_header(tmp_path: Path):
    write_csv([], tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text() == ",".join(COUNTERS + MEASURES) + "\n"


def test_the_measures_are_those_of_the_game(tmp_path: Path):
    measures = (*MEASURES, *DISCRETE_MEASURES)
    row = [1.0, 2.0, *(float(i) for i in range(len(measures)))]
    write_csv([row], tmp_path / "history.csv", measures)
    header, values = (tmp_path / "history.csv").read_text().splitlines()
    assert header.split(",")[-4:] == list(DISCRETE_MEASURES)
    assert values.split(",")[-1] == str(len(measures) - 1)
    assert as_columns([row], measures)["generator_entropy"] == [len(measures) - 1]


def test_a_row_of_another_game_is_refused(tmp_path: Path):
    row = [0.0] * (2 + len(MEASURES) + len(DISCRETE_MEASURES))
    with pytest.raises(ValueError, match="has 20 numbers: expected 2 counters and 14 measures"):
        write_csv([row], tmp_path / "history.csv")
    with pytest.raises(ValueError, match="20 numbers"):
        as_columns([row])
    assert not list(tmp_path.iterdir())
