"""One round of the game: what each player's step does, and what it leaves alone."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan.config import Config, parse
from gan.data import TrainingSet
from gan.game.objectives import Game
from gan.game.players import frozen
from gan.training.trainer import Trainer
from tests.gan.playing import (
    CPU,
    assert_same_state,
    configure,
    images,
    measured,
    snapshot,
    trainer,
)


def test_a_step_is_the_textbook_step():
    """Against the plain loop: two batches through D, a step; fresh logits through D, a step.

    With plain gradient descent on both sides: Adam's first steps are the signs of gradients, and
    turn a rounding of one that is nearly zero into a whole step.
    """
    rates = {"generator_learning_rate": 0.05, "discriminator_learning_rate": 0.05}
    ours = trainer(configure(**rates), channels=3)
    generator, discriminator = copy.deepcopy(ours.generator), copy.deepcopy(ours.discriminator)
    generator.to(memory_format=torch.contiguous_format)
    discriminator.to(memory_format=torch.contiguous_format)
    descent_g = torch.optim.SGD(generator.parameters(), lr=0.05)
    descent_d = torch.optim.SGD(discriminator.parameters(), lr=0.05)
    players = ours.players
    players.generator_optimiser = torch.optim.SGD(ours.generator.parameters(), lr=0.05)
    players.discriminator_optimiser = torch.optim.SGD(ours.discriminator.parameters(), lr=0.05)
    twin = trainer(channels=3)  # the same streams of data and latents
    for _ in range(3):
        ours.advance()
        latent = generator.draw_latent(4, twin.players.latent_rng)
        real = twin._batches.next().float() / 127.5 - 1
        fake = generator(latent)
        descent_d.zero_grad()
        real_logits, fake_logits = discriminator(real), discriminator(fake.detach())
        loss_d = F.binary_cross_entropy_with_logits(
            real_logits, torch.ones(4)
        ) + F.binary_cross_entropy_with_logits(fake_logits, torch.zeros(4))
        loss_d.backward()
        descent_d.step()
        running = snapshot(discriminator)
        descent_g.zero_grad()
        loss_g = F.binary_cross_entropy_with_logits(discriminator(fake), torch.ones(4))
        loss_g.backward()
        descent_g.step()
        discriminator.load_state_dict(running)  # ours does not move D's statistics here
    for name, value in ours.generator.state_dict().items():
        torch.testing.assert_close(value, generator.state_dict()[name], rtol=1e-3, atol=2e-5)
    for name, value in ours.discriminator.state_dict().items():
        torch.testing.assert_close(value, discriminator.state_dict()[name], rtol=1e-3, atol=2e-5)
    last = measured(ours, 2)
    assert last["penalty"] == 0
    assert last["discriminator_loss"] == pytest.approx(loss_d.item(), rel=1e-4)
    assert last["generator_loss"] == pytest.approx(loss_g.item(), rel=1e-4)
    assert last["real_logit"] == pytest.approx(real_logits.mean().item(), rel=1e-3, abs=1e-5)
    assert last["fake_accuracy"] == pytest.approx((fake_logits < 0).float().mean().item())
    total = last["discriminator_loss"] + F.softplus(-fake_logits.detach()).mean().item()
    assert last["total_loss"] == pytest.approx(total, rel=1e-4)
    ratio = torch.sigmoid(fake_logits).sum() / torch.sigmoid(-fake_logits).sum()
    assert last["gradient_ratio"] == pytest.approx(ratio.item(), rel=1e-3)
    logits = torch.cat([real_logits, fake_logits])
    distance = (2 * torch.sigmoid(logits) - 1).abs().mean().item()
    assert last["equilibrium_distance"] == pytest.approx(distance, rel=1e-2)
    spread = (fake.flatten(1).var(0).sum() / real.flatten(1).var(0).sum()).sqrt().item()
    assert last["spread"] == pytest.approx(spread, rel=1e-3)
    assert last["at_bound"] == 0
    norm = torch.cat([p.grad.flatten() for p in generator.parameters()]).norm().item()
    assert last["generator_gradient_norm"] == pytest.approx(norm, rel=1e-3)


def test_the_optimisers_are_adam_with_the_usual_settings():
    run = trainer(configure(generator_learning_rate=1e-3, discriminator_learning_rate=3e-3))
    for optimiser, network, rate in (
        (run.players.generator_optimiser, run.generator, 1e-3),
        (run.players.discriminator_optimiser, run.discriminator, 3e-3),
    ):
        assert isinstance(optimiser, torch.optim.Adam)
        (group,) = optimiser.param_groups
        assert (group["lr"], group["betas"], group["eps"]) == (rate, (0.5, 0.999), 1e-8)
        assert len(group["params"]) == len(list(network.parameters()))


def test_saturating_is_the_minimax_game():
    run = trainer(configure(objective={"generator": "saturating"}))
    run.advance()
    twin = trainer(configure(objective={"generator": "saturating"}))
    fake = twin.generator(twin.generator.draw_latent(4, twin.players.latent_rng))
    # D has moved by its own step: its weights after it are the run's.
    with frozen(run.discriminator):
        logits = run.discriminator(fake)
    value = torch.log1p(-torch.sigmoid(logits.double())).mean().item()
    assert measured(run)["generator_loss"] == pytest.approx(value, rel=1e-4)
    assert value < 0


def test_the_generator_step_leaves_no_trace_in_the_discriminator(monkeypatch):
    run = trainer()
    before: dict[str, torch.Tensor] = {}
    gradients: list[torch.Tensor] = []
    original = Game.generator_loss

    def spy(self, *logits):
        before.update(snapshot(run.discriminator))
        gradients.extend(p.grad.clone() for p in run.discriminator.parameters())
        return original(self, *logits)

    monkeypatch.setattr(Game, "generator_loss", spy)
    run.advance()
    assert_same_state(before, snapshot(run.discriminator))
    assert any(name.endswith("num_batches_tracked") for name in before)
    for gradient, parameter in zip(gradients, run.discriminator.parameters(), strict=True):
        assert torch.equal(gradient, parameter.grad)
        assert parameter.requires_grad


def test_a_frozen_network_is_neither_changed_nor_paid_for():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 1))
    network[0].bias.requires_grad_(False)
    before = snapshot(network)
    inputs = torch.randn(5, 1, 4, 4, requires_grad=True)
    with frozen(network):
        network(inputs).sum().backward()
    assert_same_state(before, snapshot(network))
    assert inputs.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network[1].track_running_stats
    assert network[0].weight.requires_grad
    assert not network[0].bias.requires_grad  # as it was


def test_the_penalty_is_paid_lazily_and_scaled():
    values = configure().model_dump()
    values["model"]["discriminator_norm"] = "none"
    values["objective"] = {"penalties": {"r1": 0.5, "every": 3}, "d_steps": 2}
    run = Trainer(parse(Config, values, "test"), TrainingSet(images()), device=CPU)
    for _ in range(4):
        run.advance()
    paid = [measured(run, step)["penalty"] for step in range(4)]
    # Discriminator steps 0, 3 and 6 pay; the fourth round is 6 and 7, the third 4 and 5.
    assert paid[2] == 0
    assert min(paid[0], paid[1], paid[3]) > 0


def test_d_steps_take_a_batch_each():
    run = trainer(configure(objective={"d_steps": 3}))
    run.advance()
    assert run._batches.state_dict() == {"epoch": 0, "position": 12}
    assert run.players.discriminator_optimiser.state_dict()["state"][0]["step"] == 3
    assert run.players.generator_optimiser.state_dict()["state"][0]["step"] == 1
    # Discriminator images in the history: three batches of four.
    assert run.rows()[0][1] == 12


def test_bf16_trains_with_fp32_weights_and_losses(monkeypatch):
    monkeypatch.setattr("gan.game.players.computes_in_bf16", lambda device: True)
    run = trainer(configure(precision="bf16"))
    for _ in range(3):
        run.advance()
    assert all(p.dtype == torch.float32 for p in run.generator.parameters())
    assert run._window.dtype == torch.float32
    row = run.rows()[0]
    # Fresh networks: close to chance, 2·log 2 and log 2.
    assert row[2] == pytest.approx(2 * np.log(2), rel=0.3)
    exact = trainer(configure())
    for _ in range(3):
        exact.advance()
    assert row[2] == pytest.approx(exact.rows()[0][2], rel=0.05)
    assert row[2] != exact.rows()[0][2]


def test_bf16_where_it_would_be_emulated_is_fp32_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr("gan.game.players.computes_in_bf16", lambda device: False)
    run, exact = trainer(configure(precision="bf16")), trainer(configure())
    assert "no bf16 instructions" in caplog.text
    run.advance()
    exact.advance()
    assert run.rows() == exact.rows()
