"""Smoothed labels: the cross-entropy with labels other than 1 and 0, in PyTorch and in Triton."""

import math
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import DiscriminatorLoss, discriminator_loss
from kernels.losses.names import Reduction
from tests.kernels.losses.cases import strided_logits

# One-sided, both sides, on the fake side alone.
LABELS = [(0.9, 0.0), (0.9, 0.1), (1.0, 0.2), (0.75, 0.5)]
Labelled = Literal["gan", "jensen_shannon", "relativistic"]
OFFSET = {"gan": 0.0, "jensen_shannon": 2 * math.log(2)}
CASES = [
    *((loss, labels) for loss in ("gan", "jensen_shannon") for labels in LABELS),
    ("relativistic", (0.9, 0.0)),
]


def labelled(logits: Tensor, label: float, **options: Any) -> Tensor:
    """Torch's cross-entropy of logits that all have one label."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label), **options)


def expected_loss(
    real: Tensor, fake: Tensor, loss: Labelled, labels: tuple[float, float]
) -> Tensor:
    if loss == "relativistic":
        return labelled(real - fake, labels[0])
    return labelled(real, labels[0]) + labelled(fake, labels[1]) - OFFSET[loss]


def pair(dtype: torch.dtype = torch.float64, device: str | torch.device = "cpu") -> list[Tensor]:
    real = torch.linspace(-9, 12, 15, dtype=dtype, device=device)
    fake = torch.linspace(14, -7, 15, dtype=dtype, device=device)
    return [real.requires_grad_(), fake.requires_grad_()]


@pytest.mark.parametrize(("loss", "labels"), CASES)
def test_values_and_derivatives_are_those_of_binary_cross_entropy(
    loss: Labelled, labels: tuple[float, float]
) -> None:
    results = []
    for ours in (True, False):
        real, fake = pair()
        if ours:
            value = discriminator_loss(real, fake, loss, real_label=labels[0], fake_label=labels[1])
        else:
            value = expected_loss(real, fake, loss, labels)
        first = torch.autograd.grad(value, (real, fake), create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), (real, fake))  # type: ignore[arg-type]
        results.append((value.detach(), *(g.detach() for g in first), *second))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    strided_logits([torch.float64]),
    strided_logits([torch.float64]),
    st.floats(0.51, 1.0),
    st.floats(0.0, 0.5),
)
def test_any_labels_in_order(
    real: Tensor, fake: Tensor, real_label: float, fake_label: float
) -> None:
    value = discriminator_loss(real, fake, real_label=real_label, fake_label=fake_label)
    expected = labelled(real, real_label) + labelled(fake, fake_label)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("loss", "labels"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [15, None])
def test_triton_against_float64(
    loss: Labelled,
    labels: tuple[float, float],
    dtype: torch.dtype,
    count: int | None,
    device: torch.device,
    request: pytest.FixtureRequest,
) -> None:
    """One program and many, with and without gradients of gradients."""
    count = count or request.getfixturevalue("many")
    generator = torch.Generator().manual_seed(3)
    real, fake = (torch.randn(count, generator=generator).mul(4).to(dtype) for _ in range(2))
    results = []
    for fused in (True, False):
        r, f = (each.detach().to(device) for each in (real, fake))
        r, f = (each if fused else each.double() for each in (r, f))
        r, f = r.requires_grad_(), f.requires_grad_()
        if fused:
            value, statistics = discriminator_loss(
                r, f, loss, real_label=labels[0], fake_label=labels[1], impl="triton",
                return_statistics=True,
            )  # fmt: skip
            _, others = discriminator_loss(
                r.detach().double(), f.detach().double(), loss, real_label=labels[0],
                fake_label=labels[1], return_statistics=True,
            )  # fmt: skip
            for ours, theirs in zip(statistics, others, strict=True):
                assert (ours is None) == (theirs is None)
                if ours is not None and theirs is not None:
                    torch.testing.assert_close(ours.double(), theirs, rtol=5e-6, atol=1e-6)
        else:
            value = expected_loss(r, f, loss, labels)
        plain = torch.autograd.grad(3 * value, (r, f), retain_graph=True)
        first = torch.autograd.grad(value, (r, f), create_graph=True)
        second = torch.autograd.grad(sum((g.float() ** 2).sum() for g in first), (r, f))  # type: ignore[arg-type]
        results.append([value.detach().double(), *(g.double() for g in (*plain, *second))])
    tolerance = {torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(results[0][0], results[1][0], rtol=5e-6, atol=1e-6)
    torch.testing.assert_close(results[0][1:], results[1][1:], rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_reductions_and_weights(reduction: Reduction, weighted: bool, device: torch.device) -> None:
    weights = torch.rand(15, generator=torch.Generator().manual_seed(1)) if weighted else None
    results = []
    for impl in ("triton", "torch", "reference"):
        real, fake = pair(torch.float32, device)
        given_weights = None if weights is None else weights.to(device)
        if impl == "reference":
            terms = [
                labelled(real, 0.8, reduction="none", weight=given_weights),
                labelled(fake, 0.1, reduction="none", weight=given_weights),
            ]
            terms = terms if reduction == "none" else [sum(getattr(t, reduction)() for t in terms)]  # type: ignore[list-item]
        else:
            value: Any = discriminator_loss(
                real, fake, real_label=0.8, fake_label=0.1, reduction=reduction, impl=impl,  # type: ignore[arg-type]
                real_weights=given_weights, fake_weights=given_weights,
            )  # fmt: skip
            terms = list(value) if reduction == "none" else [value]
        incoming = [torch.linspace(-1, 2, t.numel(), device=device).reshape(t.shape) for t in terms]
        gradients = torch.autograd.grad(terms, (real, fake), incoming)
        results.append([*(t.detach() for t in terms), *gradients])
    torch.testing.assert_close(results[0], results[2], rtol=5e-6, atol=1e-6)
    torch.testing.assert_close(results[1], results[2], rtol=5e-6, atol=1e-6)


def test_infinite_logits_on_the_right_side() -> None:
    inf = math.inf
    # The label says that nobody is as certain as that.
    value = discriminator_loss(torch.tensor([inf]), torch.tensor([-1.0]), real_label=0.9)
    assert value.item() == inf
    for value in (1e4, -1e4):
        real = torch.tensor([value], requires_grad=True)
        loss = discriminator_loss(real, torch.tensor([-1e4]), real_label=0.9)
        assert loss.item() == pytest.approx(1e3 if value > 0 else 9e3)
        loss.backward()
        assert real.grad is not None
        assert real.grad.item() == pytest.approx(0.1 if value > 0 else -0.9)


def test_the_optimum_is_that_of_salimans() -> None:
    """D* = (α·p + β·q)/(p + q), Salimans et al. 2016, section 3.4, by gradient = 0."""
    p, q, real_label, fake_label = 0.7, 0.2, 0.9, 0.1
    best = (real_label * p + fake_label * q) / (p + q)
    logit = torch.tensor([math.log(best / (1 - best))], dtype=torch.float64, requires_grad=True)
    real_terms, fake_terms = discriminator_loss(
        logit, logit, real_label=real_label, fake_label=fake_label, reduction="none"
    )
    (p * real_terms + q * fake_terms).sum().backward()
    assert logit.grad is not None
    assert logit.grad.item() == pytest.approx(0, abs=1e-15)


def test_statistics_heed_the_labels() -> None:
    level = math.log(0.45 / 0.55)  # where D = (0.9 + 0)/2
    logits = torch.tensor([level - 0.01, level + 0.01, 0.5])
    _, statistics = discriminator_loss(logits, logits, real_label=0.9, return_statistics=True)
    assert statistics.real_accuracy.item() == pytest.approx(2 / 3)
    assert statistics.fake_accuracy.item() == pytest.approx(1 / 3)
    # F is no longer an estimate of log p/q, and nothing that is made of it is either.
    assert statistics[-3:] == (None, None, None)
    _, plain = discriminator_loss(logits, logits, return_statistics=True)
    assert plain.real_accuracy.item() == pytest.approx(1 / 3)
    assert plain.mean_weight is not None
    # Two labels that are as far from one half leave D = ½ where it was.
    _, both = discriminator_loss(
        logits, logits, real_label=0.9, fake_label=0.1, return_statistics=True
    )
    assert both.real_accuracy.item() == pytest.approx(1 / 3)
    # Of a pair the label says nothing about either logit.
    _, pairs = discriminator_loss(
        logits, logits.flip(0), "relativistic", real_label=0.9, return_statistics=True
    )
    assert pairs.real_accuracy.item() == pytest.approx(1 / 3)


def test_the_labels_by_default_change_no_bit() -> None:
    real, fake = pair(torch.float32)
    plain = discriminator_loss(real, fake)
    assert torch.equal(discriminator_loss(real, fake, real_label=1.0, fake_label=0.0), plain)


def test_modules_have_labels() -> None:
    real, fake = pair()
    module = DiscriminatorLoss(real_label=0.9, fake_label=0.05)
    expected = discriminator_loss(real, fake, real_label=0.9, fake_label=0.05)
    assert torch.equal(module(real, fake), expected)
    assert repr(module) == (
        "DiscriminatorLoss('gan', output='f_gan', real_label=0.9, fake_label=0.05, "
        "reduction='mean')"
    )


@pytest.mark.parametrize(
    "loss",
    ["kl", "reverse_kl", "pearson", "squared_hellinger", "total_variation", "least_squares",
     "hinge", "wasserstein", "wgan"],
)  # fmt: skip
def test_losses_without_labels_refuse_them(loss: Any) -> None:
    x = torch.zeros(3)
    with pytest.raises(
        ValueError, match=r"real_label=0\.9, fake_label=0\.0: only .*gan, jensen_sh"
    ):
        discriminator_loss(x, x, loss, real_label=0.9)
    with pytest.raises(ValueError, match=r"fake_label=0\.1"):
        DiscriminatorLoss(loss, fake_label=0.1)


def test_labels_out_of_order() -> None:
    x = torch.zeros(3)
    for real_label, fake_label in ((0.1, 0.9), (0.5, 0.5), (1.1, 0.0), (0.9, -0.1), (math.nan, 0)):
        with pytest.raises(ValueError, match="expected 0 ≤ fake_label < real_label ≤ 1"):
            discriminator_loss(x, x, real_label=real_label, fake_label=fake_label)
    with pytest.raises(ValueError, match="relativistic' has one term for each pair, and one label"):
        discriminator_loss(x, x, "relativistic", real_label=0.9, fake_label=0.1)
    with pytest.raises(ValueError, match="its targets are a and b"):
        discriminator_loss(x, x, "least_squares", real_label=0.9)
