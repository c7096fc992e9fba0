import math

import pytest
import torch

from gan.config import ModelConfig
from gan.models import build_generator
from gan.models.base import categorical_logits, evaluating
from gan.symbols import Characters, ClassNames, Colours


def test_the_logit_of_a_bernoulli_as_two():
    logits = torch.tensor([[-1.0, 0.0, 3.0]], dtype=torch.bfloat16)
    two = categorical_logits(logits, 2)
    assert two.shape == (1, 2, 3)
    assert two.dtype == torch.float32
    torch.testing.assert_close(two.softmax(1)[:, 1], logits.float().sigmoid())
    many = torch.randn(1, 4, 3)
    assert torch.equal(categorical_logits(many, 4), many)


@pytest.mark.parametrize("name", ["dcgan", "resnet", "mlp", "text", "classifier"])
def test_latent_vectors_as_those_of_a_dcgan_are(name: str):
    shape, alphabet = {
        "mlp": ((2,), None),
        "text": ((6,), Characters(("a", "b", "c"))),
        "classifier": ((1, 8, 8), ClassNames(("a", "b"))),
    }.get(name, ((1, 8, 8), None))
    config = ModelConfig(name=name, latent_size=3, generator_width=4, depth=1)
    generator = build_generator(config, shape, alphabet).eval()
    size = generator.latent_size
    assert size == (math.prod(shape) if name == "classifier" else 3)
    latent = torch.randn(2, size, 1, 1)
    assert torch.equal(generator(latent), generator(latent.flatten(1)))
    assert torch.equal(generator(latent.double().to(torch.float32)), generator(latent))
    assert len(generator(torch.empty(0, size))) == 0
    expected = rf"expected \[B, {size}\] or \[B, {size}, 1, 1\]"
    for wrong in [
        (2, size + 1),
        (2, size + 1, 1, 1),
        (size,),
        (2, size, 1),
        (2, size, 1, 2),
        (1, 2, size),
    ]:
        with pytest.raises(
            ValueError, match=rf"latent has shape {list(wrong)}, ".replace("[", r"\[") + expected
        ):
            generator(torch.randn(wrong))
    with pytest.raises(ValueError, match=r"latent has shape \[\], " + expected):
        generator(torch.tensor(1.0))
    with pytest.raises(TypeError, match=r"latent is torch.int64, expected floating point"):
        generator(torch.zeros(2, size, dtype=torch.int64))


def test_a_classifier_takes_images_and_these_as_vectors():
    config = ModelConfig(name="classifier", generator_width=4)
    classifier = build_generator(config, (3, 8, 8), ClassNames(("a", "b", "c"))).eval()
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(classifier(images), classifier(images.flatten(1)))
    with pytest.raises(ValueError, match=r"\[B, 192\] or \[B, 192, 1, 1\] or \[B, 3, 8, 8\]"):
        classifier(torch.rand(2, 3, 8, 16))


@pytest.mark.parametrize(
    ("model", "shape", "alphabet", "kind"),
    [
        ("dcgan", (1, 8, 8), None, "images"),
        ("dcgan", (1, 8, 8), Colours.levels(2), "images"),
        ("mlp", (2,), None, "points"),
        ("text", (6,), Characters(("a", "b")), "text"),
        ("classifier", (1, 8, 8), ClassNames(("a", "b")), "labels"),
    ],
)
def test_a_generator_knows_the_kind_of_its_examples(model, shape, alphabet, kind: str):
    config = ModelConfig(name=model, latent_size=3, generator_width=4, depth=2)
    assert build_generator(config, shape, alphabet).kind == kind


def test_evaluation_mode_lasts_for_the_block():
    network = torch.nn.BatchNorm1d(2)
    for training in (True, False):
        network.train(training)
        with evaluating(network) as found:
            assert found is network
            assert not network.training
        assert network.training is training
