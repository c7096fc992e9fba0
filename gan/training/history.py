"""What a training run was like, as rows of a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

from gan.files import write_bytes
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
