import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gan.config import PenaltiesConfig, parse
from gan.game.penalties import (
    Seen,
    interpolate,
    one_lipschitz,
    penalty,
    squared_gradient,
    squared_slopes,
)


def penalties(**values: float) -> PenaltiesConfig:
    return parse(PenaltiesConfig, {"r1": 0.0, "every": 1, **values}, "test")


def linear(size: int) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(size, 1).double()


def quadratic(size: int) -> torch.Tensor:
    torch.manual_seed(0)
    matrix = torch.randn(size, size, dtype=torch.float64)
    return matrix + matrix.T


def batch(*shape: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_squared_gradient_of_a_linear_critic_is_its_weight():
    critic = linear(12)
    inputs = batch(5, 3, 2, 2)
    value = squared_gradient(critic(inputs.flatten(1)).squeeze(1), inputs)
    torch.testing.assert_close(value, critic.weight.square().sum())
    value.backward()
    torch.testing.assert_close(critic.weight.grad, 2 * critic.weight)
    assert critic.bias.grad is None or critic.bias.grad.abs().max() == 0


def test_squared_gradient_of_a_quadratic_critic():
    # F(x) = ½ xᵀAx with symmetric A: ∇F = Ax, per sample.
    matrix, inputs = quadratic(4), batch(6, 4)
    logits = 0.5 * ((inputs @ matrix) * inputs).sum(1)
    slopes = (inputs @ matrix).square().sum(1)
    torch.testing.assert_close(squared_slopes(logits, inputs), slopes)
    logits = 0.5 * ((inputs @ matrix) * inputs).sum(1)
    torch.testing.assert_close(squared_gradient(logits, inputs), slopes.mean())


def test_the_gradient_penalty_of_a_linear_critic():
    # λ(‖w‖ − 1)², whatever the samples; its gradient is 2λ(‖w‖ − 1)·w/‖w‖.
    critic, inputs = linear(7), batch(5, 7)
    value = one_lipschitz(critic(inputs).squeeze(1), inputs)
    norm = critic.weight.detach().norm()
    torch.testing.assert_close(value, (norm - 1).square())
    value.backward()
    torch.testing.assert_close(critic.weight.grad, 2 * (norm - 1) * critic.weight.detach() / norm)


def test_the_gradient_penalty_of_a_quadratic_critic_is_taken_sample_by_sample():
    matrix = quadratic(3)
    inputs = batch(8, 3)
    logits = 0.5 * ((inputs @ matrix) * inputs).sum(1)
    norms = (inputs @ matrix).norm(dim=1)
    assert norms.std() > 0.5  # a norm over the whole batch would be far off
    torch.testing.assert_close(one_lipschitz(logits, inputs), (norms - 1).square().mean())


def test_a_critic_without_slope_has_a_finite_gradient():
    weight = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    inputs = batch(3, 4)
    value = one_lipschitz(inputs @ weight, inputs)
    value.backward()
    assert value.item() == pytest.approx(1, rel=1e-5)
    assert torch.isfinite(weight.grad).all()


def test_slopes_are_summed_in_fp32():
    inputs = torch.full((2, 4), 1.0, dtype=torch.bfloat16, requires_grad=True)
    value = squared_gradient((inputs * 3).sum(1), inputs)
    assert value.dtype == torch.float32
    assert value == 36


@given(st.integers(1, 5), st.lists(st.integers(1, 3), max_size=3), st.integers(0, 2**31))
def test_a_sample_has_one_share_of_its_own(count: int, shape: list[int], seed: int):
    real, fake = torch.ones(count, *shape), torch.zeros(count, *shape)
    mixed = interpolate(real, fake, torch.Generator().manual_seed(seed)).reshape(count, -1)
    shares = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(mixed, shares[:, None].expand_as(mixed))


def test_the_interpolation_goes_from_fake_to_real():
    real, fake = batch(4, 2).detach(), 3 * batch(4, 2).detach() + 1
    mixed = interpolate(real, fake, torch.Generator().manual_seed(3))
    share = torch.rand(4, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(mixed, share * real + (1 - share) * fake)


def test_penalties_add_up_and_are_scaled_by_every():
    critic = linear(3)
    inputs = batch(4, 3), batch(4, 3)
    real, fake = (Seen(each, critic(each).squeeze(1)) for each in inputs)
    value = penalty(
        penalties(r1=0.4, r2=0.6, gradient_penalty=2.0, every=5),
        lambda x: critic(x).squeeze(1),
        real,
        fake,
        torch.Generator().manual_seed(0),
    )
    square = critic.weight.detach().square().sum()
    wanted = 5 * (0.2 * square + 0.3 * square + 2 * (square.sqrt() - 1).square())
    torch.testing.assert_close(value.detach(), wanted)


@pytest.mark.parametrize(("name", "of_real"), [("r1", True), ("r2", False)])
def test_r1_looks_at_real_samples_and_r2_at_generated_ones(name: str, of_real: bool):
    matrix = quadratic(2)
    inputs = [batch(3, 2), batch(3, 2) * 2]
    inputs[1] = inputs[1].detach().requires_grad_()
    seen = [Seen(x, 0.5 * ((x @ matrix) * x).sum(1)) for x in inputs]
    value = penalty(
        penalties(**{name: 2.0}), torch.nn.Identity(), seen[0], seen[1], torch.Generator()
    )
    x = inputs[0 if of_real else 1]
    torch.testing.assert_close(value, (x @ matrix).square().sum(1).mean())
