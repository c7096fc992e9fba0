"""Samples as lines of a file, for people and other programs to read."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence

from gan.files import atomic_write

# What stands for characters that would break or hide a line.
VISIBLE = {"\n": "↵", "\t": "→"}
UNPRINTABLE = "·"


def visible(text: str) -> str:
    """`text` on one line: its line ends as ↵, tabs as →, what cannot be printed as ·."""
    return "".join(VISIBLE.get(c, c if c.isprintable() else UNPRINTABLE) for c in text)


def write_lines(texts: Iterable[str], path: str | os.PathLike[str]) -> None:
    """Write `texts`, as they come, to a file of UTF-8, each on one line as `visible` has it."""
    with atomic_write(path) as file:
        for text in texts:
            file.write(f"{visible(text)}\n".encode())


def write_table(
    rows: Iterable[Sequence[float]], names: Sequence[str], path: str | os.PathLike[str]
) -> None:
    """Write `rows`, as they come, to a CSV whose first line has `names`; nine digits a number."""
    with atomic_write(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow(f"{value:.9g}" for value in row)
        text.detach()
