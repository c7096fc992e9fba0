"""What a game is played on: the training examples and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gan.data.batches import Batches, LabelledBatches, Stream
from gan.data.meaning import label_alphabet, labels_of, toy_of
from gan.data.prepared import Prepared
from gan.pixels import Examples, Labels
from gan.symbols import Alphabet, ClassNames
from gan.toys import Toy


@dataclass(frozen=True)
class TrainingSet:
    """Training examples and what they mean.

    Attributes:
        examples: images, uint8 `[N, C, S, S]`, points, fp32 `[N, D]`, or symbols, of images, uint8
            `[N, S, S]`, or of texts, uint8 or uint16 `[N, L]`; memory-mapped or not.
        alphabet: what symbols mean, where examples are symbols; of a classifier, what labels mean.
        labels: of images, int64 `[N]`, where the game is about labels.
        toy: the density that points were drawn from, where it is known.

    Raises:
        ValueError: labels without an alphabet of labels, or the other way round.
    """

    examples: Examples
    alphabet: Alphabet | None = None
    labels: Labels | None = None
    toy: Toy | None = None

    def __post_init__(self) -> None:
        if (self.labels is not None) != isinstance(self.alphabet, ClassNames):
            raise ValueError(
                f"labels are {'missing' if self.labels is None else 'given'}, and the alphabet is "
                f"{'none' if self.alphabet is None else f'of {self.alphabet.noun}'}: expected "
                "labels with an alphabet of labels, and with nothing else"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example as networks see it: `(C, S, S)`, also of symbols, `(D,)` or `(L,)`."""
        stored = self.examples.shape[1:]
        return stored if self.alphabet is None else self.alphabet.example_shape(stored)

    def batches(self, batch_size: int, *, seed: int, device: torch.device) -> Stream:
        """An endless stream of them, with their labels where there are any.

        Args:
            batch_size: examples a batch.
            seed: determines the order.
            device: where batches are wanted.

        Raises:
            DataError: there are fewer examples than one batch takes.
        """
        examples = Batches(self.examples, batch_size, seed=seed, device=device)
        if self.labels is None:
            return examples
        # The same seed: in step with the examples.
        return LabelledBatches(examples, Batches(self.labels, batch_size, seed=seed, device=device))


def training_set(prepared: Prepared, *, labelled: bool = False) -> TrainingSet:
    """The training split of `prepared`.

    Args:
        prepared: of any kind.
        labelled: the game is about the labels of images.

    Raises:
        DataError: there are no labels where the game is about them.
    """
    examples = prepared.examples("train")
    if labelled:
        alphabet = label_alphabet(prepared)
        return TrainingSet(examples, alphabet, np.asarray(labels_of(prepared, "train")))
    toy = None if prepared.manifest.toy is None else toy_of(prepared)
    return TrainingSet(examples, prepared.alphabet, toy=toy)
