"""What a training run was like, as rows of a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

from gan.files import write_bytes

# What every round measures, in this order. Losses and logits are means over the batch; the penalty
# stands apart from the discriminator's loss. `docs/games.md` says what each one means.
MEASURES = (
    "discriminator_loss",
    "penalty",
    "generator_loss",
    "total_loss",
    "real_logit",
    "fake_logit",
    "real_accuracy",
    "fake_accuracy",
    "equilibrium_distance",
    "discriminator_gradient_norm",
    "generator_gradient_norm",
    "gradient_ratio",
    "spread",
    "at_bound",
)
COLUMNS = ("step", "images", *MEASURES)

# One row: step, real images seen by the discriminator so far, then the measures' means.
Row = list[float]


def write_csv(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Write `rows` with a header line to `path`, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for step, images, *measures in rows:
        writer.writerow([int(step), int(images), *(f"{value:.6g}" for value in measures)])
    write_bytes(path, text.getvalue().encode())


def as_columns(rows: Sequence[Row]) -> dict[str, list[float]]:
    """The same table by column."""
    return {name: [row[index] for row in rows] for index, name in enumerate(COLUMNS)}
