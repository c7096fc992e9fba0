import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.config import ModelConfig
from gan.generators.sampling import generate, generate_between, interpolate
from gan.models import build_generator
from gan.symbols import Alphabet, Characters, Colours


def generator():
    torch.manual_seed(0)
    config = ModelConfig(latent_size=3, generator_width=4, discriminator_width=4)
    return build_generator(config, (1, 8, 8))


def test_batching_does_not_change_samples_and_the_mode_comes_back():
    network = generator().train()
    latent = torch.randn(7, 3)
    running = network.dense_norm.running_mean.clone()
    one = np.concatenate(list(generate(network, latent, 7)))
    several = np.concatenate(list(generate(network, latent, 3)))
    assert one.shape == (7, 1, 8, 8)
    assert one.dtype == np.uint8
    # Products over another batch size may round differently: by one level at most.
    assert np.abs(one.astype(int) - several.astype(int)).max() <= 1
    assert network.training
    assert torch.equal(network.dense_norm.running_mean, running)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9), st.integers(1, 5))
def test_interpolation_starts_and_ends_at_its_ends(seed: int, steps: int, size: int):
    rng = torch.Generator().manual_seed(seed)
    start, end = torch.randn(2, 4, size, generator=rng, dtype=torch.float64)
    path = interpolate(start, end, steps)
    assert path.shape == (4, steps, size)
    torch.testing.assert_close(path[:, 0], start)
    # One-dimensional vectors of opposite sign have no arc between them.
    if size > 1:
        torch.testing.assert_close(path[:, -1], end)


def test_the_middle_of_a_right_angle_keeps_the_norm():
    path = interpolate(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 3)
    half = 2 * math.sqrt(0.5)
    torch.testing.assert_close(path[0, 1], torch.tensor([half, half]))


def test_parallel_vectors_are_joined_by_the_line():
    path = interpolate(torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 3.0]]), 3)
    torch.testing.assert_close(path[0], torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]))


def test_the_latent_is_the_prior_on_the_generators_device():
    network = generator()
    latent = network.draw_latent(20000, torch.Generator().manual_seed(0))
    assert latent.shape == (20000, 3)
    assert latent.mean().item() == pytest.approx(0, abs=0.02)
    assert latent.std().item() == pytest.approx(1, abs=0.02)


def test_points_come_as_fp32():
    network = build_generator(ModelConfig(name="mlp", latent_size=3, generator_width=4), (2,))
    points = np.concatenate(list(generate(network, torch.randn(7, 3), 3)))
    assert points.shape == (7, 2)
    assert points.dtype == np.float32


def test_a_uniform_prior_and_straight_lines_within_it():
    config = ModelConfig(latent="uniform", latent_size=3, generator_width=4)
    network = build_generator(config, (1, 8, 8))
    latent = network.draw_latent(20000, torch.Generator().manual_seed(0))
    assert latent.min() >= -1
    assert latent.max() <= 1
    assert latent.mean().item() == pytest.approx(0, abs=0.02)
    assert latent.std().item() == pytest.approx(1 / math.sqrt(3), abs=0.01)
    path = interpolate(torch.tensor([[-1.0, 0.0]]), torch.tensor([[1.0, 1.0]]), 3, "uniform")
    torch.testing.assert_close(path[0], torch.tensor([[-1.0, 0.0], [0.0, 0.5], [1.0, 1.0]]))


COLOURS = Colours(((0, 0, 0), (255, 0, 0), (10, 20, 30)))
LETTERS = Characters(tuple("abcde"))


def symbol_generator(alphabet: Alphabet):
    torch.manual_seed(0)
    if isinstance(alphabet, Characters):
        return build_generator(
            ModelConfig(name="text", latent_size=3, generator_width=4, depth=1), (6,), alphabet
        )
    shape = (alphabet.channels, 8, 8)
    return build_generator(ModelConfig(latent_size=3, generator_width=4), shape, alphabet)


def test_images_of_symbols_come_in_their_colours():
    for alphabet in (COLOURS, Colours.levels(2)):
        network = symbol_generator(alphabet).train()
        images = np.concatenate(list(generate(network, torch.randn(7, 3), 3)))
        assert images.shape == (7, alphabet.channels, 8, 8)
        assert images.dtype == np.uint8
        seen = {tuple(pixel) for pixel in np.moveaxis(images, 1, -1).reshape(-1, alphabet.channels)}
        assert seen == set(alphabet.values)
        assert network.training


def test_texts_come_as_symbols_that_the_seed_decides():
    network = symbol_generator(LETTERS)
    latent = torch.randn(50, 3)
    one, again, other = (
        np.concatenate(list(generate(network, latent, 20, seed=seed))) for seed in (1, 1, 2)
    )
    assert one.shape == (50, 6)
    assert one.dtype == np.uint8
    assert one.max() < 5
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    # Batches have random numbers of their own.
    same = np.concatenate(list(generate(network, latent[:1].expand(40, -1), 20)))
    assert not np.array_equal(same[:20], same[20:])


def test_texts_of_many_characters_come_as_they_are_stored():
    alphabet = Characters(tuple(map(chr, range(0x4E00, 0x4E00 + 700))))
    texts = np.concatenate(list(generate(symbol_generator(alphabet), torch.randn(30, 3), 20)))
    assert (texts.dtype.str, texts.shape) == ("<u2", (30, 6))
    assert 255 < texts.max() < 700
    assert len(alphabet.decode(texts)) == 30


def test_batches_with_the_same_random_numbers_differ_as_their_distributions_do():
    network = symbol_generator(LETTERS)
    latent = torch.randn(1, 3).expand(500, -1)

    def drawn(nudge: float, fresh: bool) -> np.ndarray:
        both = torch.cat([latent, latent + nudge])
        return np.concatenate(list(generate(network, both, 500, fresh=fresh)))

    same = drawn(0.0, fresh=False)
    assert np.array_equal(same[:500], same[500:])
    assert not np.array_equal(same[0], same[1])
    chance = network.eval()(torch.cat([latent[:1], latent[:1] + 0.3])).softmax(1)  # [2, V, L]
    # The least share of symbols that any coupling of the two distributions could change.
    least = (chance[0] - chance[1]).abs().sum(0).mean().item() / 2
    changed, fresh = (
        (each[:500] != each[500:]).mean()
        for each in (drawn(0.3, fresh=False), drawn(0.3, fresh=True))
    )
    assert least - 0.02 < changed < 0.5 * fresh


def test_symbols_are_drawn_as_often_as_their_logits_say():
    network = symbol_generator(LETTERS).eval()
    latent = torch.randn(1, 3)
    drawn = np.concatenate(list(generate(network, latent.expand(20_000, -1), 10_000)))
    share = np.stack([(drawn == symbol).mean(0) for symbol in range(5)])  # [V, L]
    chance = network(latent)[0].softmax(0).detach().numpy()
    assert np.abs(share - chance).max() < 0.02


@pytest.mark.parametrize("alphabet", [None, COLOURS, LETTERS], ids=["numbers", "colours", "text"])
def test_a_row_for_each_start_and_a_column_for_each_step(alphabet: Alphabet | None):
    network = generator() if alphabet is None else symbol_generator(alphabet)
    start, end = torch.randn(2, 4, 3)
    path = generate_between(network, start, end, 5, seed=3)
    (first,) = generate(network, start, 4, seed=3)
    (middle,) = generate(network, interpolate(start, end, 5)[:, 2], 4, seed=3)
    assert path.shape == (4, 5, *network.shape)
    # The same places of a batch have the same random numbers.
    assert np.array_equal(path[:, 0], first)
    assert np.array_equal(path[:, 2], middle)
    (still,) = generate_between(network, start[:1], start[:1].clone(), 5)
    assert all(np.array_equal(frame, still[0]) for frame in still)
