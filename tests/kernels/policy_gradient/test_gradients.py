"""Gradients: against the formula in float64, by enumeration, by differences; and where none is."""

import itertools
import math

import pytest
import torch

from kernels import (
    log_prob,
    normalised_weights,
    sample_bernoulli,
    sample_categorical,
    weighted_log_prob,
)
from tests.kernels.policy_gradient import reference

SEED = 7


def drawn_gradient(logits, samples, weights, impl, dim=None):
    """Gradient through the sampler's own log-probabilities, and the symbols."""
    leaf = logits.clone().requires_grad_()
    if dim is None:
        drawn = sample_bernoulli(leaf, samples, SEED, impl=impl)
    else:
        drawn = sample_categorical(leaf, samples, SEED, dim=dim, impl=impl)
    (gradient,) = torch.autograd.grad((weights * drawn.log_probs).sum(), leaf)
    return gradient, drawn.symbols


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(3, 1), (2, 7, 2), (3, 5, 17), (1, 3, 256), (2, 2, 3, 192)])
def test_categorical(impl, dtype, shape, monkeypatch):
    logits = (torch.randn(shape) * 3).to(dtype)
    weights = torch.randn(5, shape[0])
    reference.poison(monkeypatch)
    gradient, symbols = drawn_gradient(logits, 5, weights, impl, dim=-1)
    assert gradient.dtype == dtype
    exact = reference.gradient(logits, symbols, weights)
    tolerance = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(gradient.double(), exact, rtol=tolerance, atol=tolerance)
    leaf = logits.clone().requires_grad_()
    weighted_log_prob(leaf, symbols, weights, impl=impl).backward()
    assert torch.equal(leaf.grad, gradient)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(3,), (2, 7), (2, 300), (1, 4, 5)])
def test_bernoulli(impl, dtype, shape, monkeypatch):
    logits = (torch.randn(shape) * 3).to(dtype)
    weights = torch.randn(5, shape[0])
    reference.poison(monkeypatch)
    gradient, symbols = drawn_gradient(logits, 5, weights, impl)
    exact = reference.gradient(logits, symbols, weights)
    tolerance = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(gradient.double(), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_saturated_bernoulli_keeps_its_small_gradient(impl):
    logits = torch.tensor([[20.0, -20.0, 40.0]], requires_grad=True)
    symbols = torch.tensor([[[1, 0, 1]]], dtype=torch.uint8)
    log_prob(logits, symbols, impl=impl).sum().backward()
    exact = torch.tensor([[math.exp(-20), -math.exp(-20), math.exp(-40)]])
    torch.testing.assert_close(logits.grad, exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_layout_of_the_logits_is_the_gradients(impl):
    image = torch.randn(2, 5, 3, 4)
    weights = torch.randn(6, 2)
    gradient, symbols = drawn_gradient(image, 6, weights, impl, dim=1)
    assert gradient.stride() == image.stride()
    exact = reference.gradient(image.permute(0, 2, 3, 1), symbols, weights).permute(0, 3, 1, 2)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-6, atol=1e-6)
    leaf = image.clone().requires_grad_()
    weighted_log_prob(leaf, symbols, weights, dim=1, impl=impl).backward()
    assert torch.equal(leaf.grad, gradient)


# --- enumeration ---------------------------------------------------------------------------------


def every(categories: int, positions: int) -> torch.Tensor:
    """All sequences [V^P, 1, P]."""
    return torch.tensor(list(itertools.product(range(categories), repeat=positions)))[:, None]


def enumerated(kind):
    generator = torch.Generator().manual_seed(3)
    if kind == "bernoulli":
        logits = torch.randn(1, 8, generator=generator, dtype=torch.float64)
        return logits, every(2, 8)
    logits = torch.randn(1, 3, 3, generator=generator, dtype=torch.float64)
    return logits, every(3, 3)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_expectation_of_reinforce_is_the_gradient(kind, impl):
    # E_x[(F(x) − b) ∇ log g(x)] = ∇ Σ_x g(x) F(x), whatever the baseline b.
    logits, states = enumerated(kind)
    reward = torch.randn(len(states), 1, dtype=torch.float64)
    leaf = logits.clone().requires_grad_()
    (reference.log_prob(leaf, states).exp() * reward).sum().backward()
    exact, tolerance = leaf.grad, 1e-8
    if impl == "triton":
        logits, tolerance = logits.float(), 2e-6
    probabilities = reference.log_prob(logits, states).exp()
    leaf = logits.clone().requires_grad_()
    weighted_log_prob(leaf, states, probabilities * (reward - 0.7), impl=impl).backward()
    torch.testing.assert_close(leaf.grad.double(), exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_expectation_of_two_importance_samples(kind):
    # For M = 2 over all pairs: E[Σ_m w̃ ∇ log g(x^(m))], against the sum written out with torch's
    # own log-probabilities.
    logits, states = enumerated(kind)
    states = states[:27] if kind == "categorical" else every(2, 3)
    logits = logits if kind == "categorical" else logits[:, :3]
    count = len(states)
    log_weight = torch.randn(count, dtype=torch.float64)
    pairs = torch.cartesian_prod(torch.arange(count), torch.arange(count)).t()  # [2, B]
    log_g = reference.log_prob(logits, states)[:, 0]
    likelihood = log_g[pairs].sum(0).exp()
    weights = normalised_weights(log_weight[pairs]) * likelihood
    expanded = logits.expand(pairs.shape[1], *logits.shape[1:]).clone().requires_grad_()
    weighted_log_prob(expanded, states[:, 0][pairs], weights, impl="torch").backward()
    ours = expanded.grad.sum(0, keepdim=True)
    leaf = logits.clone().requires_grad_()
    each = reference.log_prob(leaf, states)[:, 0]
    share = log_weight[pairs].exp() / log_weight[pairs].exp().sum(0)
    (share * likelihood * each[pairs]).sum().backward()
    torch.testing.assert_close(ours, leaf.grad, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_importance_weights_of_every_state_point_down_the_divergence(kind):
    # With w = p/q and every state drawn in proportion to g, −Σ w̃ ∇ log g = ∇ KL(p ‖ g).
    logits, states = enumerated(kind)
    log_p = torch.randn(len(states), 1, dtype=torch.float64).log_softmax(0)
    leaf = logits.clone().requires_grad_()
    (log_p.exp() * (log_p - reference.log_prob(leaf, states))).sum().backward()
    log_g = reference.log_prob(logits, states)
    weights = normalised_weights(log_g + (log_p - log_g))
    ours = logits.clone().requires_grad_()
    (-weighted_log_prob(ours, states, weights, impl="torch")).backward()
    torch.testing.assert_close(ours.grad, leaf.grad, rtol=0, atol=1e-8)


# --- derivatives of all orders -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_differences(kind):
    if kind == "bernoulli":
        logits = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
        symbols = sample_bernoulli(logits, 3, SEED).symbols
    else:
        logits = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
        symbols = sample_categorical(logits, 3, SEED).symbols
    function = lambda x: log_prob(x, symbols)  # noqa: E731
    assert torch.autograd.gradcheck(function, logits)
    assert torch.autograd.gradgradcheck(function, logits)
    assert torch.autograd.gradcheck(function, logits, check_forward_ad=True)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_second_derivative_through_the_sampler(kind, impl):
    logits = torch.randn((2, 5) if kind == "bernoulli" else (2, 3, 4), requires_grad=True)
    draw = sample_bernoulli if kind == "bernoulli" else sample_categorical
    drawn = draw(logits, 3, SEED, impl=impl)
    weights = torch.randn(3, 2)
    (first,) = torch.autograd.grad((weights * drawn.log_probs).sum(), logits, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), logits)
    exact = logits.detach().double().requires_grad_()
    value = (weights * reference.log_prob(exact, drawn.symbols)).sum()
    (first_exact,) = torch.autograd.grad(value, exact, create_graph=True)
    (second_exact,) = torch.autograd.grad(first_exact.square().sum(), exact)
    torch.testing.assert_close(first.double(), first_exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(second.double(), second_exact, rtol=1e-5, atol=1e-5)


def test_transforms_look_inside():
    logits, symbols = torch.randn(2, 3, 4), torch.randint(0, 4, (5, 2, 3))
    function = lambda x: log_prob(x, symbols).sum()  # noqa: E731
    exact = reference.gradient(logits, symbols, torch.ones(5, 2)).float()
    torch.testing.assert_close(torch.func.grad(function)(logits), exact)


# --- what has no gradient ------------------------------------------------------------------------


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_nothing_flows_through_symbols_or_weights(impl):
    logits = torch.randn(2, 3, 4, requires_grad=True)
    drawn = sample_categorical(logits, 5, SEED, impl=impl)
    assert not drawn.symbols.requires_grad
    assert drawn.log_probs.requires_grad
    weights = torch.randn(5, 2, requires_grad=True)
    value = weighted_log_prob(logits, drawn.symbols, weights, impl=impl)
    gradients = torch.autograd.grad(value, (logits, weights), allow_unused=True)
    assert gradients[0] is not None
    assert gradients[1] is None
    log_weights = torch.randn(5, 2, requires_grad=True)
    assert not normalised_weights(log_weights).requires_grad


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_without_a_graph(impl):
    logits = torch.randn(2, 3, 4, requires_grad=True)
    with torch.no_grad():
        assert not sample_categorical(logits, 5, SEED, impl=impl).log_probs.requires_grad
    assert not sample_categorical(logits.detach(), 5, SEED, impl=impl).log_probs.requires_grad


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_repeats_bit_for_bit(impl):
    logits, weights = torch.randn(3, 50, 20), torch.randn(9, 3)
    first = drawn_gradient(logits, 9, weights, impl, dim=-1)
    second = drawn_gradient(logits, 9, weights, impl, dim=-1)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("impl", [*reference.IMPLEMENTATIONS, "transform"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_without_a_distribution_the_gradient_is_nan_there_and_nowhere_else(impl, bad):
    logits = torch.randn(2, 3, 4)
    logits[0, 1, 2 if bad != -math.inf else slice(None)] = bad

    def gradient(draw, logits):
        if impl == "transform":
            return torch.func.grad(lambda t: draw(t, 5, SEED).log_probs.sum())(logits)
        leaf = logits.clone().requires_grad_()
        drawn = draw(leaf, 5, SEED, impl=impl)
        return torch.autograd.grad(drawn.log_probs.sum(), leaf)[0]

    found = gradient(sample_categorical, logits).isnan()
    assert found[0, 1].all()
    assert found.sum() == 4
    found = gradient(sample_bernoulli, logits).isnan()
    assert found.sum() == (1 if math.isnan(bad) else 0)  # σ(±inf) is a probability
