import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import kernels
from kernels import discriminator_loss, generator_loss
from tests.kernels.losses.cases import strided_logits

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
GENERATOR_LOSSES = ["saturating", "non_saturating"]

# The 2014 paper's formulas by probabilities, in float64 where they are safe: |F| ≤ 30.
NAIVE_GENERATOR: dict[str, Callable[[Tensor], Tensor]] = {
    "saturating": lambda f: torch.log(torch.sigmoid(-f)).mean(),
    "non_saturating": lambda f: -torch.log(torch.sigmoid(f)).mean(),
}


def naive_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return -torch.log(torch.sigmoid(real)).mean() - torch.log(torch.sigmoid(-fake)).mean()


def leaf(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


# --- closed forms ---


def test_undecided_discriminator() -> None:
    real, fake = leaf(0, 0, 0), leaf(0, 0)
    loss = discriminator_loss(real, fake)
    assert loss.item() == pytest.approx(2 * math.log(2), rel=1e-7)
    loss.backward()
    torch.testing.assert_close(real.grad, torch.full((3,), -1 / 6))
    torch.testing.assert_close(fake.grad, torch.full((2,), 1 / 4))


def test_three_to_one() -> None:
    logit = math.log(3)  # D = 3/4
    real, fake = leaf(logit, dtype=torch.float64), leaf(logit, dtype=torch.float64)
    assert discriminator_loss(real, fake).item() == pytest.approx(math.log(4 / 3) + math.log(4))
    assert generator_loss(fake, "saturating").item() == pytest.approx(math.log(1 / 4))
    assert generator_loss(fake, "non_saturating").item() == pytest.approx(math.log(4 / 3))
    for loss, slope in (("saturating", -3 / 4), ("non_saturating", -1 / 4)):
        (grad,) = torch.autograd.grad(generator_loss(fake, loss), fake)
        assert grad.item() == pytest.approx(slope)


def test_non_saturating_is_the_default() -> None:
    fake = leaf(-1, 2)
    assert torch.equal(generator_loss(fake), generator_loss(fake, "non_saturating"))


def test_both_losses_push_the_generator_the_same_way() -> None:
    fake = leaf(-3, 0, 3)
    for loss in GENERATOR_LOSSES:
        (grad,) = torch.autograd.grad(generator_loss(fake, loss), fake)
        assert (grad < 0).all()


# --- against float64 references ---


TOLERANCE = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 2e-6, torch.float64: 1e-12}


@settings(max_examples=60, deadline=None)
@given(strided_logits(DTYPES), strided_logits(DTYPES))
def test_discriminator_against_float64(real: Tensor, fake: Tensor) -> None:
    real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
    real64 = real.detach().double().requires_grad_()
    fake64 = fake.detach().double().requires_grad_()
    loss = discriminator_loss(real, fake)
    expected = naive_discriminator(real64, fake64)
    wide = torch.float64 if torch.float64 in (real.dtype, fake.dtype) else torch.float32
    assert loss.dtype == wide
    assert loss.shape == ()
    torch.testing.assert_close(loss.double(), expected, rtol=2e-6, atol=1e-7)
    (3 * loss).backward()
    (3 * expected).backward()
    for ours, reference in ((real, real64), (fake, fake64)):
        assert ours.grad is not None
        assert reference.grad is not None
        assert ours.grad.dtype == ours.dtype
        torch.testing.assert_close(
            ours.grad.double(), reference.grad, rtol=TOLERANCE[ours.dtype], atol=1e-7
        )


@settings(max_examples=60, deadline=None)
@given(strided_logits(DTYPES), st.sampled_from(GENERATOR_LOSSES))
def test_generator_against_float64(fake: Tensor, loss: str) -> None:
    fake = fake.detach().requires_grad_()
    fake64 = fake.detach().double().requires_grad_()
    value, expected = generator_loss(fake, loss), NAIVE_GENERATOR[loss](fake64)
    assert value.dtype == (torch.float64 if fake.dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(value.double(), expected, rtol=2e-6, atol=1e-7)
    value.backward()
    expected.backward()
    assert fake.grad is not None
    assert fake64.grad is not None
    torch.testing.assert_close(
        fake.grad.double(), fake64.grad, rtol=TOLERANCE[fake.dtype], atol=1e-7
    )


@pytest.mark.parametrize("loss", GENERATOR_LOSSES)
def test_gradients_of_first_and_second_order(loss: str) -> None:
    real = torch.linspace(-3, 4, 6, dtype=torch.float64, requires_grad=True)
    fake = torch.linspace(-4, 2, 5, dtype=torch.float64, requires_grad=True)
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(discriminator_loss, (real, fake))
        assert check(lambda f: generator_loss(f, loss), fake)


@pytest.mark.parametrize("frozen", ["real", "fake"])
def test_one_side_alone_gets_its_gradient(frozen: str) -> None:
    real, fake = leaf(1, -2), leaf(3)
    (real if frozen == "real" else fake).requires_grad_(False)
    discriminator_loss(real, fake).backward()
    assert (real.grad is None) == (frozen == "real")
    assert (fake.grad is None) == (frozen == "fake")


# --- extremes ---


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_logits_are_finite_and_exact(dtype: torch.dtype) -> None:
    big = 1e4 if dtype != torch.bfloat16 else 9984.0  # as bf16 rounds it
    for sign in (1, -1):
        real, fake = leaf(sign * big, dtype=dtype), leaf(sign * big, dtype=dtype)
        loss = discriminator_loss(real, fake)
        assert loss.item() == big  # one side is certain and right, the other certain and wrong
        loss.backward()
        assert real.grad is not None
        assert fake.grad is not None
        assert (real.grad.item(), fake.grad.item()) == ((0, 1) if sign == 1 else (-1, 0))
        assert generator_loss(fake, "saturating").item() == (-big if sign == 1 else 0)
        assert generator_loss(fake, "non_saturating").item() == (0 if sign == 1 else big)


def test_infinite_logits() -> None:
    inf = math.inf
    assert discriminator_loss(leaf(inf), leaf(-inf)).item() == 0
    assert discriminator_loss(leaf(-inf), leaf(0.0)).item() == inf
    assert discriminator_loss(leaf(0.0), leaf(inf)).item() == inf
    assert generator_loss(leaf(-inf), "non_saturating").item() == inf
    assert generator_loss(leaf(inf), "saturating").item() == -inf
    certain = leaf(inf)
    generator_loss(certain).backward()
    assert certain.grad is not None
    assert certain.grad.item() == 0


def test_nan_is_handed_on() -> None:
    nan = math.nan
    assert math.isnan(discriminator_loss(leaf(nan, 1), leaf(0)).item())
    assert math.isnan(discriminator_loss(leaf(0), leaf(1, nan)).item())
    for loss in GENERATOR_LOSSES:
        fake = leaf(nan, 1)
        generator_loss(fake, loss).backward()
        assert fake.grad is not None
        assert math.isnan(fake.grad[0].item())
        assert math.isfinite(fake.grad[1].item())


def test_empty_batches_give_nan() -> None:
    empty = torch.empty(0, requires_grad=True)
    assert math.isnan(discriminator_loss(empty, leaf(1)).item())
    assert math.isnan(discriminator_loss(leaf(1), empty).item())
    assert math.isnan(generator_loss(empty).item())
    generator_loss(empty).backward()
    assert empty.grad is not None
    assert empty.grad.shape == (0,)
    _, statistics = discriminator_loss(empty, leaf(1), return_statistics=True)
    assert math.isnan(statistics.real_logit.item())
    assert math.isnan(statistics.real_accuracy.item())
    assert statistics.fake_logit.item() == 1


def test_inputs_are_left_alone() -> None:
    real, fake = torch.randn(5), torch.randn(5)
    before = real.clone(), fake.clone()
    discriminator_loss(real, fake, return_statistics=True)
    generator_loss(fake)
    assert torch.equal(real, before[0])
    assert torch.equal(fake, before[1])


# --- statistics ---


def test_statistics() -> None:
    real, fake = leaf(2, -1, 3, 0.5), leaf(-4, 1)
    loss, statistics = discriminator_loss(real, fake, return_statistics=True)
    assert torch.equal(loss, discriminator_loss(real, fake))
    assert loss.requires_grad
    assert statistics.real_logit.item() == pytest.approx(4.5 / 4)
    assert statistics.fake_logit.item() == pytest.approx(-1.5)
    assert statistics.real_accuracy.item() == 3 / 4
    assert statistics.fake_accuracy.item() == 1 / 2
    for value in statistics:
        assert value is not None
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert not value.requires_grad


def test_a_sample_at_the_threshold_is_not_taken_for_real() -> None:
    _, statistics = discriminator_loss(leaf(0), leaf(0), return_statistics=True)
    assert (statistics.real_accuracy.item(), statistics.fake_accuracy.item()) == (0, 1)


def test_nan_counts_as_wrong_on_both_sides() -> None:
    nan = math.nan
    _, statistics = discriminator_loss(leaf(nan, 1), leaf(nan, -1), return_statistics=True)
    assert (statistics.real_accuracy.item(), statistics.fake_accuracy.item()) == (0.5, 0.5)


def test_means_of_narrow_logits_are_taken_wide() -> None:
    real = torch.full((4096,), 1.001, dtype=torch.float32).to(torch.bfloat16)
    _, statistics = discriminator_loss(real, real, return_statistics=True)
    assert statistics.real_logit.item() == pytest.approx(real.double().mean().item(), rel=1e-6)


# --- surroundings ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_narrow_the_loss(dtype: torch.dtype) -> None:
    real, fake = torch.randn(33), torch.randn(17)
    with torch.autocast("cpu", dtype):
        loss = discriminator_loss(real, fake)
        gain = generator_loss(fake)
    assert loss.dtype == gain.dtype == torch.float32
    assert torch.equal(loss, discriminator_loss(real, fake))
    assert torch.equal(gain, generator_loss(fake))


def test_results_repeat_bit_for_bit() -> None:
    real, fake = torch.randn(100_003), torch.randn(4099)
    assert torch.equal(discriminator_loss(real, fake), discriminator_loss(real, fake))


def test_compiles_as_one_graph() -> None:
    torch.compiler.reset()

    def both(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss, statistics = discriminator_loss(real, fake, return_statistics=True)
        return loss + discriminator_loss(real, fake), generator_loss(fake), statistics.real_logit

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    real, fake = leaf(1, -2, 3), leaf(0.5, 0.1)
    for ours, eager in zip(compiled(real, fake), both(real, fake), strict=True):
        torch.testing.assert_close(ours, eager)
    (grad,) = torch.autograd.grad(compiled(real, fake)[0], real)
    (expected,) = torch.autograd.grad(both(real, fake)[0], real)
    torch.testing.assert_close(grad, expected)


def test_agrees_with_binary_cross_entropy() -> None:
    real, fake = torch.randn(64), torch.randn(64)
    bce = F.binary_cross_entropy_with_logits
    expected = bce(real, torch.ones(64)) + bce(fake, torch.zeros(64))
    torch.testing.assert_close(discriminator_loss(real, fake), expected)


# --- bad input ---


def test_unknown_names() -> None:
    x = torch.zeros(2)
    with pytest.raises(ValueError, match=r"loss='gann' .*Did you mean 'gan'\?"):
        discriminator_loss(x, x, loss="gann")
    with pytest.raises(
        ValueError, match=r"'nowosin' .*Did you mean 'nowozin', another word for 'f_gan'\?"
    ):
        discriminator_loss(x, x, output="nowosin")
    with pytest.raises(ValueError, match="known generator losses: boundary_seeking, hinge"):
        generator_loss(x, "maximin")
    with pytest.raises(ValueError, match="divergence='GAN' is not known"):
        generator_loss(x, divergence="GAN")
    with pytest.raises(ValueError, match="output="):
        generator_loss(x, output="linear")
    with pytest.raises(ValueError, match="unknown implementation 'cuda'"):
        discriminator_loss(x, x, impl="cuda")


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_logits_must_be_floating_point(dtype: torch.dtype) -> None:
    good, bad = torch.zeros(2), torch.zeros(2).to(dtype)
    with pytest.raises(TypeError, match=f"real_logits has dtype {dtype}.*floating point"):
        discriminator_loss(bad, good)
    with pytest.raises(TypeError, match=f"fake_logits has dtype {dtype}"):
        discriminator_loss(good, bad)
    with pytest.raises(TypeError, match=f"fake_logits has dtype {dtype}"):
        generator_loss(bad)


def test_logits_must_be_tensors() -> None:
    with pytest.raises(TypeError, match="real_logits is a list"):
        discriminator_loss([0.0], torch.zeros(1))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="fake_logits is a float"):
        generator_loss(0.5)  # type: ignore[arg-type]


def test_logits_must_be_on_one_device() -> None:
    with pytest.raises(ValueError, match="real_logits on cpu, but fake_logits on meta"):
        discriminator_loss(torch.zeros(2), torch.zeros(2, device="meta"))


def test_triton_does_not_take_float64() -> None:
    x = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(kernels.ImplUnavailableError, match="generator_loss: impl='triton'"):
        generator_loss(x, impl="triton")
