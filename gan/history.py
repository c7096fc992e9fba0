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
# What a round measures besides where a generator of symbols learns from weighted samples.
# `docs/discrete.md` says what each one means.
DISCRETE_MEASURES = (
    "effective_sample_size",
    "log_z",
    "log_weight_variance",
    "generator_entropy",
)
COUNTERS = ("step", "images")

# One row: step, real images seen by the discriminator so far, then the measures' means.
Row = list[float]


def write_csv(
    rows: Sequence[Row], path: str | os.PathLike[str], measures: Sequence[str] = MEASURES
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


def as_columns(rows: Sequence[Row], measures: Sequence[str] = MEASURES) -> dict[str, list[float]]:
    """The same table by column; arguments and errors as `write_csv`."""
    _check_length(rows, measures)
    names = [*COUNTERS, *measures]
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _check_length(rows: Sequence[Row], measures: Sequence[str]) -> None:
    for row in rows:
        if len(row) != len(COUNTERS) + len(measures):
            raise ValueError(
                f"a row of the history has {len(row)} numbers: expected {len(COUNTERS)} counters "
                f"and {len(measures)} measures"
            )
