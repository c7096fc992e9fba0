"""Sampling and log-probabilities beside torch.distributions, and on PyTorch's own sample inputs.

What corresponds: `log_softmax` is the log-probabilities of every category, `cross_entropy` of class
indices, `nll_loss` after `log_softmax` and `binary_cross_entropy_with_logits` of bits are minus
those of given symbols, and so are the logistic losses of a discriminator and a generator.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Categorical

from kernels import (
    discriminator_loss,
    generator_loss,
    log_prob,
    sample_bernoulli,
    sample_categorical,
    weighted_log_prob,
)
from tests.kernels.peer import pytorch
from tests.kernels.policy_gradient.reference import IMPLEMENTATIONS

SEED = 97
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def samples_of(name: str, dtype: torch.dtype, seed: int = 0) -> Iterator[Any]:
    """PyTorch's sample inputs for an operator, the first of its variants."""
    torch.manual_seed(seed)
    entries, _ = pytorch._databases()
    entry = next(each for each in entries if each.name == name)
    yield from entry.sample_inputs("cpu", dtype, requires_grad=False)


def value_and_gradient(function: Any, logits: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().clone().requires_grad_()
    value = function(leaf)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def close(ours: Any, torchs: Any, logits: Tensor) -> None:
    """Value and gradient of ours against torch's, of float64 where logits are of fewer bits.

    With such logits and an own sum torch's value would be rounded to their dtype.
    """
    found, gradient = value_and_gradient(ours, logits)
    wanted, exact = value_and_gradient(torchs, logits.double())
    tolerance = 1e-12 if logits.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance)
    assert gradient.dtype == logits.dtype
    tolerance = max(tolerance, 2 * torch.finfo(logits.dtype).eps)
    torch.testing.assert_close(gradient.double(), exact, rtol=tolerance, atol=tolerance)


# --- PyTorch's own samples -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_softmax(dtype: torch.dtype) -> None:
    seen: Counter[str] = Counter()
    for sample in samples_of("log_softmax", dtype):
        dim = sample.args[0]
        logits = sample.input.reshape(1) if sample.input.dim() == 0 else sample.input
        rows = logits.movedim(dim, -1).flatten(0, -2) if logits.dim() > 1 else logits[None]
        categories = rows.shape[-1]
        if categories == 0:
            with pytest.raises(ValueError, match="0 categories"):
                log_prob(rows, torch.zeros(1, rows.shape[0], dtype=torch.int64))
            seen["refused"] += 1
            continue
        every = torch.arange(categories)[:, None].expand(-1, rows.shape[0])
        close(lambda t, every=every: log_prob(t, every), lambda t: t.log_softmax(-1).t(), rows)
        seen["compared"] += 1
    assert seen == {"compared": 6, "refused": 1}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["nn.functional.cross_entropy", "nn.functional.nll_loss"])
def test_cross_entropy(name: str, dtype: torch.dtype) -> None:
    seen: Counter[str] = Counter()
    for sample in samples_of(name, dtype):
        logits, target = sample.input, sample.args[0]
        options = dict(sample.kwargs)
        reduction = options.pop("reduction", "mean")
        if target.is_floating_point():
            seen["targets are probabilities"] += 1
        elif options:
            seen["weights of classes, ignored or smoothed ones"] += 1
        elif logits.dim() < 2 or logits.numel() == 0:
            seen["no batch, or nothing in it"] += 1
        else:
            # Symbols of one sample: its positions are the target's further dimensions.
            def ours(t: Tensor, target: Tensor = target, reduction: str = reduction) -> Tensor:
                if reduction == "none":
                    rows = t.movedim(1, -1).flatten(0, -2)
                    return -log_prob(rows, target.reshape(1, -1)).reshape(target.shape)
                weights = torch.full((1, t.shape[0]), -1.0, dtype=torch.float64)
                total = weighted_log_prob(t, target[None], weights, dim=1)
                return total / target.numel() if reduction == "mean" else total

            def torchs(t: Tensor, target: Tensor = target, reduction: str = reduction) -> Tensor:
                return F.cross_entropy(t, target, reduction=reduction)

            close(ours, torchs, logits)
            seen["compared"] += 1
    assert seen["compared"] >= 6, seen


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf])
def test_binary_cross_entropy_with_logits(dtype: torch.dtype, bad: float | None) -> None:
    compared = 0
    for sample in samples_of("nn.functional.binary_cross_entropy_with_logits", dtype):
        if "weight" in sample.kwargs or "pos_weight" in sample.kwargs or sample.input.dim() == 0:
            continue  # neither has a counterpart
        logits, bits = sample.input.clone(), (sample.args[0] > 0.5)
        if bad is not None:
            logits.view(-1)[0] = bad
        compared += 1
        reduction = sample.kwargs.get("reduction", "mean")

        def ours(t: Tensor, bits: Tensor = bits, reduction: str = reduction) -> Tensor:
            each = -log_prob(t.flatten()[:, None], bits.to(torch.uint8).flatten()[None, :, None])[0]
            return each.reshape(t.shape) if reduction == "none" else getattr(each, reduction)()

        def torchs(t: Tensor, bits: Tensor = bits, reduction: str = reduction) -> Tensor:
            if bad in (math.inf, -math.inf):  # torch's own has 0 · inf there
                signed = torch.where(bits, t, -t)
                each = -F.logsigmoid(signed)
                return each if reduction == "none" else getattr(each, reduction)()
            return F.binary_cross_entropy_with_logits(t, bits.to(t.dtype), reduction=reduction)

        found, gradient = value_and_gradient(ours, logits)
        wanted, exact = value_and_gradient(torchs, logits.double())
        options = {"equal_nan": True, "rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(found.double(), wanted, **options)
        options["rtol"] = options["atol"] = max(1e-5, 2 * torch.finfo(dtype).eps)
        torch.testing.assert_close(gradient.double(), exact, **options)
        assert found.isnan().any() == (bad is not None and math.isnan(bad))
    assert compared >= 7


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf])
def test_logistic_losses_on_the_same_samples(impl: str, bad: float | None) -> None:
    if impl == "triton":
        pytest.importorskip("triton")
    compared = 0
    for sample in samples_of("nn.functional.binary_cross_entropy_with_logits", torch.float32):
        options = {key for key in sample.kwargs if key != "reduction"}
        if options or sample.kwargs.get("reduction") == "none" or sample.input.dim() == 0:
            continue
        reduction = sample.kwargs.get("reduction", "mean")
        logits = sample.input.flatten()
        real, fake = logits.clone(), logits.flip(0) * 0.7
        for place in (None,) if bad is None else ("real", "fake"):
            if place is not None:
                (real if place == "real" else fake)[0] = bad

            def of(t: Tensor, label: float, reduction: str = reduction) -> Tensor:
                if bad in (math.inf, -math.inf):  # torch's own has 0 · inf there
                    each = F.softplus(-t if label == 1.0 else t)
                    return getattr(each, reduction)()
                target = torch.full_like(t, label)
                return F.binary_cross_entropy_with_logits(t, target, reduction=reduction)

            options = {"impl": impl, "reduction": reduction}
            pairs = [
                (
                    lambda t, o=options, fake=fake: discriminator_loss(t, fake, loss="gan", **o),
                    lambda t, of=of, fake=fake: of(t, 1.0) + of(fake.to(t.dtype), 0.0),
                    real,
                ),
                (
                    lambda t, o=options, real=real: discriminator_loss(real, t, loss="gan", **o),
                    lambda t, of=of, real=real: of(real.to(t.dtype), 1.0) + of(t, 0.0),
                    fake,
                ),
                (
                    lambda t, o=options: generator_loss(t, loss="non_saturating", **o),
                    lambda t, of=of: of(t, 1.0),
                    fake,
                ),
                (
                    lambda t, o=options: generator_loss(t, loss="saturating", **o),
                    lambda t, of=of: -of(t, 0.0),
                    fake,
                ),
            ]
            for ours, torchs, given in pairs:
                found, gradient = value_and_gradient(ours, given)
                wanted, exact = value_and_gradient(torchs, given.double())
                torch.testing.assert_close(
                    found.double(), wanted, rtol=1e-5, atol=1e-5, equal_nan=True
                )
                torch.testing.assert_close(
                    gradient.double(), exact, rtol=1e-5, atol=1e-6, equal_nan=True
                )
                compared += 1
    assert compared >= 20


# --- torch.distributions -------------------------------------------------------------------------


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (2, 3, 2, 7)])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_log_prob_and_its_gradient(impl: str, shape: tuple[int, ...], scale: float) -> None:
    torch.manual_seed(1)
    logits = torch.randn(shape) * scale
    symbols = Categorical(logits=logits).sample((6,))  # [M, B, positions…]
    bits = Bernoulli(logits=logits).sample((6,))
    close_to = [
        (
            lambda t: log_prob(t, symbols, impl=impl),
            lambda t: (
                Categorical(logits=t).log_prob(symbols).flatten(2).sum(-1)
                if symbols.dim() > 2
                else Categorical(logits=t).log_prob(symbols)
            ),
        ),
        (
            lambda t: log_prob(t, bits.long(), impl=impl),
            lambda t: Bernoulli(logits=t).log_prob(bits.double()).flatten(2).sum(-1),
        ),
    ]
    for ours, torchs in close_to:
        close(ours, torchs, logits)


@pytest.mark.parametrize("kind", ["categorical", "bernoulli"])
def test_entropy_is_the_mean_of_minus_log_prob(kind: str) -> None:
    torch.manual_seed(2)
    if kind == "categorical":
        logits = torch.randn(5, 9, dtype=torch.float64)
        peer: Categorical | Bernoulli = Categorical(logits=logits)
        every = torch.arange(9)[:, None].expand(-1, 5)  # [V, B]
        entropy = peer.entropy()
        draws = -sample_categorical(logits, 20_000, SEED).log_probs
    else:
        logits = torch.randn(5, 1, dtype=torch.float64)
        peer = Bernoulli(logits=logits)
        every = torch.tensor([0, 1])[:, None, None].expand(-1, 5, 1)
        entropy = peer.entropy()[:, 0]
        draws = -sample_bernoulli(logits, 20_000, SEED).log_probs
    log_g = log_prob(logits, every)
    torch.testing.assert_close(log_g.exp().sum(0), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(-(log_g.exp() * log_g).sum(0), entropy)
    deviation = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - entropy).abs() < 5 * deviation).all()


@pytest.mark.parametrize("categories", [2, 5, 40, 300])
def test_frequencies_of_categories(categories: int) -> None:
    # Two samples of one size, ours and torch's: Σ (a − b)² / (a + b) is χ² with V − 1 degrees.
    torch.manual_seed(3)
    logits = torch.randn(1, categories)
    draws = 200_000
    ours = sample_categorical(logits, draws, SEED).symbols.long().flatten()
    theirs = Categorical(logits=logits[0]).sample((draws,))
    a, b = (each.bincount(minlength=categories).double() for each in (ours, theirs))
    both = a + b
    statistic = ((a - b).square() / both.clamp(min=1)).sum().item()
    freedom = categories - 1
    assert statistic < freedom + 5 * math.sqrt(2 * freedom) + 5
    expected = logits[0].double().softmax(-1) * draws
    assert ((a - expected).abs() < 6 * expected.sqrt() + 6).all()


def test_frequencies_of_bits() -> None:
    torch.manual_seed(4)
    logits = torch.randn(1, 50) * 3
    draws = 100_000
    ours = sample_bernoulli(logits, draws, SEED).symbols.double().mean((0, 1))
    theirs = Bernoulli(logits=logits[0]).sample((draws,)).double().mean(0)
    p = logits[0].double().sigmoid()
    deviation = (p * (1 - p) / draws).sqrt()
    assert ((ours - p).abs() < 5 * deviation).all()
    assert ((ours - theirs).abs() < 5 * math.sqrt(2) * deviation).all()


def test_the_gradient_of_the_score_function_estimator() -> None:
    # Categorical's −log_prob · reward, as its documentation has it.
    torch.manual_seed(5)
    logits = torch.randn(3, 4, 6)
    drawn = sample_categorical(logits, 8, SEED)
    reward = torch.randn(8, 3)
    close(
        lambda t: -weighted_log_prob(t, drawn.symbols, reward),
        lambda t: -(Categorical(logits=t).log_prob(drawn.symbols.long()).sum(-1) * reward).sum(),
        logits,
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_torch_refuses_is_nan_here(bad: float) -> None:
    # torch.distributions looks at every logit, and waits for a GPU to do so.
    logits = torch.zeros(2, 3, 4)
    logits[0, 1] = bad
    if math.isnan(bad):
        for peer in (Categorical, Bernoulli):
            with pytest.raises(ValueError, match="logits"):
                peer(logits=logits, validate_args=True)
    drawn = sample_categorical(logits, 5, SEED)
    unchecked = Categorical(logits=logits, validate_args=False)
    exact = unchecked.log_prob(drawn.symbols.long()).sum(-1)
    torch.testing.assert_close(drawn.log_probs, exact, equal_nan=True)
    assert drawn.log_probs[:, 0].isnan().all()
    assert not drawn.log_probs[:, 1].isnan().any()


def test_symbols_out_of_range_are_refused_by_both() -> None:
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="support"):
        Categorical(logits=logits, validate_args=True).log_prob(torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="between 0 and 3: expected 0 ≤ symbols < 3"):
        log_prob(logits, torch.tensor([[0, 3]]))
    with pytest.raises(ValueError, match="support"):
        Bernoulli(logits=logits, validate_args=True).log_prob(torch.full((2, 3), 2.0))
    with pytest.raises(ValueError, match="between 2 and 2: expected 0 ≤ symbols < 2"):
        log_prob(logits, torch.full((1, 2, 3), 2))
