from __future__ import annotations

import logging
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan.config import DataConfig
from gan.data.meaning import columns_of, in_units, toy_of
from gan.data.prepared import Prepared, open_prepared
from gan.data.training_set import training_set
from gan.errors import DataError
from gan.preparation.prepare import prepare
from gan.preparation.sources import table
from gan.preparation.split import in_test

POINTS = np.random.default_rng(0).normal([170.0, -3e4], [8.0, 0.25], (60, 2))
HELD_OUT = np.array([in_test(f"table/{place:05d}", 0.3) for place in range(60)])


def run(path: Path, **settings: Any) -> Prepared:
    config = DataConfig(name="table", path=str(path), **{"test_fraction": 0.3} | settings)
    prepare(config, path.parent / "out", progress=False)
    return open_prepared(path.parent / "out")


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(separator: str = ",", header: str = "height,weight", points: Any = POINTS) -> str:
    rows = [separator.join(repr(float(value)) for value in row) for row in points]
    return "\n".join([*([header] if header else []), *rows, ""])


FORMS = {
    "comma.csv": lines(),
    "semicolon.csv": lines(";", "height;weight").replace("\n", "\r\n"),
    "tab.tsv": lines("\t", "height\tweight"),
    "space.txt": "# written by NumPy\n" + lines("  ", "height weight"),
    "quoted.csv": lines(header='"height", "weight"'),
    "marked.csv": "\ufeff" + lines() + "\n\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_text(tmp_path: Path, name: str) -> None:
    opened = run(written(tmp_path / name, FORMS[name]))
    opened.verify()
    assert (opened.manifest.source, opened.manifest.kind) == ("table", "points")
    columns = columns_of(opened)
    assert [column.name for column in columns] == ["height", "weight"]
    training = POINTS[~HELD_OUT]
    for column, mean, deviation in zip(columns, training.mean(0), training.std(0), strict=True):
        assert column.mean == pytest.approx(mean, abs=1e-5 * deviation)
        assert column.deviation == pytest.approx(deviation, rel=1e-5)
    for split, chosen in (("train", ~HELD_OUT), ("test", HELD_OUT)):
        points = opened.points(split)
        assert points.dtype == np.float32
        expected = (POINTS[chosen] - training.mean(0)) / training.std(0)
        assert np.allclose(points, expected, atol=2e-5)
        assert np.allclose(in_units(points, columns), POINTS[chosen], atol=1e-4)


def test_without_a_header_columns_have_numbers(tmp_path: Path) -> None:
    opened = run(written(tmp_path / "a.csv", lines(header="")))
    assert [column.name for column in columns_of(opened)] == ["column 1", "column 2"]
    assert len(opened.points("train")) + len(opened.points("test")) == 60


@pytest.mark.parametrize("dtype", ["f4", ">f8", "i8", "u1"])
def test_arrays(tmp_path: Path, dtype: str) -> None:
    points = (np.abs(POINTS) % 200).astype(dtype)
    np.save(tmp_path / "a.npy", points)
    opened = run(tmp_path / "a.npy")
    assert [column.name for column in columns_of(opened)] == ["column 1", "column 2"]
    found = in_units(opened.points("train"), columns_of(opened))
    assert np.allclose(found, points[~HELD_OUT].astype(float), atol=1e-3)


def test_one_column(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", POINTS[:, 0])
    of_array = run(tmp_path / "a.npy")
    assert of_array.manifest.shape == [1]
    of_text = run(written(tmp_path / "a.csv", "".join(f"{x!r}\n" for x in POINTS[:, 0].tolist())))
    assert np.array_equal(of_text.points("train"), of_array.points("train"))


def test_labels_are_no_coordinates(tmp_path: Path) -> None:
    rows = "".join(f"{place % 7}.5,{('b', 'ä', 'c')[place % 3]},{place}\n" for place in range(40))
    opened = run(written(tmp_path / "a.csv", "x,Class,y\n" + rows))
    assert opened.label_names == ["b", "c", "ä"]
    assert [column.name for column in columns_of(opened)] == ["x", "y"]
    place = in_units(opened.points("train"), columns_of(opened))[:, 1].round().astype(int)
    assert opened.labels("train").tolist() == [(0, 2, 1)[each % 3] for each in place]
    numbers = "x,label\n" + "".join(f"{place},{place % 3 * 5}\n" for place in range(40))
    assert run(written(tmp_path / "b.csv", numbers)).label_names == ["0", "5", "10"]


def test_the_numbers_of_rows_that_pandas_writes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "".join(f"{place},{place / 7},{-place}\n" for place in range(40))
    with caplog.at_level(logging.WARNING):
        opened = run(written(tmp_path / "a.csv", ",x,y\n" + rows))
    assert [column.name for column in columns_of(opened)] == ["x", "y"]
    assert "passed over the first column" in caplog.text


def test_a_constant_column_stays_what_it_is(tmp_path: Path) -> None:
    rows = "".join(f"{place},0.1\n" for place in range(40))
    opened = run(written(tmp_path / "a.csv", rows))
    assert columns_of(opened)[1].deviation == 1.0
    assert np.abs(opened.points("train")[:, 1]).max() < 1e-5


def test_more_rows_than_a_block_and_other_splits_stay(tmp_path: Path) -> None:
    points = np.random.default_rng(1).normal(size=(10_000, 3))
    np.save(tmp_path / "a.npy", points)
    opened = run(tmp_path / "a.npy")
    held_out = np.array([in_test(f"table/{place:05d}", 0.3) for place in range(10_000)])
    mean, deviation = points[~held_out].mean(0), points[~held_out].std(0)
    assert np.allclose(opened.points("test"), (points[held_out] - mean) / deviation, atol=1e-4)


BAD = "x,y\n" + 30 * "1.5,2\n2.5,4\n"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1.5", "has 1 columns: expected 2"),
        ("1,2,3", "has 3 columns: expected 2"),
        ("1,", "has empty in column 'y': expected a finite number"),
        ("nan,1", "has 'nan' in column 'x'"),
        ("1,-inf", "has '-inf' in column 'y'"),
        ("1_000,1", "has '1_000' in column 'x'"),
        ("eins,1", "has 'eins' in column 'x'"),
        ("1," + "9" * 400, "expected a finite number"),
    ],
)
def test_rows_that_cannot_be_read(tmp_path: Path, row: str, reason: str) -> None:
    path = written(tmp_path / "a.csv", BAD + row + "\n" + "3,5\n")
    with pytest.raises(DataError) as caught:
        run(path)
    assert str(caught.value).startswith(f"1 point in {path} cannot be read:\n")
    assert "\n  line 62: " in str(caught.value)
    assert reason in str(caught.value)
    opened = run(path, on_error="skip")
    assert len(opened.points("train")) + len(opened.points("test")) == 61
    assert opened.manifest.skipped.names == ["line 62"]


def test_numbers_of_an_array_that_are_not_finite(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.where(np.arange(60)[:, None] == 7, np.nan, POINTS))
    with pytest.raises(DataError, match="row 7: has a number that is not finite"):
        run(tmp_path / "a.npy")
    opened = run(tmp_path / "a.npy", on_error="skip")
    assert len(opened.points("test")) == HELD_OUT.sum() - HELD_OUT[7]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b";", "has no columns: expected"),
        (b"", "has no rows"),
        (b"# nothing\n\n", "has no rows"),
        (b"x,y\n", "no row for training that can be read"),
        (b"x,y\na,b\nc,d\n", "no row for training that can be read: .* has 'a' in column 'x'"),
        (b"1.5,cat\n2.5,dog\n", "has numbers and texts, 1.5, cat"),
        (b"1,5;2,5\n", "has numbers and texts, 1, 5;2, 5"),
        (b"x,x\n1,2\n", "names a column twice: x, x"),
        (b"label,class,x\n1,2,3\n", "has the columns label, class: expected one"),
        (b"label\n1\n2\n", "has 0 columns of numbers"),
        ("x\n1\n".encode("utf-16"), "is UTF-16: expected UTF-8"),
        (b"x,y\n\xff,1\n", "is damaged or foreign, expected a table of numbers"),
        (b'x,y\n1,"' + b"a\n" * 80_000, "is damaged or foreign"),
        (b"1,2\n" + b"3" * 70_000 + b",4\n", "more than 65536 characters"),
        (b"9" * 300 + b",1\n-" + b"9" * 300 + b",2\n" + b"1,1\n" * 9, "too far apart"),
        (b"x,label\n" + b"".join(b"1,%d\n" % row for row in range(10_001)), "more than 10000 lab"),
        (b"1," * 1024 + b"1\n", "has 1025 columns of numbers"),
        (b"\x93NUMPY\x01\x00\x00", "damaged or foreign, expected an array"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = written(tmp_path / "a.csv", content)
    with pytest.raises(DataError, match=message) as caught:
        run(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 2, 2)), r"is float64 \[3, 2, 2\]: expected numbers \[N, D\]"),
        (np.zeros((3, 2), complex), "is complex128"),
        (np.array(["a"]), "is <U1"),
    ],
)
def test_arrays_that_are_refused(tmp_path: Path, array: Any, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        run(tmp_path / "a.npy")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist: expected a table of numbers"):
        run(tmp_path / "a.csv")
    with pytest.raises(DataError, match="is a folder: expected a table of numbers"):
        run(tmp_path)


def test_such_points_have_no_density(tmp_path: Path) -> None:
    opened = run(written(tmp_path / "a.csv", lines()))
    with pytest.raises(DataError, match="points of table, which have no known density"):
        toy_of(opened)
    assert training_set(opened).toy is None
    prepare(DataConfig(name="toy", toy_points=100), tmp_path / "toy", progress=False)
    with pytest.raises(DataError, match="points of toy: expected points of a table"):
        columns_of(open_prepared(tmp_path / "toy"))


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = written(tmp_path / f"{count}.csv", count // 10 * "1.25,2.5\n3.5,4.75\n" * 5)
        tracemalloc.start()
        for _ in table.open_source(DataConfig(name="table", path=str(path))).batches:
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(10_000)  # what is imported on the way
    assert peak(30_000) - peak(10_000) < 300_000
