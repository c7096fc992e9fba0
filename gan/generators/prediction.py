"""What a classifier says of images: probabilities of their labels."""

from __future__ import annotations

import numpy as np
import torch

from gan.models.base import Generator, categorical_logits, evaluating
from gan.pixels import Images, Points, to_network
from gan.symbols import ClassNames

BATCH_SIZE = 256


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
    if not isinstance(alphabet, ClassNames):
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
