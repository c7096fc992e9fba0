"""What a classifier took images for, as PNGs.

As `gan.figures`: the same content gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gan.data.manifest import Split
from gan.data.meaning import labels_of
from gan.data.prepared import Prepared
from gan.errors import UserError
from gan.figures import images
from gan.figures.canvas import (
    COLOURS,
    PathLike,
    check_images,
    new_figure,
    place_image,
    save_figure,
    shortened,
)
from gan.pixels import Images, Labels, Points
from gan.training.snapshots import Snapshot

# Rows a class has in the picture of a confusion matrix up to which their counts are written in.
MAX_CLASSES_WITH_COUNTS = 30


def predictions(
    images: Images,
    probabilities: Points,
    labels: Labels,
    names: Sequence[str],
    path: PathLike,
    *,
    columns: int,
) -> None:
    """Write images with what they were taken for above them; errors are framed, and say the label.

    Args:
        images: uint8 `[N, C, H, W]`.
        probabilities: `[N, V]`; the most probable class is the prediction.
        labels: `[N]`.
        names: of the V classes.
        path: PNG to write.
        columns: images in a row.

    Raises:
        UserError: the shapes do not fit each other, or the file cannot be written.
    """
    check_images(images)
    if not len(images) == len(probabilities) == len(labels):
        raise UserError(
            f"there are {len(images)} images, {len(probabilities)} predictions and {len(labels)} "
            "labels: expected as many of each"
        )
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    height = 1.3 * rows
    figure = new_figure(max(columns * 0.8, 3.0), height * 0.8 + 0.4)
    axis = figure.subplots()
    predicted = probabilities.argmax(1)
    for index, (image, found, label) in enumerate(zip(images, predicted, labels, strict=True)):
        left, top = index % columns, 1.3 * (index // columns)
        if found == label:
            place_image(axis, image, left, top, shortened(names[found]))
        else:
            title = f"{shortened(names[found])} ({shortened(names[label])})"
            place_image(axis, image, left, top, title, COLOURS[1])
    axis.set(xlim=(-0.1, columns + 0.02), ylim=(height - 0.3, -0.35), aspect="equal")
    axis.set_axis_off()
    wrong = int((predicted != labels).sum())
    figure.suptitle(f"predictions; {wrong} of {len(labels)} wrong, framed (label)", size=9)
    save_figure(figure, path)


def confusion(counts: npt.NDArray[np.int64], names: Sequence[str], path: PathLike) -> None:
    """Write a confusion matrix, each row in shares of its class.

    Args:
        counts: `[V, V]`: of each class (rows), how many were taken for which (columns).
        names: of the V classes.
        path: PNG to write.

    Raises:
        UserError: the shapes do not fit each other, or the file cannot be written.
    """
    classes = len(names)
    if counts.shape != (classes, classes):
        raise UserError(f"counts are {list(counts.shape)}: expected {[classes, classes]}")
    side = min(12.0, max(3.6, 0.42 * classes + 1.2))
    figure = new_figure(side, side)
    axis = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if classes <= MAX_CLASSES_WITH_COUNTS:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.5 else "#222222"
            text = str(counts[row, column])
            axis.text(column, row, text, size=7, ha="center", va="center", color=colour)
    # With many classes only some names fit.
    every = math.ceil(classes / 40)
    shown = [shortened(name) for name in names[::every]]
    long = max(len(name) for name in names[::every]) > 3
    axis.set_xticks(range(0, classes, every), shown, rotation=90 if long else 0, fontsize=7)
    axis.set_yticks(range(0, classes, every), shown, fontsize=7)
    axis.set_xlabel("taken for", fontsize=8)
    axis.set_ylabel("label", fontsize=8)
    axis.set_title("test images by class, and what they were taken for", fontsize=8)
    save_figure(figure, path)


def real(prepared: Prepared, folder: Path, columns: int) -> None:
    """See `gan.figures.FigureKind`; as all below."""
    images.real(prepared, folder, columns)


def moment(snapshot: Snapshot, prepared: Prepared, path: Path, columns: int) -> None:
    """Predictions of the first training images."""
    _first(snapshot.samples, prepared, "train", path, columns)


def course(snapshots: Sequence[Snapshot], prepared: Prepared, folder: Path) -> None:
    """Nothing but the moments."""


def grid(samples: npt.NDArray[Any], prepared: Prepared, folder: Path, columns: int) -> None:
    """Predictions of the first test images."""
    _first(samples[: columns**2], prepared, "test", folder / "grid.png", columns)


def between(path: npt.NDArray[Any], prepared: Prepared, folder: Path) -> None:
    """A classifier has no latent vectors."""


def evaluation(
    shown: Mapping[str, npt.NDArray[Any]],
    samples: npt.NDArray[Any],
    prepared: Prepared,
    folder: Path,
) -> None:
    """The confusion matrix."""
    confusion(shown["confusion"], prepared.label_names, folder / "confusion.png")


def _first(
    probabilities: npt.NDArray[Any], prepared: Prepared, split: Split, path: Path, columns: int
) -> None:
    count = len(probabilities)
    predictions(
        np.asarray(prepared.images(split)[:count]),
        probabilities,
        labels_of(prepared, split)[:count],
        prepared.label_names,
        path,
        columns=columns,
    )
