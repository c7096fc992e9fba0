"""Predictions of classes against labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gan.pixels import Labels, Points


def error_rate(probabilities: Points, labels: Labels) -> float:
    """Share of examples whose most probable class is not their label.

    Args:
        probabilities: `[N, V]`; of equal ones the first counts.
        labels: `[N]`, N ≥ 1.
    """
    return float((probabilities.argmax(1) != labels).mean())


def confusion_matrix(labels: Labels, predicted: Labels, classes: int) -> npt.NDArray[np.int64]:
    """How many examples of each class (rows) were taken for which (columns), `[V, V]`.

    Args:
        labels: `[N]`, below `classes`.
        predicted: `[N]`, below `classes`.
        classes: V.
    """
    counts = np.bincount(labels * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)
