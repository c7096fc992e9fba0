import pytest
import torch
from torch import nn

from gan.config import ObjectiveConfig, parse
from gan.objectives import Game, squared_gradient


def game(**values: object) -> Game:
    return Game(parse(ObjectiveConfig, values, "test"))


def test_losses_are_the_papers():
    logits = torch.tensor([0.5, -2.0], dtype=torch.float64)
    fake = torch.tensor([1.5, 0.0, -1.0], dtype=torch.float64)
    loss, statistics = game().discriminator_loss(logits, fake)
    wanted = -torch.sigmoid(logits).log().mean() - (1 - torch.sigmoid(fake)).log().mean()
    torch.testing.assert_close(loss, wanted)
    assert statistics.real_accuracy == 0.5
    assert statistics.fake_accuracy == pytest.approx(2 / 3)
    torch.testing.assert_close(game().generator_loss(fake), -torch.sigmoid(fake).log().mean())
    torch.testing.assert_close(
        game(generator="saturating").generator_loss(fake), (1 - torch.sigmoid(fake)).log().mean()
    )


def test_squared_gradient_of_a_linear_critic_is_its_weight():
    critic = nn.Linear(12, 1).double()
    inputs = torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    value = squared_gradient(critic(inputs.flatten(1)).squeeze(1), inputs)
    torch.testing.assert_close(value, critic.weight.square().sum())
    value.backward()
    torch.testing.assert_close(critic.weight.grad, 2 * critic.weight)
    assert critic.bias.grad is None or critic.bias.grad.abs().max() == 0


def test_squared_gradient_of_a_quadratic_critic():
    # F(x) = ½ xᵀAx with symmetric A: ∇F = Ax, per sample.
    matrix = torch.randn(4, 4, dtype=torch.float64)
    matrix = matrix + matrix.T
    inputs = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    logits = 0.5 * ((inputs @ matrix) * inputs).sum(1)
    wanted = (inputs @ matrix).square().sum(1).mean()
    torch.testing.assert_close(squared_gradient(logits, inputs), wanted)


def test_squared_gradient_is_summed_in_fp32():
    inputs = torch.full((2, 4), 1.0, dtype=torch.bfloat16, requires_grad=True)
    value = squared_gradient((inputs * 3).sum(1), inputs)
    assert value.dtype == torch.float32
    assert value == 36


def test_the_penalty_is_half_gamma_times_every():
    play = game(penalties={"r1": 0.4, "every": 5})
    inputs = torch.randn(3, 2, requires_grad=True)
    value = play.penalty(inputs @ torch.tensor([3.0, 4.0]), inputs)
    assert value.item() == pytest.approx(5 * 0.2 * 25)
    assert [step for step in range(12) if play.penalty_due(step)] == [0, 5, 10]


def test_no_penalty_is_never_due():
    assert not any(game(penalties={"r1": 0.0}).penalty_due(step) for step in range(10))
