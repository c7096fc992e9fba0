"""Labels of prepared data, predictions, errors, and what becomes of a published classifier."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gan.config import ModelConfig
from gan.data.meaning import label_alphabet, labels_of
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError
from gan.generators.prediction import predict
from gan.generators.published import load_generator, save_generator
from gan.metrics.predictions import confusion_matrix, error_rate
from gan.models import build_generator
from gan.pixels import to_network
from gan.preparation.writer import PreparedWriter
from gan.symbols import Alphabet

LETTERS = Alphabet(labels=("a", "b", "c"))
CONFIG = ModelConfig(name="classifier", generator_width=4, discriminator_width=4)


def prepared(
    folder: Path, names: list[str] | None, kind: str = "images", alphabet: Alphabet | None = None
) -> Prepared:
    shape = (1, 8, 8) if kind == "images" else (8, 8)
    with PreparedWriter(
        folder, source="test", shape=shape, label_names=names, kind=kind, alphabet=alphabet
    ) as writer:
        for split in ("train", "test"):
            labels = None if names is None else np.arange(6) % len(names)
            writer.append(split, np.zeros((6, *shape), np.uint8), labels)
    return open_prepared(folder)


def test_the_classes_are_an_alphabet(tmp_path: Path):
    data = prepared(tmp_path / "data", ["a", "b", "c"])
    assert label_alphabet(data) == LETTERS
    assert labels_of(data, "test").tolist() == [0, 1, 2, 0, 1, 2]


def test_data_without_labels_are_refused(tmp_path: Path):
    data = prepared(tmp_path / "data", None)
    with pytest.raises(DataError, match=r"images without labels \(test\).*expected a labelled"):
        label_alphabet(data)
    with pytest.raises(DataError, match="no labels of the train split"):
        labels_of(data, "train")


def test_other_data_and_other_counts_of_classes_are_refused(tmp_path: Path):
    symbols = prepared(tmp_path / "a", ["a", "b"], "symbol_images", Alphabet.levels(2))
    with pytest.raises(DataError, match=r"holds symbol_images.*expected images"):
        label_alphabet(symbols)
    with pytest.raises(DataError, match="has 1 classes: expected 2 to 256"):
        label_alphabet(prepared(tmp_path / "b", ["a"]))
    with pytest.raises(DataError, match="has 257 classes"):
        label_alphabet(prepared(tmp_path / "c", [str(index) for index in range(257)]))


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
def test_predictions_are_the_probabilities_whatever_the_batch(names: tuple[str, ...]):
    classifier = build_generator(CONFIG, (1, 8, 8), Alphabet(labels=names))
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 8, 8), np.uint8)
    found = predict(classifier, images, batch_size=3)
    assert classifier.training
    logits = classifier.eval()(to_network(torch.from_numpy(images))).double()
    if len(names) == 2:
        expected = torch.stack([1 - logits.sigmoid(), logits.sigmoid()], 1)
    else:
        expected = logits.softmax(1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_predicted_is_refused():
    classifier = build_generator(CONFIG, (1, 8, 8), LETTERS)
    with pytest.raises(ValueError, match=r"images are uint8 \[2, 1, 16, 16\]"):
        predict(classifier, np.zeros((2, 1, 16, 16), np.uint8))
    with pytest.raises(ValueError, match="images are float32"):
        predict(classifier, np.zeros((2, 1, 8, 8), np.float32))
    with pytest.raises(ValueError, match="is no classifier"):
        predict(build_generator(ModelConfig(), (1, 8, 8)), np.zeros((2, 1, 8, 8), np.uint8))


def test_errors_and_confusion_counted_by_hand():
    probabilities = np.array([[0.9, 0.1, 0], [0.4, 0.4, 0.2], [0, 0.3, 0.7], [0.5, 0, 0.5]])
    labels = np.array([0, 1, 2, 2])
    # Of equal probabilities the first counts: images 1 and 3 are taken for class 0.
    assert error_rate(probabilities.astype(np.float32), labels) == 0.5
    counts = confusion_matrix(labels, probabilities.argmax(1), 3)
    assert counts.tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 1]]


@given(
    pairs=hnp.arrays(
        np.int64, st.tuples(st.just(2), st.integers(1, 40)), elements=st.integers(0, 4)
    )
)
def test_a_confusion_matrix_adds_up(pairs: np.ndarray):
    labels, found = pairs
    counts = confusion_matrix(labels, found, 5)
    assert counts.sum(1).tolist() == np.bincount(labels, minlength=5).tolist()
    assert counts.sum(0).tolist() == np.bincount(found, minlength=5).tolist()
    assert counts.trace() == (labels == found).sum()


def test_a_published_classifier_brings_its_labels_along(tmp_path: Path):
    classifier = build_generator(CONFIG, (1, 8, 8), LETTERS).eval()
    save_generator(classifier, tmp_path / "c.safetensors", provenance={})
    loaded = load_generator(tmp_path / "c.safetensors")
    assert loaded.alphabet == LETTERS
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), np.uint8)
    assert np.array_equal(predict(loaded, images), predict(classifier, images))
