import copy
import math

import pytest
import torch

from gan.config import DiscreteConfig
from gan.game.baselines import Learned, LeaveOneOut, MovingAverage, Nothing, make_baseline

CPU = torch.device("cpu")


def make(**values: object):
    return make_baseline(DiscreteConfig(estimator="reinforce", **values), 3, 0, CPU)


def test_they_are_made_by_name():
    assert isinstance(make(), MovingAverage)
    assert isinstance(make(baseline="learned"), Learned)
    assert isinstance(make(baseline="leave_one_out"), LeaveOneOut)
    assert type(make(baseline="none")) is Nothing


def test_nothing_stays_nothing():
    baseline = make(baseline="none")
    baseline.update(torch.zeros(2, 3), torch.full((5, 2), 7.0))
    assert baseline(torch.zeros(2, 3), torch.full((5, 2), 7.0)).item() == 0
    baseline.load_state_dict(baseline.state_dict())


def test_the_others_are_compared_with_and_the_constant_goes_with_them():
    baseline = make(baseline="leave_one_out")
    log_weights = torch.tensor([[1.0, 0.0], [2.0, 3.0], [6.0, 0.0]])
    found = baseline(torch.zeros(2, 3), log_weights)
    assert found.tolist() == [[3.0, 0.5], [2.5, -1.0], [0.5, 0.5]]
    signal = log_weights - found - 1
    assert signal.sum(0).tolist() == [0.0, 0.0]


def test_the_moving_average_is_one_of_log_z():
    baseline = make(baseline_rate=0.25)
    latent = torch.zeros(2, 3)
    anything = torch.zeros(5, 2)
    before = baseline(latent, anything)
    baseline.update(latent, torch.tensor([[0.0, math.log(3.0)], [math.log(2.0), math.log(6.0)]]))
    assert before.item() == 0  # what was asked for does not change afterwards
    assert baseline(latent, anything).item() == pytest.approx(0.25 * math.log(3.0))
    baseline.update(latent, torch.full((5, 2), 1.0))
    assert baseline(latent, anything).item() == pytest.approx(0.75 * 0.25 * math.log(3.0) + 0.25)
    other = make()
    other.load_state_dict(baseline.state_dict())
    assert torch.equal(other(latent, anything), baseline(latent, anything))


def test_the_learned_one_tends_to_the_mean_of_what_it_is_taken_from():
    baseline = make(baseline="learned")
    rng = torch.Generator().manual_seed(0)
    assert baseline(torch.randn(4, 3, generator=rng), torch.zeros(5, 4)).tolist() == [0.0] * 4

    def mean(latent: torch.Tensor) -> torch.Tensor:
        return 2 * latent[:, 0] - latent[:, 1].abs()

    for _ in range(1500):
        latent = torch.randn(64, 3, generator=rng)
        noise = torch.randn(5, 64, generator=rng)
        baseline.update(latent, mean(latent) + noise)
    latent = torch.randn(1000, 3, generator=rng)
    found = baseline(latent, torch.zeros(5, 1000))
    assert not found.requires_grad
    assert (found - (mean(latent) - 1)).square().mean().sqrt() < 0.15


def test_the_learned_one_goes_on_where_it_was_and_leaves_other_dice_alone():
    before = torch.random.get_rng_state()
    one, two = make(baseline="learned"), make(baseline="learned")
    assert torch.equal(before, torch.random.get_rng_state())
    latent, log_weights = torch.randn(8, 3), torch.randn(5, 8)
    for _ in range(3):
        one.update(latent, log_weights)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    one.update(latent, log_weights)
    two.update(latent, log_weights)
    assert torch.equal(one(latent, log_weights), two(latent, log_weights))
    assert one(latent, log_weights).abs().max() > 0
