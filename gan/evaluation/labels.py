"""A classifier's predictions of the test split against its labels, and against the judge's."""

from __future__ import annotations

import logging

import numpy as np
import torch

from gan.config import EvaluateConfig
from gan.data.meaning import label_alphabet, labels_of
from gan.data.prepared import Prepared
from gan.errors import UserError
from gan.evaluation.found import Evaluation
from gan.judges.images import Judge, doubt_about_classes
from gan.metrics.as_json import as_json
from gan.metrics.predictions import confusion_matrix, error_rate
from gan.metrics.records import ErrorRates, LabelMetrics, LabelProtocol
from gan.pixels import Points

# Raised when a name or the meaning of a value changes.
FORMAT_VERSION = 1
# The logarithm of a probability that underflowed would be −∞: the smallest normal fp32.
SMALLEST = float(np.finfo(np.float32).tiny)
# How far rounding may take a sum of probabilities from 1.
TOLERANCE = 1e-3

_log = logging.getLogger(__name__)


def evaluate(
    samples: Points,
    prepared: Prepared,
    judge: Judge,
    config: EvaluateConfig,
    *,
    seed: int,
    progress: bool = True,
) -> Evaluation:
    """Compare predictions with the labels of the test split.

    - `error`: share of wrong predictions; beside it the judge's, a classifier that was fitted to
      the labels themselves, and that of the most frequent training class for every image.
    - `log_loss`: mean −log g(y|x) of the labels, in nats.
    - `entropy`: mean entropy of g(y|x), in nats: how uncertain it is by its own account.
    - `classes`: the error by class, None of a class without test images.

    Args:
        samples: g(y|x) of the test images in order, fp32 `[N, V]`.
        prepared: the data that the classifier was trained on.
        judge: fitted on the same data.
        config: nothing of it is used.
        seed: nothing is drawn.
        progress: there is no bar.

    Raises:
        DataError: the data have no labels.
        UserError: probabilities that are none, or of other images or classes; a judge of other
            data, or none of classes.
    """
    probabilities, names = samples, label_alphabet(prepared).values
    labels = np.asarray(labels_of(prepared, "test"))
    _check(probabilities, len(labels), len(names))
    if judge.data_checksum != prepared.manifest.checksum or not judge.classes:
        raise UserError(
            f"the judge was fitted on data with the checksum {judge.data_checksum}, to "
            f"{judge.classes} classes, but the prepared data has {prepared.manifest.checksum} and "
            f"{len(names)}: run judge again"
        )
    exact = probabilities.astype(np.float64)
    own = exact[np.arange(len(labels)), labels]
    _, of_judge = judge.features_and_probabilities(prepared.images("test"))
    poor = doubt_about_classes(of_judge, torch.from_numpy(labels))
    if poor is not None:
        _log.warning("%s", poor)
    most_frequent = np.bincount(labels_of(prepared, "train")).argmax()
    confusion = confusion_matrix(labels, probabilities.argmax(1), len(names))
    counts = confusion.sum(1)
    metrics = LabelMetrics(
        error=ErrorRates(
            value=error_rate(probabilities, labels),
            judge=error_rate(of_judge.numpy(), labels),
            most_frequent_class=float((labels != most_frequent).mean()),
        ),
        log_loss=float(-np.log(np.maximum(own, SMALLEST)).mean()),
        entropy=float(-(exact * np.log(np.maximum(exact, SMALLEST))).sum(1).mean()),
        classes={
            name: float(1 - confusion[index, index] / counts[index]) if counts[index] else None
            for index, name in enumerate(names)
        },
        protocol=LabelProtocol(
            format=FORMAT_VERSION,
            test_images=len(labels),
            classes=len(names),
            judge_checksum=judge.checksum,
            data_checksum=judge.data_checksum,
        ),
        poor_judge=poor,
    )
    predicted = probabilities.argmax(1)
    table = {
        "image": range(len(labels)),
        "label": [names[label] for label in labels],
        "predicted": [names[found] for found in predicted],
        "probability": [f"{value:.4f}" for value in probabilities.max(1)],
    }
    shown = {"confusion": confusion}
    return Evaluation(as_json(metrics), _summary(metrics), shown, {"predictions": table})


def _summary(metrics: LabelMetrics) -> str:
    error = metrics.error
    return (
        f"{error.value:.2%} of the test images wrong (judge {error.judge:.2%}, always the most "
        f"frequent class {error.most_frequent_class:.2%}), log loss {metrics.log_loss:.3f} nats"
    )


def _check(probabilities: Points, count: int, classes: int) -> None:
    if probabilities.dtype != np.float32 or probabilities.shape != (count, classes):
        raise UserError(
            f"the predictions are {probabilities.dtype} {list(probabilities.shape)}: expected the "
            f"probabilities of {classes} classes for {count} test images, float32 "
            f"{[count, classes]}; run sample again"
        )
    off = np.abs(probabilities.sum(1, dtype=np.float64) - 1)
    # `not ≤`, since nothing compares with NaN.
    if not (off.max() <= TOLERANCE and probabilities.min() >= 0):
        raise UserError("the predictions are not all probabilities that add up to 1")
