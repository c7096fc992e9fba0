from pathlib import Path

import pytest

from gan.evaluation import of_kind
from gan.evaluation.found import write_table


def test_a_table_is_csv_with_six_digits(tmp_path: Path):
    table = {"class": ["a,b", "c"], "share": [1 / 3, 2e-7], "count": [1_000_000_007, 0]}
    write_table(table, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes().decode() == (
        'class,share,count\n"a,b",0.333333,1000000007\nc,2e-07,0\n'
    )


def test_a_table_without_rows_is_a_header(tmp_path: Path):
    write_table({"class": [], "share": []}, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "class,share\n"


def test_columns_of_different_lengths_are_no_table(tmp_path: Path):
    with pytest.raises(ValueError, match="shorter"):
        write_table({"class": ["a", "b"], "share": [1.0]}, tmp_path / "table.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["images", "points", "text", "labels"])
def test_every_kind_has_its_evaluation(kind):
    assert callable(of_kind(kind).evaluate)
