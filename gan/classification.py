"""What a classifier needs besides a game: labels of prepared data, predictions, their errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from gan.data.prepared import Prepared, Split
from gan.errors import DataError
from gan.models.base import Generator, evaluating
from gan.pixels import Images, Labels, Points, to_network
from gan.relaxation import categorical_logits
from gan.symbols import MAX_SYMBOLS, Alphabet

BATCH_SIZE = 256


def label_alphabet(prepared: Prepared) -> Alphabet:
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
    return Alphabet(labels=tuple(names))


def labels_of(prepared: Prepared, split: Split) -> Labels:
    """The labels of `split`, int64 `[N]`.

    Raises:
        DataError: there are none.
    """
    labels = prepared.labels(split)
    if labels is None:
        raise DataError(f"{prepared.folder} has no labels of the {split} split: expected some")
    return labels


@torch.no_grad()
def predict(classifier: Generator, images: Images, batch_size: int = BATCH_SIZE) -> Points:
    """g(y|x) of every image, batch by batch.

    The classifier runs in evaluation mode, on the device of its weights, and is left in the mode it
    was in.

    Args:
        classifier: published or in training.
        images: uint8 `[N, C, S, S]`, memory-mapped or not.
        batch_size: images at once.

    Returns:
        Probabilities, fp32 `[N, V]`.

    Raises:
        ValueError: not a classifier, or images of another shape.
    """
    alphabet = classifier.alphabet
    if alphabet is None or alphabet.labels is None:
        raise ValueError("the generator is no classifier: expected one with an alphabet of labels")
    if images.dtype != np.uint8 or images.shape[1:] != classifier.shape:
        raise ValueError(
            f"images are {images.dtype} {list(images.shape)}: the classifier takes uint8 "
            f"{['N', *classifier.shape]}"
        )
    device = next(classifier.parameters()).device
    found = np.empty((len(images), alphabet.size), np.float32)
    with evaluating(classifier):
        for start in range(0, len(images), batch_size):
            chunk = np.ascontiguousarray(images[start : start + batch_size])
            logits = classifier(to_network(torch.from_numpy(chunk).to(device)))
            probabilities = categorical_logits(logits, alphabet.size).softmax(1)
            found[start : start + len(chunk)] = probabilities.cpu().numpy()
    return found


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
