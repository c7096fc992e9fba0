import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.policy_gradient.fixed_point import (
    LOWEST,
    cumulative_categorical,
    exponential_,
    unlikely_bernoulli,
)


def test_exponential_is_right_to_an_ulp_or_so():
    x = torch.cat([torch.linspace(-79, 0, 200_001), -torch.logspace(-12, 0, 1001)])
    exact = x.double().exp()
    assert ((exponential_(x.clone()).double() - exact) / exact).abs().max() < 1.2e-7


def test_exponential_of_what_has_none():
    x = torch.tensor([0.0, -0.0, -1e9, -math.inf, math.nan])
    smallest = exponential_(torch.tensor([LOWEST])).item()
    assert exponential_(x).tolist() == [1.0, 1.0, smallest, smallest, smallest]


def probabilities(logits: torch.Tensor, dim: int) -> torch.Tensor:
    """What the thresholds make of a position's logits, in float64."""
    order = logits.float().clone()
    cumulative = cumulative_categorical(order.unsqueeze(1 if dim == 0 else 0), dim).flatten()
    assert (cumulative.diff() >= 0).all()
    # An overflow would have made it decrease; the total's scale is what bounds the error.
    assert cumulative[0] >= 0
    assert cumulative[-1] >= 2**29
    exact = cumulative.double()
    return torch.diff(exact, prepend=exact.new_zeros(1)) / exact[-1]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 256),
    st.floats(0, 40),
    st.integers(0, 2**31),
    st.sampled_from([0, -1]),
)
def test_probabilities(categories, scale, seed, dim):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(categories, generator=generator) * scale
    exact = logits.double().softmax(0)
    error = (probabilities(logits, dim) - exact).abs()
    assert (error <= 2e-9 + 3e-7 * exact).all()


def test_both_layouts_give_the_same_bits():
    logits = torch.randn(7, 19) * 5
    across = cumulative_categorical(logits.t().contiguous(), 0).t()
    assert torch.equal(across, cumulative_categorical(logits.clone(), -1))


def test_equal_categories_fill_the_range():
    assert probabilities(torch.zeros(256), -1).tolist() == [1 / 256] * 256
    assert probabilities(torch.zeros(1), 0).tolist() == [1.0]


def test_minus_infinity_has_no_share():
    shares = probabilities(torch.tensor([0.0, -math.inf, 1.0]), 0)
    assert shares[1] == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("dim", [0, -1])
def test_without_a_distribution(bad, dim):
    logits = torch.tensor([[0.0, bad, 1.0]])
    flat = logits.t().contiguous() if dim == 0 else logits
    assert (cumulative_categorical(flat, dim) == 0).all()
    assert (cumulative_categorical(torch.full((2, 2), -math.inf), dim) == 0).all()


def test_bernoulli_weights():
    magnitude = torch.tensor([0.0, 1.0, 20.0, 1e4, math.inf, math.nan])
    weights = unlikely_bernoulli(magnitude).tolist()
    assert weights[0] == 2**30
    assert weights[1] == pytest.approx(2**30 / math.e, rel=2e-7)
    assert weights[2] == round(2**30 * math.exp(-20))
    assert weights[3:] == [0, 0, 0]
