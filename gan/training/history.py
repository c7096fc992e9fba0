"""What a training run was like, as rows of a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

from gan.errors import reading, shown
from gan.files import open_plain, write_bytes
from gan.game.measures import MEASURES

COUNTERS = ("step", "images")

# One row: step, real images seen by the discriminator so far, then the measures' means.
HistoryRow = list[float]


def write_csv(
    rows: Sequence[HistoryRow], path: str | os.PathLike[str], measures: Sequence[str] = MEASURES
) -> None:
    """Write `rows` with a header line to `path`, whole or not at all.

    Args:
        rows: a number for each of `COUNTERS` and of `measures`.
        path: where to.
        measures: what the game measures.

    Raises:
        ValueError: a row of another length.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COUNTERS, *measures])
    _check_length(rows, measures)
    for step, images, *values in rows:
        writer.writerow([int(step), int(images), *(f"{value:.6g}" for value in values)])
    write_bytes(path, text.getvalue().encode())


def read_csv(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    """The columns of a table that `write_csv` wrote.

    Raises:
        DataError: the file is missing, damaged or foreign; names it.
    """
    with reading(path, "the history of a training run; run train"):
        with open_plain(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            header, *rows = csv.reader(text, strict=True)
        if header[: len(COUNTERS)] != [*COUNTERS] or len(set(header)) < len(header):
            raise ValueError(f"its first line is {shown(','.join(header))}")
        values = [[float(cell) for cell in row] for row in rows]
        _check_length(values, header[len(COUNTERS) :])
        return {name: [row[index] for row in values] for index, name in enumerate(header)}


def as_columns(
    rows: Sequence[HistoryRow], measures: Sequence[str] = MEASURES
) -> dict[str, list[float]]:
    """The same table by column; arguments and errors as `write_csv`."""
    _check_length(rows, measures)
    names = [*COUNTERS, *measures]
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _check_length(rows: Sequence[HistoryRow], measures: Sequence[str]) -> None:
    for row in rows:
        if len(row) != len(COUNTERS) + len(measures):
            raise ValueError(
                f"a row of the history has {len(row)} numbers: expected {len(COUNTERS)} counters "
                f"and {len(measures)} measures"
            )
