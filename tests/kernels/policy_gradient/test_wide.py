"""More categories than a byte tells apart, and than a tile holds: up to 65,536."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels import log_prob, sample_categorical, weighted_log_prob
from kernels.policy_gradient import autograd, tiles
from kernels.policy_gradient.fixed_point import (
    MOST_CATEGORIES,
    cumulative_categorical,
    estimate_bits,
)
from tests.kernels.policy_gradient import reference

SEED = 20_250_102


def logits_of(shape: tuple[int, ...], scale: float = 3.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * scale


# --- thresholds ----------------------------------------------------------------------------------


def test_the_estimate_leaves_room_for_all_categories():
    expected = {1: 22, 2: 22, 256: 22, 257: 21, 512: 21, 3000: 18, 32_769: 14, 65_536: 14}
    assert {categories: estimate_bits(categories) for categories in expected} == expected
    assert all(n << estimate_bits(n) <= 2**30 for n in range(1, MOST_CATEGORIES + 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(257, MOST_CATEGORIES), st.floats(0, 40), st.integers(0, 2**31))
@example(MOST_CATEGORIES, 0.0, 0)
@example(MOST_CATEGORIES, 12.0, 0)
def test_probabilities(categories, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(categories, generator=generator) * scale
    cumulative = cumulative_categorical(logits[None].clone(), -1)[0]
    assert cumulative[0] >= 0
    assert (cumulative.diff() >= 0).all()  # an overflow would have made it decrease
    assert cumulative[-1] >= 2**28
    whole = cumulative.double()
    shares = torch.diff(whole, prepend=whole.new_zeros(1)) / whole[-1]
    exact = logits.double().softmax(0)
    error = (shares - exact).abs()
    assert (error <= 4e-9 + (3e-7 + 2e-9 * categories) * exact).all()


def test_one_likely_and_many_that_round_away_together():
    # Each of the others is just below half a unit of the estimate: it sees none of them.
    logits = torch.full((1, MOST_CATEGORIES), -math.log(2) * 15.01)
    logits[0, 7] = 0
    cumulative = cumulative_categorical(logits.clone(), -1)[0].double()
    assert 2**28 <= cumulative[-1] < 2**31
    likely = (cumulative[7] - cumulative[6]) / cumulative[-1]
    assert likely.item() == pytest.approx(logits[0].double().softmax(0)[7].item(), rel=2e-4)


# --- draws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 9, 257), (2, 1, 300), (1, 5, 700), (1, 1, 3000)])
def test_stream_is_the_twins(shape, monkeypatch):
    logits = logits_of(shape)
    twins = sample_categorical(logits, 6, SEED, 3, impl="torch")
    assert twins.symbols.dtype == torch.int32
    reference.poison(monkeypatch)
    ours = sample_categorical(logits, 6, SEED, 3, impl="triton")
    assert ours.symbols.dtype == torch.int32
    assert torch.equal(ours.symbols, twins.symbols)
    torch.testing.assert_close(ours.log_probs, twins.log_probs)


@pytest.mark.slow
def test_stream_of_as_many_as_there_can_be():
    logits = logits_of((1, 2, MOST_CATEGORIES))
    drawn = [sample_categorical(logits, 4, SEED, impl=impl) for impl in reference.IMPLEMENTATIONS]
    assert torch.equal(drawn[0].symbols, drawn[1].symbols)
    torch.testing.assert_close(drawn[0].log_probs, drawn[1].log_probs)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_log_probs(impl, dtype, monkeypatch):
    if impl == "triton" and dtype == torch.float64:
        pytest.skip("computes in float32")
    logits = logits_of((2, 3, 700)).to(dtype)
    reference.poison(monkeypatch)
    drawn = sample_categorical(logits, 6, SEED, impl=impl)
    exact = reference.log_prob(logits, drawn.symbols)
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    torch.testing.assert_close(drawn.log_probs.double(), exact, rtol=tolerance, atol=tolerance)
    given_symbols = log_prob(logits, drawn.symbols, impl=impl)
    torch.testing.assert_close(given_symbols.double(), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_given_symbols(impl, dtype):
    logits = logits_of((2, 3, 600))
    symbols = torch.randint(0, 256 if dtype == torch.uint8 else 600, (5, 2, 3)).to(dtype)
    ours = log_prob(logits, symbols, impl=impl)
    exact = reference.log_prob(logits, symbols)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-6, atol=1e-6)


def test_frequencies():
    categories, draws = 3000, 400_000
    logits = logits_of((1, 1, categories), 1.0)
    symbols = sample_categorical(logits, draws, SEED, impl="torch").symbols.flatten()
    counts = symbols.bincount(minlength=categories).double()
    expected = logits.double().softmax(-1).flatten() * draws
    freedom = categories - 1
    # Mean `freedom`, deviation sqrt(2·freedom); 5 of them.
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom) + 5


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_without_a_distribution(impl, bad):
    logits = torch.zeros(2, 3, 1100)
    if bad == -math.inf:
        logits[0, 1] = bad
    else:
        logits[0, 1, 1050] = bad  # in the last tile
    drawn = sample_categorical(logits, 5, SEED, impl=impl)
    assert (drawn.symbols[:, 0, 1] == 1099).all()
    assert drawn.log_probs[:, 0].isnan().all()
    torch.testing.assert_close(drawn.log_probs[:, 1], torch.full((5,), -3 * math.log(1100)))


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_the_only_possible_symbol_is_drawn_wherever_it_is(impl):
    places = torch.tensor([0, 255, 256, 511, 512, 898, 899])
    logits = torch.full((1, 7, 900), -math.inf)
    logits[0, range(7), places] = 1e4
    drawn = sample_categorical(logits, 4, SEED, impl=impl)
    assert (drawn.symbols == places).all()
    assert (drawn.log_probs == 0).all()


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_categories_second_and_other_strides(impl):
    text = logits_of((1, 300, 9))
    drawn = sample_categorical(text, 4, SEED, dim=1, impl=impl)
    last = sample_categorical(text.permute(0, 2, 1).contiguous(), 4, SEED, impl=impl)
    assert drawn.symbols.shape == (4, 1, 9)
    assert torch.equal(drawn.symbols, last.symbols)
    torch.testing.assert_close(drawn.log_probs, last.log_probs)
    view = logits_of((1, 3, 900))[:, :, ::3]
    apart = sample_categorical(view, 3, SEED, impl=impl)
    together = sample_categorical(view.contiguous(), 3, SEED, impl=impl)
    assert torch.equal(apart.symbols, together.symbols)


# --- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("shape", "dim"), [((2, 3, 257), -1), ((3, 1, 600), -1), ((2, 300, 5), 1), ((1, 1, 3000), -1)]
)
def test_gradient(impl, dtype, shape, dim, monkeypatch):
    logits = logits_of(shape).to(dtype)
    weights = torch.randn(3, shape[0])
    reference.poison(monkeypatch)
    leaf = logits.clone().requires_grad_()
    drawn = sample_categorical(leaf, 3, SEED, dim=dim, impl=impl)
    (gradient,) = torch.autograd.grad((weights * drawn.log_probs).sum(), leaf)
    assert (gradient.dtype, gradient.stride()) == (dtype, logits.stride())
    exact = reference.gradient(logits.movedim(dim, -1), drawn.symbols, weights)
    tolerance = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}[dtype]
    found = gradient.movedim(dim, -1).double()
    torch.testing.assert_close(found, exact, rtol=tolerance, atol=tolerance)
    again = logits.clone().requires_grad_()
    weighted_log_prob(again, drawn.symbols, weights, dim=dim, impl=impl).backward()
    assert torch.equal(again.grad, gradient)


def test_differences():
    logits = torch.randn(1, 2, 300, dtype=torch.float64, requires_grad=True)
    symbols = sample_categorical(logits, 3, SEED).symbols
    function = lambda x: log_prob(x, symbols)  # noqa: E731
    assert torch.autograd.gradcheck(function, logits)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_operators(impl):
    operators = getattr(torch.ops, autograd.NAMESPACE)
    logits = torch.randn(1, 2, 300, requires_grad=True)
    torch.library.opcheck(operators.sample.default, (logits, 3, None, None, 3, 1, impl))
    symbols = torch.randint(0, 300, (3, 1, 2), dtype=torch.int32)
    torch.library.opcheck(operators.log_prob.default, (logits, symbols, impl))
    torch.library.opcheck(
        operators.score.default, (logits.detach(), symbols, torch.randn(3, 1), impl)
    )


# --- tiles ---------------------------------------------------------------------------------------


def test_tiles_of_many_categories_are_of_one_size():
    assert tiles.tiling(100, 256) == (4, 256)
    assert tiles.tiling(100, 257) == tiles.tiling(100, 65_536) == (8, 64)
    assert tiles.tiling(3, 3000) == (4, 128)
    assert tiles.tiling(1, 3000) == (1, 512)


def test_more_are_refused():
    with pytest.raises(ValueError, match="65537 categories in dimension -1: expected 1 to 65536"):
        sample_categorical(torch.zeros(1, 65_537), 1, 0)
