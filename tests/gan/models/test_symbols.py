"""Networks for images of symbols, whichever family."""

import pytest
import torch
from torch import nn

from gan.config import ModelConfig
from gan.models import build_discriminator, build_generator
from gan.symbols import Alphabet, Characters, Colours

FAMILIES = ("dcgan", "resnet")


def config(name: str, **changes: object) -> ModelConfig:
    values = {"latent_size": 5, "generator_width": 4, "discriminator_width": 4, **changes}
    return ModelConfig(name=name, **values)


PALETTE = Colours(((0, 0, 0), (255, 0, 0), (255, 255, 255)))
LETTERS = Characters(("a", "b", "c"))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("alphabet", "channels", "expected"),
    [
        (Colours.levels(2), 1, (3, 16, 16)),
        (Colours.levels(17), 1, (3, 17, 16, 16)),
        (PALETTE, 3, (3, 3, 16, 16)),
    ],
    ids=["bernoulli", "levels", "palette"],
)
def test_logits_of_every_pixel(name: str, alphabet: Alphabet, channels: int, expected: tuple):
    shape = (channels, 16, 16)
    generator = build_generator(config(name), shape, alphabet)
    logits = generator(torch.randn(3, 5))
    assert logits.shape == expected
    assert generator.alphabet == alphabet
    assert generator.shape == shape
    assert generator.positions == (16, 16)
    # The discriminator sees colours, as it does of any images.
    discriminator = build_discriminator(config(name), shape, alphabet)
    assert discriminator(torch.rand(3, *shape)).shape == (3,)


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_not_bounded_as_colours_are(name: str):
    torch.manual_seed(0)
    generator = build_generator(config(name), (1, 16, 16), Colours.levels(4))
    for module in generator.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight)
    assert generator(torch.randn(8, 5)).abs().max() > 3


@pytest.mark.parametrize("name", FAMILIES)
def test_one_seed_gives_both_sorts_of_images_the_same_weights(name: str):
    def weights(alphabet: Alphabet | None) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        networks = [
            build(config(name), (1, 16, 16), alphabet)
            for build in (build_generator, build_discriminator)
        ]
        return {
            f"{place} {key}": value
            for place, network in enumerate(networks)
            for key, value in network.state_dict().items()
        }

    continuous, bernoulli = weights(None), weights(Colours.levels(2))
    assert continuous.keys() == bernoulli.keys()
    assert all(torch.equal(continuous[key], bernoulli[key]) for key in continuous)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_alphabets_that_do_not_fit_the_images_are_refused(name: str, build):
    with pytest.raises(ValueError, match="alphabet is of characters, expected colours"):
        build(config(name), (1, 16, 16), LETTERS)
    with pytest.raises(ValueError, match="colours have 3 channels, but an image has 1"):
        build(config(name), (1, 16, 16), PALETTE)


@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_networks_of_points_have_no_symbols(build):
    with pytest.raises(ValueError, match="made of symbols, but mlp has no network for these"):
        build(config("mlp"), (2,), Colours.levels(2))


def test_numbers_have_no_positions():
    generator = build_generator(config("dcgan"), (1, 16, 16))
    assert generator.alphabet is None
    assert generator.positions is None
