import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan.schedules import depends_on_total, learning_rate_factor

TOTAL = 20


def torchs(name: str, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    if name == "linear":
        return torch.optim.lr_scheduler.LinearLR(
            optimiser, start_factor=1.0, end_factor=0.0, total_iters=TOTAL
        )
    if name == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=TOTAL)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_learning_rates_are_those_of_torchs_scheduler(name: str):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = torchs(name, optimiser)
    for step in range(TOTAL):
        expected = scheduler.get_last_lr()[0]
        assert 0.3 * learning_rate_factor(name, step, TOTAL) == pytest.approx(expected, abs=1e-12)
        optimiser.step()
        scheduler.step()


def test_by_hand():
    assert learning_rate_factor("linear", 1, 4) == 0.75
    assert learning_rate_factor("cosine", 1, 3) == pytest.approx((1 + math.cos(math.pi / 3)) / 2)
    assert learning_rate_factor("constant", 10**9, 3) == 1


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(1, 50), st.integers(0, 99))
def test_from_one_down_to_zero_and_never_up_again(name: str, total: int, step: int):
    now, then = (learning_rate_factor(name, each, total) for each in (step, step + 1))
    assert 0 <= then <= now <= 1
    assert learning_rate_factor(name, 0, total) == 1
    if name != "constant":
        assert learning_rate_factor(name, total, total) == 0


def test_which_runs_can_be_extended():
    for name in ("constant", "linear", "cosine"):
        moved = learning_rate_factor(name, 3, 10) != learning_rate_factor(name, 3, 20)
        assert depends_on_total(name) == moved


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="no schedule 'step'; known: constant, linear, cosine"):
        learning_rate_factor("step", 0, 1)
    with pytest.raises(ValueError, match="no schedule 'step'"):
        depends_on_total("step")
    with pytest.raises(ValueError, match="step 0 of 0"):
        learning_rate_factor("linear", 0, 0)
    with pytest.raises(ValueError, match="step -1 of 3"):
        learning_rate_factor("linear", -1, 3)
