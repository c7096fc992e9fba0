"""Your own points: a table of numbers, as text (CSV and its kin) or as `.npy`.

A row is a point and a column a coordinate. In text the first line may name the columns; the one
that is called `label` or `class` says what a row is, and is no coordinate. Columns are separated by
commas, semicolons, tabs or spaces, as the first line has them. Lines that begin with `#` are no
rows, as NumPy writes them.

Points are stored standardised: networks like numbers of about unit size. The mean and the deviation
of each column over the training rows stand in the manifest, and take them back.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import numpy.typing as npt

from gan.config import DataConfig
from gan.data.manifest import Column
from gan.errors import DataError, reading, shown
from gan.preparation.npy import read_header, read_rows
from gan.preparation.sources import Batch, Failure, Source
from gan.preparation.split import in_test

BLOCK_ROWS = 4096
MAX_COLUMNS = 1024
# More than that are names of rows, not of classes.
MAX_LABELS = 10_000

_EXPECTED = "a table of numbers: .csv, .tsv or the like in UTF-8, or .npy"
_LABELS = {"label", "labels", "class"}
_UNICODE_16 = (b"\xff\xfe", b"\xfe\xff")

_log = logging.getLogger(__name__)

Doubles = npt.NDArray[np.float64]


class _Block(NamedTuple):
    """Some consecutive rows; those that cannot be read are failures, and the others are points."""

    points: Doubles  # [B, D]
    places: list[int]  # [B], from 0
    labels: list[str]  # [B], or empty where there are none
    failures: list[Failure]


@dataclass(frozen=True)
class _Table:
    """A table whose first line has been looked at."""

    names: list[str]  # of the coordinates
    labelled: bool
    blocks: Callable[[], Iterator[_Block]]


class _Scan(NamedTuple):
    """What is known of a table once all of it has been read."""

    rows: int  # failures included
    labels: tuple[str, ...]
    mean: Doubles  # of the training rows, [D]
    deviation: Doubles  # [D]; 1 where a column is constant


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The table `config.path`, read twice; nothing is decoded, so `workers` is not used.

    Which rows are held out is decided by a stable hash of their place.

    Raises:
        DataError: the file is missing, damaged, or no table of numbers, or no row can be read;
            names it. Single rows that cannot be read are failures in the batches.
    """
    path = Path(config.path)
    table = _open(path)
    scan = _scan(path, table, config.test_fraction)
    return Source(
        kind="points",
        shape=(len(table.names),),
        label_names=scan.labels if table.labelled else None,
        total=scan.rows,
        batches=_batches(config, table, scan),
        columns=tuple(
            Column(name=name, mean=mean, deviation=deviation)
            for name, mean, deviation in zip(
                table.names, scan.mean.tolist(), scan.deviation.tolist(), strict=True
            )
        ),
    )


def _batches(config: DataConfig, table: _Table, scan: _Scan) -> Generator[Batch, None, None]:
    index = {name: place for place, name in enumerate(scan.labels)}
    for block in table.blocks():
        yield Batch(
            examples=((block.points - scan.mean) / scan.deviation).astype(np.float32),
            in_test=_held_out(block, config.test_fraction),
            labels=np.array([index[each] for each in block.labels], np.int64)
            if table.labelled
            else None,
            failures=tuple(block.failures),
        )


def _held_out(block: _Block, test_fraction: float) -> npt.NDArray[np.bool_]:
    return np.array([in_test(f"table/{place:05d}", test_fraction) for place in block.places], bool)


def _scan(path: Path, table: _Table, test_fraction: float) -> _Scan:
    rows = count = 0
    mean, squares = np.zeros(len(table.names)), np.zeros(len(table.names))
    labels: set[str] = set()
    first: Failure | None = None
    for block in table.blocks():
        rows += len(block.points) + len(block.failures)
        first = first or next(iter(block.failures), None)
        labels.update(block.labels)
        if len(labels) > MAX_LABELS:
            raise DataError(
                f"{shown(path)} has more than {MAX_LABELS} labels: expected classes of rows, not "
                "a name for each"
            )
        training = block.points[~_held_out(block, test_fraction)]
        if len(training):
            # Chan et al. 1983: two parts to the moments of both.
            total = count + len(training)
            with np.errstate(over="ignore", invalid="ignore"):
                change = training.mean(0) - mean
                squares += training.var(0) * len(training)
                squares += np.square(change) * (count * len(training) / total)
                mean = mean + change * (len(training) / total)
            count = total
    if not count:
        reason = f": {first.name} {first.reason}" if first else ""
        raise DataError(f"{shown(path)} has no row for training that can be read{reason}")
    deviation = np.sqrt(squares / count)
    for name, each in zip(table.names, deviation, strict=True):
        if not math.isfinite(each):
            raise DataError(
                f"{shown(path)}: the numbers of column {shown(name)!r} are too far apart to be "
                "standardised"
            )
    # What a mean of equal numbers is rounded by is no deviation.
    constant = deviation <= 1e-12 * np.abs(mean)
    return _Scan(rows, _sorted(labels), *_rounded(mean, np.where(constant, 1.0, deviation)))


def _rounded(mean: Doubles, deviation: Doubles) -> tuple[Doubles, Doubles]:
    """Both to what matters: the last digits of a sum differ between machines."""
    rounded = [float(f"{each:.6g}") for each in deviation]
    places = [5 - math.floor(math.log10(each)) for each in rounded]
    return (
        np.array([round(each, places[at]) for at, each in enumerate(mean.tolist())]),
        np.array(rounded),
    )


def _sorted(labels: set[str]) -> tuple[str, ...]:
    """Labels in order: of numbers where all are whole numbers."""
    if all(each.removeprefix("-").isdecimal() and len(each) < 20 for each in labels):
        return tuple(sorted(labels, key=lambda each: (int(each), each)))
    return tuple(sorted(labels))


def _open(path: Path) -> _Table:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"data.path {shown(path)} {what}: expected {_EXPECTED}")
    with reading(path, _EXPECTED), path.open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return _open_array(path)
    if start[:2] in _UNICODE_16:
        raise DataError(f"{shown(path)} is UTF-16: expected UTF-8")
    return _open_text(path)


def _open_array(path: Path) -> _Table:
    with path.open("rb") as file:
        dtype, shape = read_header(file, str(path))
    if dtype.kind not in "iuf" or len(shape) > 2:
        raise DataError(
            f"{shown(path)} is {shown(dtype)} {shown(list(shape))}: expected numbers [N, D], or [N]"
        )
    columns = shape[1] if len(shape) == 2 else 1
    _check_columns(path, columns)

    def blocks() -> Iterator[_Block]:
        place = 0
        with path.open("rb") as file:
            header = read_header(file, str(path))
            for rows in read_rows(file, header, str(path)):
                points = rows.astype(np.float64).reshape(len(rows), columns)
                finite = np.isfinite(points).all(1)
                yield _Block(
                    points[finite],
                    (place + np.flatnonzero(finite)).tolist(),
                    [],
                    [
                        Failure(f"row {place + row}", "has a number that is not finite")
                        for row in np.flatnonzero(~finite).tolist()
                    ],
                )
                place += len(rows)

    return _Table([f"column {number + 1}" for number in range(columns)], False, blocks)


class _Columns(NamedTuple):
    """What is where in a line of text."""

    separator: str  # "" where it is white space
    header: bool
    width: int  # cells of a line
    names: list[str]  # of the coordinates
    chosen: list[int]  # their cells
    label: int | None  # the cell of the label


def _open_text(path: Path) -> _Table:
    columns = _read_columns(path)

    def blocks() -> Iterator[_Block]:
        block = _Block(np.empty(0), [], [], [])
        values: list[list[float]] = []
        lines = _lines(path, columns.separator)
        if columns.header:
            next(lines)
        for place, (number, cells) in enumerate(lines):
            try:
                values.append(_numbers(cells, columns))
            except ValueError as error:
                block.failures.append(Failure(f"line {number}", str(error)))
            else:
                block.places.append(place)
                if columns.label is not None:
                    block.labels.append(cells[columns.label].strip())
            if len(values) + len(block.failures) >= BLOCK_ROWS:
                yield block._replace(points=_as_points(values, columns))
                block, values = _Block(np.empty(0), [], [], []), []
        if values or block.failures:
            yield block._replace(points=_as_points(values, columns))

    return _Table(columns.names, columns.label is not None, blocks)


def _as_points(values: list[list[float]], columns: _Columns) -> Doubles:
    return np.array(values, np.float64).reshape(len(values), len(columns.names))


def _numbers(cells: list[str], columns: _Columns) -> list[float]:
    """The coordinates in a line; raises ValueError with what is wrong with it."""
    if len(cells) != columns.width:
        raise ValueError(f"has {len(cells)} columns: expected {columns.width}, as the first line")
    numbers = []
    for name, place in zip(columns.names, columns.chosen, strict=True):
        cell = cells[place].strip()
        number = _number(cell)
        if number is None:
            found = repr(shown(cell, 40)) if cell else "empty"
            raise ValueError(f"has {found} in column {shown(name, 40)!r}: expected a finite number")
        numbers.append(number)
    return numbers


def _number(cell: str) -> float | None:
    """A finite number, or None; Python's own `1_000` is none."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in cell else None


def _lines(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line that is neither empty nor a comment, with its number, from 1."""
    with reading(path, _EXPECTED), path.open(encoding="utf-8-sig", newline="") as file:
        if separator:
            reader = csv.reader(_bounded(file), delimiter=separator, skipinitialspace=True)
            lines = ((reader.line_num, cells) for cells in reader)
        else:
            lines = ((number, line.split()) for number, line in enumerate(_bounded(file), 1))
        for number, cells in lines:
            if any(cells) and not cells[0].startswith("#"):
                yield number, cells


def _bounded(file: TextIO) -> Iterator[str]:
    """Lines of text, none of them of gigabytes."""
    limit = 64 * MAX_COLUMNS
    while line := file.readline(limit):
        if len(line) == limit:
            raise ValueError(f"a line has more than {limit} characters")
        yield line


def _read_columns(path: Path) -> _Columns:
    with reading(path, _EXPECTED), path.open(encoding="utf-8-sig", newline="") as file:
        first = next(
            (line for line in _bounded(file) if line.strip() and not line.startswith("#")), ""
        )
    if not first:
        raise DataError(f"{shown(path)} has no rows: expected {_EXPECTED}")
    separator = max(",;\t", key=first.count)
    if separator not in first:
        separator = ""
    _, cells = next(_lines(path, separator), (0, []))
    cells = [cell.strip() for cell in cells]
    if not cells:
        raise DataError(f"{shown(path)} has no columns: expected {_EXPECTED}")
    numeric = [_number(cell) is not None for cell in cells]
    header = not all(numeric)
    if header and any(numeric):
        raise DataError(
            f"the first line of {shown(path)} has numbers and texts, {shown(', '.join(cells))}: "
            "expected numbers alone, or the names of all columns"
        )
    names = cells if header else [""] * len(cells)
    if len(set(filter(None, names))) < len(list(filter(None, names))):
        raise DataError(f"{shown(path)} names a column twice: {shown(', '.join(names))}")
    labels = [place for place, name in enumerate(names) if name.lower() in _LABELS]
    if len(labels) > 1:
        raise DataError(
            f"{shown(path)} has the columns {shown(', '.join(names[each] for each in labels))}: "
            "expected one of them, for labels"
        )
    label = labels[0] if labels else None
    chosen = [place for place in range(len(cells)) if place != label]
    if header and names[0] in ("", "Unnamed: 0") and len(chosen) > 1:
        # As pandas writes the numbers of rows.
        chosen.remove(0)
        _log.warning(
            "%s: passed over the first column, which has no name, as the numbers of the rows",
            shown(path),
        )
    _check_columns(path, len(chosen))
    return _Columns(
        separator,
        header,
        len(cells),
        [names[place] or f"column {place + 1}" for place in chosen],
        chosen,
        label,
    )


def _check_columns(path: Path, count: int) -> None:
    if not 1 <= count <= MAX_COLUMNS:
        raise DataError(
            f"{shown(path)} has {count} columns of numbers: expected 1 to {MAX_COLUMNS}"
        )
