"""What an evaluation of any kind of data finds."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gan.files import write_bytes
from gan.metrics.as_json import Metrics

# Name of a column to its values.
Table = Mapping[str, Sequence[object]]


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        metrics: nested dictionaries of numbers, text and None: JSON without NaN.
        summary: the few numbers that one looks at first, in one line.
        shown: arrays that `gan.figures` draws.
        tables: name of a table to its columns.
    """

    metrics: Metrics
    summary: str
    shown: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)


def write_table(table: Table, path: str | os.PathLike[str]) -> None:
    """Write the columns of `table` as CSV, numbers with six digits, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    for row in zip(*table.values(), strict=True):
        writer.writerow([f"{each:.6g}" if isinstance(each, float) else each for each in row])
    write_bytes(path, text.getvalue().encode())
