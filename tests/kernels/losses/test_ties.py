"""Slopes exactly where a curve bends: ours, whatever torch says of `clamp` or `relu`."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels import discriminator_loss, generator_loss
from kernels.losses.curves import EXPONENT_BOUND, bounded_exp, rectified

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
POWER = math.exp(EXPONENT_BOUND)
# The bound is met exactly, from below and from beyond; both ways of computing it are taken.
BELOW, AT, BEYOND = 19.0, 20.0, 21.0


def derivatives(function: Any, x: Tensor, order: int) -> list[Tensor]:
    """The first derivatives of an elementwise function, up to an order."""
    x = x.detach().requires_grad_()
    value, found = function(x), []
    for _ in range(order):
        (value,) = torch.autograd.grad(value.sum(), x, create_graph=True, materialize_grads=True)
        found.append(value.detach())
    return found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("others", [[], [BEYOND]])
def test_the_exponential_at_its_bound(dtype: torch.dtype, others: list[float]) -> None:
    x = torch.tensor([AT, BELOW, *others], dtype=dtype)
    first, second = derivatives(bounded_exp, x, 2)
    tolerance = 4 * torch.finfo(dtype).eps
    # e^x up to the bound, the bound included; beyond it a straight line.
    for found, beyond in ((first, POWER), (second, 0.0)):
        expected = torch.tensor([POWER, math.exp(BELOW), beyond][: len(x)], dtype=torch.float64)
        torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_relu_at_zero(dtype: torch.dtype) -> None:
    x = torch.tensor([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan], dtype=dtype)
    first, second = derivatives(rectified, x, 2)
    assert first[:6].tolist() == [0, 0, 1, 0, 1, 0]
    assert second[:6].tolist() == [0] * 6
    assert rectified(x)[:6].tolist() == [0, 0, 1, 0, math.inf, 0]
    assert rectified(x)[6].isnan()


@pytest.mark.parametrize("transform", ["func", "jvp", "compile", "eager"])
@pytest.mark.parametrize(
    ("function", "at", "slope"), [(bounded_exp, AT, POWER), (rectified, 0.0, 0.0)]
)
def test_however_it_is_differentiated(
    function: Any, at: float, slope: float, transform: str
) -> None:
    x = torch.tensor([at], dtype=torch.float64)
    if transform == "func":
        found = torch.func.vmap(torch.func.grad(function))(x)
    elif transform == "jvp":
        _, found = torch.func.jvp(function, (x,), (torch.ones_like(x),))
    else:
        if transform == "compile":
            torch.compiler.reset()
            function = torch.compile(function, backend="aot_eager", fullgraph=True)
        (found,) = derivatives(function, x, 1)
    assert found.item() == pytest.approx(slope, rel=1e-14)


# Logit at which the bound is met, and the discriminator's loss in which fake logits meet it.
EXPONENTIALS: list[tuple[str, str, float, float]] = [
    ("kl", "log_ratio", 20.0, 1.0),
    ("kl", "f_gan", 21.0, 1.0),
    ("pearson", "log_ratio", 10.0, 2.0),
    ("squared_hellinger", "f_gan", 20.0, 1.0),
    ("squared_hellinger", "log_ratio", 40.0, 0.5),
]


@pytest.mark.parametrize(("loss", "output", "logit", "rate"), EXPONENTIALS)
@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("beside", [0.0, 60.0])
def test_losses_at_the_bound(
    loss: Any, output: Any, logit: float, rate: float, impl: Any, dtype: torch.dtype,
    beside: float, device: torch.device,
) -> None:  # fmt: skip
    """d/dF of e^{rate·F} where rate·F is the bound, first and second, of either player."""
    if dtype == torch.float64 and impl == "triton":
        pytest.skip("the kernels compute in float32")
    fake = torch.tensor([logit, beside], dtype=dtype, device=device, requires_grad=True)
    real = torch.zeros(1, dtype=dtype, device=device)
    terms = discriminator_loss(
        real, fake, loss, output=output, reduction="none", impl=impl
    )[1]  # fmt: skip
    saturating = generator_loss(
        fake, "saturating", divergence=loss, output=output, reduction="none", impl=impl
    )
    slope, curvature = rate * POWER, rate**2 * POWER
    tolerance = {torch.bfloat16: 8e-3, torch.float32: 3e-6, torch.float64: 1e-13}
    for value, sign in ((terms, 1), (saturating, -1)):
        (once,) = torch.autograd.grad(value[0], fake, retain_graph=True)
        (first,) = torch.autograd.grad(value[0], fake, create_graph=True)
        (second,) = torch.autograd.grad(first[0], fake, retain_graph=True)
        if dtype == torch.float16:  # whose range ends before
            assert once[0].item() == first[0].item() == sign * math.inf
            continue
        assert once[0].item() == pytest.approx(sign * slope, rel=tolerance[dtype])
        assert first[0].item() == pytest.approx(sign * slope, rel=tolerance[dtype])
        assert second[0].item() == pytest.approx(sign * curvature, rel=tolerance[dtype])


@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_hinge_at_its_bends(impl: Any, dtype: torch.dtype, device: torch.device) -> None:
    real = torch.tensor([1.0, 0.5], dtype=dtype, device=device, requires_grad=True)
    fake = torch.tensor([-1.0, -0.5], dtype=dtype, device=device, requires_grad=True)
    loss = discriminator_loss(real, fake, "hinge", reduction="sum", impl=impl)
    gradients = torch.autograd.grad(loss, (real, fake), create_graph=True)
    assert [each.tolist() for each in gradients] == [[0, -1], [0, 1]]


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_losses_that_bend_nowhere_are_smooth_at_zero(impl: Any, device: torch.device) -> None:
    """Formulas by |x| or by the sign of x still have one slope at 0."""
    expected = {"gan": (-0.5, 0.5), "total_variation": (-0.5, 0.5), "relativistic": (-0.5, 0.5)}
    for loss, slopes in expected.items():
        real, fake = (torch.zeros(1, device=device, requires_grad=True) for _ in range(2))
        value = discriminator_loss(real, fake, loss, impl=impl)  # type: ignore[call-overload]
        found = torch.autograd.grad(value, (real, fake))
        assert tuple(each.item() for each in found) == pytest.approx(slopes)
