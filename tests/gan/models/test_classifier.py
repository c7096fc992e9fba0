"""The classifier and the discriminator that judges its labels."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from gan.config import ModelConfig
from gan.models import build_discriminator, build_generator
from gan.symbols import Alphabet, Characters, ClassNames, Colours

DIGITS = ClassNames(tuple("0123456789"))
TWO = ClassNames(("cat", "dog"))


def config(**values: object) -> ModelConfig:
    return ModelConfig(
        name="classifier", **{"generator_width": 4, "discriminator_width": 4, **values}
    )


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 3), (32, 1)])
def test_images_become_logits_of_labels(size: int, channels: int):
    shape = (channels, size, size)
    images = torch.rand(5, *shape) * 2 - 1
    generator = build_generator(config(), shape, DIGITS).eval()
    assert generator(images).shape == (5, 10)
    assert (generator.positions, generator.latent_size) == ((), math.prod(shape))
    # An image takes the place of the latent vector, flat as that is.
    assert torch.equal(generator(images.flatten(1)), generator(images))
    assert build_discriminator(config(), shape, DIGITS)(images).shape == (5, 10)


def test_of_two_labels_the_generator_gives_one_logit_and_the_discriminator_judges_both():
    images = torch.rand(5, 1, 8, 8)
    assert build_generator(config(), (1, 8, 8), TWO)(images).shape == (5,)
    assert build_discriminator(config(), (1, 8, 8), TWO)(images).shape == (5, 2)


def test_the_discriminators_judgement_of_an_image_is_its_own():
    discriminator = build_discriminator(config(discriminator_norm="layer"), (1, 8, 8), DIGITS)
    images = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(discriminator(images)[2:3], discriminator(images[2:3]))


def test_spectral_normalisation_is_of_every_weight_of_the_discriminator():
    discriminator = build_discriminator(config(spectral_norm=True), (1, 16, 16), DIGITS)
    weighted = [each for each in discriminator.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    assert len(weighted) == 3
    assert all(parametrize.is_parametrized(each, "weight") for each in weighted)


@pytest.mark.parametrize("build", [build_generator, build_discriminator])
@pytest.mark.parametrize(
    ("alphabet", "found"),
    [
        (None, "no alphabet"),
        (Colours.levels(2), "one of colours"),
        (Characters(("a", "b")), "one of characters"),
    ],
)
def test_an_alphabet_of_labels_is_needed(build, alphabet: Alphabet | None, found: str):
    with pytest.raises(ValueError, match=f"found {found}, expected an alphabet of labels"):
        build(config(), (1, 8, 8), alphabet)


@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_other_shapes_are_refused(build):
    with pytest.raises(ValueError, match=r"shape is \[7\], expected that of a square image"):
        build(config(), (7,), DIGITS)
    with pytest.raises(ValueError, match="size is 12"):
        build(config(), (1, 12, 12), DIGITS)


@pytest.mark.parametrize("name", ["dcgan", "resnet"])
def test_families_of_images_have_no_network_for_labels(name: str):
    with pytest.raises(ValueError, match=r"alphabet is of labels|made of symbols"):
        build_generator(ModelConfig(name=name), (1, 16, 16), DIGITS)
