"""Predictions, and what becomes of a published classifier."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gan.config import ModelConfig
from gan.generators.prediction import predict
from gan.generators.published import load_generator, save_generator
from gan.models import build_generator
from gan.pixels import to_network
from gan.symbols import ClassNames

LETTERS = ClassNames(("a", "b", "c"))
CONFIG = ModelConfig(name="classifier", generator_width=4, discriminator_width=4)


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
def test_predictions_are_the_probabilities_whatever_the_batch(names: tuple[str, ...]):
    classifier = build_generator(CONFIG, (1, 8, 8), ClassNames(names))
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


def test_a_published_classifier_brings_its_labels_along(tmp_path: Path):
    classifier = build_generator(CONFIG, (1, 8, 8), LETTERS).eval()
    save_generator(classifier, tmp_path / "c.safetensors", provenance={})
    loaded = load_generator(tmp_path / "c.safetensors")
    assert loaded.alphabet == LETTERS
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), np.uint8)
    assert np.array_equal(predict(loaded, images), predict(classifier, images))
