import math

import pytest
import torch
import torch.nn.functional as F

from kernels.losses.curves import CURVES, EXPONENT_BOUND, Curve, bounded_exp, softplus

NAMES = [curve.text for curve in CURVES]


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
def test_derivatives_of_any_order(curve: Curve) -> None:
    x = torch.tensor([-5.0, -1.3, 0.2, 4.0, 21.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(curve.value, x, atol=1e-3, rtol=1e-4)
    assert torch.autograd.gradgradcheck(curve.value, x, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_infinite_arguments_give_the_limits(curve: Curve, dtype: torch.dtype) -> None:
    limits = {
        "{}": (-math.inf, math.inf),
        "sp({})": (0, math.inf),
        "log σ({})": (-math.inf, 0),
        "exp({})": (0, math.inf),
        "tanh({})": (-1, 1),
        "({})²": (math.inf, math.inf),
        "{0}²/4 + {0}": (math.inf, math.inf),
        "relu({})": (0, math.inf),
    }
    x = torch.tensor([-math.inf, math.inf, math.nan], dtype=dtype)
    value = curve.value(x)
    assert tuple(value[:2].tolist()) == limits[curve.text]
    assert value[2].isnan()


def test_the_exponential_is_exact_below_its_bound_and_straight_beyond() -> None:
    below = torch.tensor([-1e4, -3.0, 0.0, EXPONENT_BOUND], dtype=torch.float64)
    assert torch.equal(bounded_exp(below), below.exp())
    beyond = torch.tensor([21.0, 30.0, 1e4], dtype=torch.float64, requires_grad=True)
    both = torch.cat([below[:3], beyond])  # one beyond the bound changes nothing for the others
    assert torch.equal(bounded_exp(both)[:3], below[:3].exp())
    value = bounded_exp(beyond)
    power = math.exp(EXPONENT_BOUND)
    expected = power * (1 + beyond.detach() - EXPONENT_BOUND)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-14, atol=0)
    (slope,) = torch.autograd.grad(value.sum(), beyond)
    torch.testing.assert_close(slope, torch.full((3,), power, dtype=torch.float64))


def test_the_exponential_has_one_slope_at_its_bound() -> None:
    for value in (EXPONENT_BOUND, EXPONENT_BOUND - 1e-9, EXPONENT_BOUND + 1e-9):
        # Two at once, so that both ways of computing it are taken.
        x = torch.tensor([value, 25.0], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(bounded_exp(x).sum(), x)
        assert slope[0].item() == pytest.approx(math.exp(EXPONENT_BOUND), rel=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_exponential_and_its_gradient_stay_finite(dtype: torch.dtype) -> None:
    x = torch.tensor([1e4, 88.0, 710.0], dtype=dtype, requires_grad=True)
    value = bounded_exp(x)
    value.sum().backward()
    assert value.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad > 0).all()


def test_the_exponential_looks_at_nothing_when_it_is_transformed() -> None:
    x = torch.linspace(-3, 25, 12).reshape(3, 4)
    torch.testing.assert_close(torch.func.vmap(bounded_exp)(x), bounded_exp(x))
    slopes = torch.func.vmap(torch.func.grad(bounded_exp))(x.reshape(-1))
    assert slopes.max().item() == pytest.approx(math.exp(EXPONENT_BOUND))
    assert bounded_exp(torch.empty(0)).shape == (0,)


def test_softplus_is_exact_where_torchs_default_is_not() -> None:
    x = torch.tensor([-700.0, -50.0, -1.0, 0.0, 1.0, 20.5, 39.5, 41.0, 1e4], dtype=torch.float64)
    exact = [math.log1p(math.exp(-abs(v))) + max(v, 0) for v in x.tolist()]
    torch.testing.assert_close(softplus(x).tolist(), exact, rtol=4e-16, atol=0)
    assert F.softplus(x)[5].item() != exact[5]


def test_codes_are_their_places() -> None:
    assert [curve.code for curve in CURVES] == list(range(len(CURVES)))
