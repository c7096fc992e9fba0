import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gan.config import ModelConfig
from gan.models import build_discriminator, build_generator
from gan.models.text import Discriminator, Layer, TextBlock
from gan.symbols import Characters, Colours


def config(**changes: object) -> ModelConfig:
    values = {"latent_size": 5, "generator_width": 8, "discriminator_width": 6, **changes}
    return ModelConfig(name="text", **values)


def characters(size: int) -> Characters:
    return Characters(tuple(chr(ord("a") + place) for place in range(size)))


@settings(max_examples=20, deadline=None)
@given(
    size=st.integers(2, 20),
    length=st.integers(1, 40),
    depth=st.integers(1, 4),
    batch=st.integers(2, 5),
)
def test_shapes_whatever_the_alphabet_and_the_length(size: int, length: int, depth: int, batch):
    alphabet = characters(size)
    generator = build_generator(config(depth=depth), (length,), alphabet)
    discriminator = build_discriminator(config(depth=depth), (length,), alphabet)
    logits = generator(torch.randn(batch, 5))
    # Two symbols are a Bernoulli, more a categorical.
    assert logits.shape == ((batch, length) if size == 2 else (batch, size, length))
    assert generator.alphabet == alphabet
    assert generator.positions == (length,)
    symbols = torch.randint(size, (batch, length), dtype=torch.uint8)
    assert discriminator(symbols).shape == (batch,)
    assert discriminator(torch.rand(batch, size, length)).shape == (batch,)
    assert len(generator.blocks) == len(discriminator.layers) == depth
    # Every layer halves the length, rounded up.
    assert discriminator.dense.in_features == 6 * math.ceil(length / 2**depth)


def one_hot(symbols: torch.Tensor, size: int) -> torch.Tensor:
    return F.one_hot(symbols.long(), size).mT.double()


@pytest.mark.parametrize("changes", [{}, {"spectral_norm": True}, {"discriminator_norm": "layer"}])
def test_symbols_and_their_one_hot_get_the_same_logits_and_gradients(changes: dict):
    torch.manual_seed(0)
    discriminator = build_discriminator(config(**changes), (9,), characters(7)).double().eval()
    symbols = torch.randint(7, (4, 9), dtype=torch.uint8)
    looked_up, multiplied = discriminator(symbols), discriminator(one_hot(symbols, 7))
    torch.testing.assert_close(looked_up, multiplied)
    parameters = list(discriminator.parameters())
    for one, other in zip(
        torch.autograd.grad(looked_up.square().sum(), parameters),
        torch.autograd.grad(multiplied.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_relaxed_symbols_carry_gradients_twice():
    discriminator = build_discriminator(config(), (9,), characters(7))
    relaxed = torch.rand(4, 7, 9, requires_grad=True)
    (slope,) = torch.autograd.grad(discriminator(relaxed).sum(), relaxed, create_graph=True)
    slope.square().sum().backward()
    gradient = discriminator.embedding.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def convolved(layer: nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
    """Position i of every `stride` sees the five around it, zeros beyond the ends."""
    padded = F.pad(x, (2, 2))
    columns = [
        torch.einsum("oik,bik->bo", layer.weight, padded[:, :, start : start + 5])
        for start in range(0, x.shape[2], layer.stride[0])
    ]
    return torch.stack(columns, 2) + layer.bias[:, None]


def test_a_block_against_its_formula():
    torch.manual_seed(0)
    block = TextBlock(3).double()
    x = torch.randn(2, 3, 6, dtype=torch.float64)

    def normalised(y: torch.Tensor) -> torch.Tensor:
        centred = y - y.mean((0, 2), keepdim=True)
        return centred / (centred.square().mean((0, 2), keepdim=True) + 1e-5).sqrt()

    y = convolved(block.conv_1, normalised(x).clamp(min=0))
    y = convolved(block.conv_2, normalised(y).clamp(min=0))
    torch.testing.assert_close(block(x), x + 0.3 * y)


@pytest.mark.parametrize("length", [1, 2, 6, 7])
def test_a_layer_against_its_formula(length: int):
    torch.manual_seed(0)
    layer = Layer(3, "none").double()
    x = torch.randn(2, 3, length, dtype=torch.float64)
    y = convolved(layer.conv_1, x)
    torch.testing.assert_close(layer(x), torch.where(y > 0, y, 0.2 * y))


def test_the_dense_layer_of_the_discriminator_sees_thirteen_characters_a_place():
    torch.manual_seed(0)
    discriminator = build_discriminator(config(depth=2), (32,), characters(7)).double()
    assert isinstance(discriminator, Discriminator)
    relaxed = torch.rand(1, 7, 32, dtype=torch.float64, requires_grad=True)
    features = discriminator.layers(discriminator.embedding(relaxed))  # [1, W, 8]
    assert features.shape == (1, 6, 8)
    # Place 3 of 8 stands where character 12 was.
    (slope,) = torch.autograd.grad(features[..., 3].square().sum(), relaxed)
    seen = slope.abs().sum((0, 1)).nonzero().flatten()
    assert seen.tolist() == list(range(12 - 6, 12 + 6 + 1))


def test_logits_of_an_untrained_generator_depend_on_the_latent_vector():
    # Features of unit variance behind a ReLU keep (1 − 1/π)/2 of it; Glorot's variance is 1/96.
    torch.manual_seed(0)
    generator = build_generator(
        config(generator_width=96, latent_size=128, depth=2), (32,), characters(96)
    )
    logits = generator(torch.randn(64, 128))  # [B, V, L]
    assert logits.std(0).mean().item() == pytest.approx(math.sqrt((1 - 1 / math.pi) / 2), abs=0.03)


def test_only_the_generator_has_batch_norm_unless_it_is_asked_for():
    def norms(network: nn.Module) -> list[type]:
        kinds = (nn.BatchNorm1d, nn.GroupNorm)
        return [type(each) for each in network.modules() if isinstance(each, kinds)]

    alphabet = characters(3)
    # Two a block, and one in front of the logits.
    assert norms(build_generator(config(depth=2), (8,), alphabet)) == [nn.BatchNorm1d] * 5
    assert norms(build_discriminator(config(depth=2), (8,), alphabet)) == []
    for norm, kind in (("batch", nn.BatchNorm1d), ("layer", nn.GroupNorm)):
        asked = config(depth=2, discriminator_norm=norm)
        assert norms(build_discriminator(asked, (8,), alphabet)) == [kind] * 2


def test_every_weight_of_the_discriminator_is_normalised_spectrally():
    discriminator = build_discriminator(config(spectral_norm=True), (8,), characters(3))
    for name, module in discriminator.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Linear)):
            largest = torch.linalg.svdvals(module.weight.detach().flatten(1))[0].item()
            # Fifteen power iterations from the start leave some error.
            assert largest == pytest.approx(1, abs=0.1), name


def test_initial_weights_have_the_documented_spread():
    torch.manual_seed(0)
    wide = config(generator_width=64, latent_size=100)
    generator = build_generator(wide, (32,), characters(26))
    # Uniform of He's variance, 2/fan_in, and of Glorot's, 2/(fan_in + fan_out).
    block = generator.blocks[0]
    assert block.conv_1.weight.var().item() == pytest.approx(2 / (64 * 5), rel=0.05)
    assert generator.dense.weight.var().item() == pytest.approx(2 / (100 + 64 * 32), rel=0.05)
    assert generator.conv.weight.var().item() == pytest.approx(2 / (64 + 26), rel=0.1)
    discriminator = build_discriminator(config(discriminator_width=64), (32,), characters(26))
    assert discriminator.embedding.weight.var().item() == pytest.approx(1, rel=0.1)
    assert discriminator.layers[0].conv_1.weight.var().item() == pytest.approx(
        2 / (64 * 5), rel=0.05
    )
    biases = [p for name, p in generator.named_parameters() if name.endswith("conv_1.bias")]
    assert all(bias.abs().max() == 0 for bias in biases)


@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_what_is_no_text_is_refused(build):
    with pytest.raises(ValueError, match="found no alphabet, expected one of characters"):
        build(config(), (8,))
    colours = Colours(((0,), (255,)))
    with pytest.raises(ValueError, match="found an alphabet of colours, expected one of char"):
        build(config(), (8,), colours)
    with pytest.raises(ValueError, match=r"shape is \[1, 8, 8\], expected that of a text, \[L\]"):
        build(config(), (1, 8, 8), characters(3))


def test_many_characters_are_looked_up_as_their_one_hot_is():
    torch.manual_seed(0)
    alphabet = Characters(tuple(map(chr, range(0x4E00, 0x4E00 + 900))))
    assert build_generator(config(), (5,), alphabet)(torch.randn(2, 5)).shape == (2, 900, 5)
    discriminator = build_discriminator(config(), (5,), alphabet).double().eval()
    symbols = torch.randint(256, 900, (3, 5), dtype=torch.int32)
    torch.testing.assert_close(discriminator(symbols), discriminator(one_hot(symbols, 900)))
