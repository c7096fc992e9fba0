import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.game import relaxation


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_relaxed_symbols_by_hand():
    logits = torch.tensor([[[0.0], [2 * math.log(3.0)]]])  # two symbols, one place
    assert relaxation.relaxed(logits, 1.0).flatten().tolist() == pytest.approx([0.1, 0.9])
    assert relaxation.relaxed(logits, 2.0).flatten().tolist() == pytest.approx([0.25, 0.75])


def test_straight_through_draws_symbols_as_often_as_they_are_likely():
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0]).reshape(1, 4, 1).expand(1, 4, 40_000)
    drawn = relaxation.straight_through(logits, 0.5, rng())
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(drawn.sum(1), torch.ones(1, 40_000))
    share = drawn.mean((0, 2))
    torch.testing.assert_close(share, logits[0, :, 0].softmax(0), rtol=0, atol=0.01)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_gradient_of_straight_through_is_that_of_the_soft_samples(temperature: float):
    logits = torch.randn(2, 5, 3, generator=rng(), requires_grad=True)
    weights = torch.randn(2, 5, 3, generator=rng(1))
    (weights * relaxation.straight_through(logits, temperature, rng(2))).sum().backward()
    twin = logits.detach().clone().requires_grad_()
    waiting = torch.empty(2, 5, 3).exponential_(generator=rng(2))
    (weights * ((twin - waiting.log()) / temperature).softmax(1)).sum().backward()
    assert twin.grad.abs().max() > 0.01
    torch.testing.assert_close(logits.grad, twin.grad)


def test_straight_through_stays_finite_for_logits_of_any_size():
    logits = torch.tensor([[[1e4], [-1e4], [0.0]]], requires_grad=True)
    drawn = relaxation.straight_through(logits, 0.1, rng())
    assert drawn.flatten().tolist() == [1.0, 0.0, 0.0]
    (drawn * torch.arange(3.0)[:, None]).sum().backward()
    assert torch.isfinite(logits.grad).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.sampled_from([1, 3]))
def test_a_corner_of_the_simplex_has_the_colour_of_its_symbol(seed: int, size: int, channels: int):
    symbols = torch.randint(0, size, (3, 4, 5), generator=rng(seed)).to(torch.uint8)
    table = torch.rand(size, channels, generator=rng(seed + 1)) * 2 - 1
    corners = relaxation.one_hot(symbols, size)
    assert corners.shape == (3, size, 4, 5)
    assert torch.equal(corners.argmax(1), symbols.long())
    assert torch.equal(corners.sum(1), torch.ones(3, 4, 5))
    looked_up = relaxation.colours(symbols, table)
    assert looked_up.shape == (3, channels, 4, 5)
    assert looked_up.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(relaxation.expected_colours(corners, table), looked_up)


def test_expected_colours_are_means():
    probabilities = torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1)
    table = torch.tensor([[-1.0, 0.0, 1.0], [1.0, 1.0, -1.0]])
    found = relaxation.expected_colours(probabilities, table)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.5, 0.75, -0.5]))
