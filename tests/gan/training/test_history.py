import csv
import math
from pathlib import Path

import pytest

from gan.errors import DataError
from gan.game.measures import DISCRETE_MEASURES, MEASURES
from gan.training.history import COUNTERS, as_columns, read_csv, write_csv


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


def test_the_table_is_read_as_it_was_written(tmp_path: Path):
    path = tmp_path / "history.csv"
    rows = [[1.0, 64.0, 0.5, -2e-7], [2.0, 128.0, math.nan, 1.0]]
    write_csv(rows, path, ["a", "b"])
    found = read_csv(path)
    assert list(found) == [*COUNTERS, "a", "b"]
    assert found["step"] == [1, 2]
    assert found["b"] == [-2e-7, 1]
    assert found["a"][0] == 0.5
    assert math.isnan(found["a"][1])
    write_csv([], path, ["a"])
    assert read_csv(path) == {"step": [], "images": [], "a": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not enough values to unpack"),
        (b"a,b\n1,2\n", "its first line is a,b"),
        (b"step,images,a,a\n", "its first line is step,images,a,a"),
        (b"step,images,a\n1,2\n", "a row of the history has 2 numbers: expected 2 counters and 1"),
        (b"step,images,a\n1,2,x\n", "could not convert string to float: 'x'"),
        (b"step,images,a\n1,2," + b"1" * 200_000 + b"\n", "field larger than field limit"),
        (b'step,images,"a\n1,2', "unexpected end of data"),
        (b"step,images,\xff\n", "UnicodeDecodeError"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(
        DataError, match=rf"history.csv is damaged or foreign.*run train.*{message}"
    ):
        read_csv(tmp_path / "history.csv")


def test_a_missing_table_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"cannot read .*history.csv: No such file"):
        read_csv(tmp_path / "history.csv")


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
