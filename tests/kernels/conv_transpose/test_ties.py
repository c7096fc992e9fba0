"""Slopes of activations exactly at 0, where every implementation has to say the same as torch."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from kernels import conv2d, conv_transpose2d

SLOPES = {"relu": 0.0, "leaky_relu": 0.2, "tanh": 1.0, "sigmoid": 0.25, None: 1.0}


@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("function", [conv2d, conv_transpose2d])
def test_the_slope_at_zero(function: Any, impl: str, activation: str | None) -> None:
    if impl == "triton":
        pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.ones(1, 8, 4, 4, device=device)
    weight = torch.zeros(8, 8, 4, 4, device=device, requires_grad=True)
    bias = torch.zeros(8, device=device, requires_grad=True)
    y = function(x, weight, bias, activation=activation, impl=impl)
    (found,) = torch.autograd.grad(y.sum(), bias)
    places = y.numel() / 8
    torch.testing.assert_close(found, torch.full_like(found, SLOPES[activation] * places))


def test_these_are_torchs_own() -> None:
    functions = {"relu": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    functions["leaky_relu"] = lambda x: F.leaky_relu(x, 0.2)
    for name, function in functions.items():
        for zero in (0.0, -0.0):
            x = torch.tensor(zero, requires_grad=True)
            (slope,) = torch.autograd.grad(function(x), x)
            assert slope.item() == pytest.approx(SLOPES[name])
