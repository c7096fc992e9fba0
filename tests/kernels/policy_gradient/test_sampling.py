"""Draws: the stream, frequencies, log-probabilities; Triton through its interpreter."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import log_prob, sample_bernoulli, sample_categorical
from kernels.policy_gradient import twin
from tests.kernels.policy_gradient import reference

SEED = 20_250_101
# Of positions: none, one, odd, two-dimensional, more than a Bernoulli program has.
SHAPES = [(), (1,), (7,), (3, 5), (300,)]


def logits_of(shape: tuple[int, ...], scale: float = 3.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * scale


@pytest.mark.parametrize("categories", [1, 2, 3, 17, 65, 192, 256])
def test_categorical_stream_is_the_twins(categories, monkeypatch):
    logits = logits_of((3, 11, categories))
    twins = sample_categorical(logits, 6, SEED, 3, impl="torch")
    reference.poison(monkeypatch)
    ours = sample_categorical(logits, 6, SEED, 3, impl="triton")
    assert torch.equal(ours.symbols, twins.symbols)
    torch.testing.assert_close(ours.log_probs, twins.log_probs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("samples", [1, 5])
def test_bernoulli_stream_is_the_twins(shape, samples, monkeypatch):
    logits = logits_of((2, *shape))
    twins = sample_bernoulli(logits, samples, SEED, impl="torch")
    reference.poison(monkeypatch)
    ours = sample_bernoulli(logits, samples, SEED, impl="triton")
    assert ours.symbols.shape == (samples, 2, *shape)
    assert torch.equal(ours.symbols, twins.symbols)
    torch.testing.assert_close(ours.log_probs, twins.log_probs)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bernoulli", [False, True])
def test_log_probs(impl, dtype, bernoulli, monkeypatch):
    if impl == "triton" and dtype == torch.float64:
        pytest.skip("computes in float32")
    logits = logits_of((3, 7, 5)).to(dtype)
    reference.poison(monkeypatch)
    draw = sample_bernoulli if bernoulli else sample_categorical
    drawn = draw(logits, 6, SEED, impl=impl)
    assert drawn.symbols.dtype == torch.uint8
    assert drawn.log_probs.dtype == (dtype if dtype == torch.float64 else torch.float32)
    exact = reference.log_prob(logits, drawn.symbols)
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    torch.testing.assert_close(drawn.log_probs.double(), exact, rtol=tolerance, atol=tolerance)
    given_symbols = log_prob(logits, drawn.symbols, impl=impl)
    torch.testing.assert_close(given_symbols.double(), exact, rtol=tolerance, atol=tolerance)


def test_symbols_do_not_depend_on_the_dtype_of_the_same_logits():
    logits = logits_of((4, 9, 17)).bfloat16()
    drawn = [
        sample_categorical(logits.to(dtype), 8, SEED).symbols
        for dtype in (torch.bfloat16, torch.float32, torch.float64)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_a_symbol_depends_on_its_own_place_only(impl):
    logits = logits_of((5, 13, 6))
    whole = sample_categorical(logits, 11, SEED, 9, impl=impl).symbols
    part = sample_categorical(logits[:2, :4], 3, SEED, 9, impl=impl).symbols
    assert torch.equal(part, whole[:3, :2, :4])
    bits = sample_bernoulli(logits, 11, SEED, 9, impl=impl).symbols
    assert torch.equal(sample_bernoulli(logits[:3], 2, SEED, 9, impl=impl).symbols, bits[:2, :3])


@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 40), st.integers(1, 70), st.integers(1, 20), st.integers(3, 9)
)
def test_blocks_do_not_show(rows, positions, categories, samples, bits):
    logits = logits_of((rows, positions, categories))
    draws = (
        lambda: sample_categorical(logits, samples, SEED, impl="torch"),
        lambda: sample_bernoulli(logits, samples, SEED, impl="torch"),
    )
    whole = [draw() for draw in draws]
    weights = torch.randn(samples, rows)
    scores = [
        twin.score(logits, whole[0].symbols, weights),
        twin.score(logits[..., 0], whole[0].symbols % 2, weights),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(twin.BLOCK, "cpu", 1 << bits)
        parts = [draw() for draw in draws]
        in_blocks = [
            twin.score(logits, whole[0].symbols, weights),
            twin.score(logits[..., 0], whole[0].symbols % 2, weights),
        ]
        again = log_prob(logits, whole[0].symbols, impl="torch")
    for a, b in zip(whole, parts, strict=True):
        assert torch.equal(a.symbols, b.symbols)
        # Other blocks add up in another order.
        torch.testing.assert_close(a.log_probs, b.log_probs, rtol=1e-5, atol=1e-5)
    for a, b in zip(scores, in_blocks, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(again, whole[0].log_probs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_seed_and_offset(impl):
    logits = torch.zeros(4, 50, 16)

    def draw(seed, offset):
        return sample_categorical(logits, 4, seed, offset, impl=impl).symbols

    base = draw(3, 0)
    assert torch.equal(base, draw(3, 0))
    assert torch.equal(base, draw(torch.tensor(3), torch.tensor([0])))
    assert torch.equal(draw(-1, 2**32 - 1), draw(torch.tensor(-1), torch.tensor(2**32 - 1)))
    # Of 800 equally likely symbols a sixteenth agrees by chance.
    for other in (draw(4, 0), draw(3, 1), draw(3 + 2**32, 0)):
        assert 10 < (other == base).sum() < 120


# --- frequencies ---------------------------------------------------------------------------------


def chi_square(counts: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("categories", [2, 3, 17, 192])
def test_categorical_frequencies(categories):
    draws = 400_000
    logits = logits_of((1, 1, categories), 1.0)
    symbols = sample_categorical(logits, draws, SEED, impl="torch").symbols.flatten()
    counts = symbols.bincount(minlength=categories).double()
    expected = logits.double().softmax(-1).flatten() * draws
    freedom = categories - 1
    # Mean `freedom`, deviation sqrt(2·freedom); 5 of them.
    assert chi_square(counts, expected) < freedom + 5 * math.sqrt(2 * freedom) + 5


def test_positions_rows_and_samples_are_independent():
    # Pairs of neighbours along each axis of counters are uniform over 4 × 4.
    symbols = sample_categorical(torch.zeros(64, 64, 4), 64, SEED).symbols.long()
    pairs = (
        symbols[1:] * 4 + symbols[:-1],
        symbols[:, 1:] * 4 + symbols[:, :-1],
        symbols[..., 1:] * 4 + symbols[..., :-1],
    )
    for pair in pairs:
        counts = pair.flatten().bincount(minlength=16).double()
        assert chi_square(counts, counts.mean().expand(16)) < 15 + 5 * math.sqrt(30)


def test_rare_symbols_have_their_frequency():
    # 2^22 draws of a symbol of probability 1e-5, and none of one of e^-40.
    logits = torch.tensor([0.0, math.log(1e-5), -40.0, -math.inf]).expand(64, 1024, 4)
    symbols = sample_categorical(logits, 64, SEED).symbols
    mean = symbols.numel() * 1e-5
    count = (symbols == 1).sum().item()
    assert abs(count - mean) < 5 * math.sqrt(mean)
    assert (symbols < 2).all()


@pytest.mark.parametrize("logit", [-9.0, -1.0, 0.0, 2.0, 9.0])
def test_bernoulli_frequencies(logit):
    symbols = sample_bernoulli(torch.full((16, 1024), logit), 64, SEED).symbols
    probability = 1 / (1 + math.exp(-logit))
    count, draws = symbols.sum().item(), symbols.numel()
    deviation = math.sqrt(draws * probability * (1 - probability))
    assert abs(count - draws * probability) < 5 * deviation


# --- extremes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_extreme_bernoulli_logits(impl):
    logits = torch.tensor([[-math.inf, math.inf, -1e4, 1e4, 60.0, -60.0]])
    drawn = sample_bernoulli(logits, 50, SEED, impl=impl)
    assert (drawn.symbols == torch.tensor([0, 1, 0, 1, 1, 0], dtype=torch.uint8)).all()
    # 2·log σ(60) = −2·e^−60.
    exact = torch.full((50, 1), -2 * math.exp(-60))
    torch.testing.assert_close(drawn.log_probs, exact, rtol=1e-5, atol=0)
    against = log_prob(logits[:, :1], torch.ones(1, 1, 1, dtype=torch.uint8), impl=impl)
    assert against.item() == -math.inf


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_extreme_categorical_logits(impl):
    logits = torch.tensor([[[-1e30, 1e30, 0.0], [-math.inf, 5.0, -math.inf], [3e4, 3e4, 0.0]]])
    drawn = sample_categorical(logits, 50, SEED, impl=impl)
    assert (drawn.symbols[:, 0, :2] == 1).all()
    assert set(drawn.symbols[:, 0, 2].tolist()) == {0, 1}
    torch.testing.assert_close(drawn.log_probs, torch.full((50, 1), -math.log(2)))


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("categories", [3, 100])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_without_a_distribution(impl, categories, bad):
    logits = torch.zeros(2, 3, categories)
    if bad == -math.inf:
        logits[0, 1] = bad
    else:
        logits[0, 1, 1] = bad
    drawn = sample_categorical(logits, 5, SEED, impl=impl)
    assert (drawn.symbols[:, 0, 1] == categories - 1).all()
    assert drawn.log_probs[:, 0].isnan().all()
    torch.testing.assert_close(drawn.log_probs[:, 1], torch.full((5,), -3 * math.log(categories)))


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_bernoulli_nan(impl):
    drawn = sample_bernoulli(torch.tensor([[0.0, math.nan], [0.0, 0.0]]), 5, SEED, impl=impl)
    assert (drawn.symbols[:, 0, 1] == 0).all()
    assert drawn.log_probs[:, 0].isnan().all()
    assert not drawn.log_probs[:, 1].isnan().any()


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3)])
def test_nothing_to_draw(impl, shape):
    drawn = sample_categorical(torch.zeros(shape), 5, SEED, impl=impl)
    assert drawn.symbols.shape == (5, *shape[:2])
    assert drawn.log_probs.tolist() == [[0.0] * shape[0]] * 5


# --- layouts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_categories_second(impl):
    image = logits_of((2, 5, 3, 4))
    drawn = sample_categorical(image, 6, SEED, dim=1, impl=impl)
    last = sample_categorical(image.permute(0, 2, 3, 1).contiguous(), 6, SEED, impl=impl)
    assert drawn.symbols.shape == (6, 2, 3, 4)
    assert torch.equal(drawn.symbols, last.symbols)
    torch.testing.assert_close(drawn.log_probs, last.log_probs)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_strides(impl):
    wide = logits_of((4, 7, 2, 10))
    for view in (wide[::2, 1:, 0, 3:8], wide.transpose(0, 3)[:, :, 1], wide[:, :, :, ::3]):
        drawn = sample_categorical(view, 3, SEED, impl=impl)
        whole = sample_categorical(view.contiguous(), 3, SEED, impl=impl)
        assert torch.equal(drawn.symbols, whole.symbols)
        bits = sample_bernoulli(view, 3, SEED, impl=impl)
        assert torch.equal(
            bits.symbols, sample_bernoulli(view.contiguous(), 3, SEED, impl=impl).symbols
        )
