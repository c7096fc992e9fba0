"""What prepared data mean beyond their arrays: classes, and densities that are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gan.data.manifest import Column, Split
from gan.data.prepared import Prepared
from gan.errors import DataError
from gan.pixels import Labels, Points
from gan.symbols import MAX_SYMBOLS, ClassNames
from gan.toys import Toy, make_toy


def label_alphabet(prepared: Prepared) -> ClassNames:
    """The classes of `prepared` as an alphabet of labels.

    Raises:
        DataError: the data are not images as they are, have no labels, or not 2 to 256 classes.
    """
    manifest = prepared.manifest
    if manifest.kind != "images":
        raise DataError(
            f"{prepared.folder} holds {manifest.kind}, but model.name classifier gives labels of "
            "images: expected images"
        )
    names = manifest.label_names
    if names is None:
        raise DataError(
            f"{prepared.folder} holds images without labels ({manifest.source}), but model.name "
            "classifier learns from labels: expected a labelled source, such as digits, idx with "
            "its labels, or images in one folder a class"
        )
    if not 2 <= len(names) <= MAX_SYMBOLS:
        raise DataError(
            f"{prepared.folder} has {len(names)} classes: expected 2 to {MAX_SYMBOLS} for "
            "model.name classifier"
        )
    return ClassNames(tuple(names))


def labels_of(prepared: Prepared, split: Split) -> Labels:
    """The labels of `split`, int64 `[N]`.

    Raises:
        DataError: there are none.
    """
    labels = prepared.labels(split)
    if labels is None:
        raise DataError(f"{prepared.folder} has no labels of the {split} split: expected some")
    return labels


def toy_of(prepared: Prepared) -> Toy:
    """The density that prepared points were drawn from.

    Raises:
        DataError: they are not points, or of no toy that is known.
    """
    manifest = prepared.manifest
    if manifest.toy is None:
        raise DataError(
            f"{prepared.folder} holds {manifest.kind} of {manifest.source}, which have no known "
            "density: expected points of a toy"
        )
    try:
        toy = make_toy(manifest.toy)
    except ValueError as error:
        raise DataError(f"{prepared.folder} has no known density: {error}") from None
    if manifest.shape != [toy.dimensions]:
        raise DataError(
            f"{prepared.folder} has points of shape {manifest.shape}: expected "
            f"{[toy.dimensions]} for {toy.name}; run prepare again"
        )
    return toy


def columns_of(prepared: Prepared) -> list[Column]:
    """What the coordinates of prepared points of no known density are.

    Raises:
        DataError: they are not points, or of a toy.
    """
    columns = prepared.manifest.columns
    if columns is None:
        raise DataError(
            f"{prepared.folder} holds {prepared.manifest.kind} of {prepared.manifest.source}: "
            "expected points of a table"
        )
    return columns


def in_units(points: Points, columns: list[Column]) -> npt.NDArray[np.float64]:
    """Standardised `points`, fp32 `[…, D]`, in the units of their table, float64."""
    mean = np.array([column.mean for column in columns])
    deviation = np.array([column.deviation for column in columns])
    values: npt.NDArray[np.float64] = points.astype(np.float64) * deviation + mean
    return values
