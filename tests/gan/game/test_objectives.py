import math

import pytest
import torch
import torch.nn.functional as F

from gan.config import ObjectiveConfig, parse
from gan.config.soundness import DIVERGENCES, OF_DIVERGENCES
from gan.game.objectives import Game
from kernels.losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES
from kernels.losses import DIVERGENCES as TABLE
from kernels.losses.names import output_name

REAL = torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64)
FAKE = torch.tensor([1.5, 0.0, -1.0], dtype=torch.float64)


def game(**values: object) -> Game:
    return Game(parse(ObjectiveConfig, values, "test"))


def choices(field: str) -> tuple[str, ...]:
    return ObjectiveConfig.model_fields[field].annotation.__args__


def test_the_choices_are_those_of_the_table():
    assert set(choices("discriminator")) == set(DISCRIMINATOR_LOSSES)
    assert set(choices("generator")) == set(GENERATOR_LOSSES)
    assert set(DIVERGENCES) == set(TABLE)
    assert set(OF_DIVERGENCES) <= set(GENERATOR_LOSSES)
    outputs = {name for row in TABLE.values() for name in row.outputs}
    assert {output_name(choice) for choice in choices("output")} == outputs


def test_losses_are_the_papers():
    loss, statistics = game().discriminator_loss(REAL, FAKE)
    wanted = -torch.sigmoid(REAL).log().mean() - (1 - torch.sigmoid(FAKE)).log().mean()
    torch.testing.assert_close(loss, wanted)
    assert statistics.real_accuracy == pytest.approx(2 / 3)
    assert statistics.fake_accuracy == pytest.approx(2 / 3)
    found, _ = game().generator_loss(FAKE)
    torch.testing.assert_close(found, -torch.sigmoid(FAKE).log().mean())
    found, _ = game(generator="saturating").generator_loss(FAKE)
    torch.testing.assert_close(found, (1 - torch.sigmoid(FAKE)).log().mean())


def test_targets_reach_both_players():
    play = game(
        discriminator="least_squares",
        generator="least_squares",
        least_squares={"a": -1.0, "b": 2.0, "c": 0.5},
    )
    loss, _ = play.discriminator_loss(REAL, FAKE)
    wanted = 0.5 * (REAL - 2).square().mean() + 0.5 * (FAKE + 1).square().mean()
    torch.testing.assert_close(loss, wanted)
    loss, _ = play.generator_loss(FAKE)
    torch.testing.assert_close(loss, 0.5 * (FAKE - 0.5).square().mean())


def test_targets_of_another_game_are_not_used():
    play = game(least_squares={"a": -1.0, "b": 1.0, "c": 0.0})
    loss, _ = play.discriminator_loss(REAL, FAKE)
    torch.testing.assert_close(loss, game().discriminator_loss(REAL, FAKE)[0])


def test_the_relativistic_generator_compares_with_real_samples():
    play = game(discriminator="relativistic", generator="relativistic")
    assert play.generator_sees_real
    loss, _ = play.generator_loss(FAKE, REAL)
    torch.testing.assert_close(loss, F.softplus(REAL - FAKE).mean())
    assert not game().generator_sees_real


def test_boundary_seeking_is_centred_when_asked_to():
    log_z = torch.tensor(0.3, dtype=torch.float64)
    plain = game(generator="boundary_seeking", output="log_ratio")
    loss, statistics = plain.generator_loss(FAKE, None, log_z)
    torch.testing.assert_close(loss, FAKE.square().mean())
    assert plain.next_log_z(log_z, statistics) is log_z
    centred = game(generator="boundary_seeking", output="log_ratio", centred=True, log_z_rate=0.1)
    loss, statistics = centred.generator_loss(FAKE, None, log_z)
    torch.testing.assert_close(loss, (FAKE - 0.3).square().mean())
    batch = FAKE.logsumexp(0) - math.log(3)
    torch.testing.assert_close(centred.next_log_z(log_z, statistics), 0.9 * log_z + 0.1 * batch)


def test_penalties_are_due_every_so_often():
    play = game(penalties={"r1": 0.4, "every": 5})
    assert [step for step in range(12) if play.penalty_due(step)] == [0, 5, 10]
    assert game(penalties={"r1": 0.0, "r2": 0.1, "every": 1}).penalty_due(3)
    assert game(penalties={"r1": 0.0, "gradient_penalty": 0.1, "every": 1}).penalty_due(3)
    assert not any(game(penalties={"r1": 0.0}).penalty_due(step) for step in range(10))


@pytest.mark.parametrize("generator", ["saturating", "non_saturating", "boundary_seeking"])
def test_the_total_loss_does_not_depend_on_the_generators(generator: str):
    total, ratio = game(generator=generator).total_and_ratio(REAL, FAKE)
    wanted = F.softplus(-REAL).mean() + F.softplus(FAKE).mean() + F.softplus(-FAKE).mean()
    torch.testing.assert_close(total, wanted)
    # σ(F) against σ(−F)
    wanted = torch.sigmoid(FAKE).sum() / torch.sigmoid(-FAKE).sum()
    torch.testing.assert_close(ratio.double(), wanted, rtol=1e-6, atol=0)
    assert not total.requires_grad
    assert not ratio.requires_grad


@pytest.mark.parametrize(
    ("discriminator", "ratio"),
    [
        ("wasserstein", 1.0),
        ("hinge", 2 / 3),  # −1 is on the kink, where relu has no slope
        ("least_squares", 2.5 / 3.5),  # Σ|F − a| / Σ|F − c|
        ("relativistic", None),
    ],
)
def test_the_ratio_compares_with_the_opposite_of_the_discriminators_loss(discriminator, ratio):
    play = game(discriminator=discriminator, generator=discriminator)
    found = play.total_and_ratio(REAL, FAKE)[1].item()
    if ratio is None:
        ratio = (torch.sigmoid(FAKE - REAL).sum() / torch.sigmoid(REAL - FAKE).sum()).item()
    assert found == pytest.approx(ratio, rel=1e-6)


def test_a_ratio_to_nothing_is_finite():
    play = game(discriminator="least_squares", generator="least_squares")
    assert math.isfinite(play.total_and_ratio(REAL, torch.ones(3))[1].item())


def test_the_distance_from_equilibrium():
    zeros = torch.zeros(4)
    assert game().equilibrium_distance(zeros, zeros) == 0
    assert game().equilibrium_distance(zeros + 50, zeros - 50) == 1
    found = game().equilibrium_distance(REAL.float(), FAKE.float())
    wanted = (2 * torch.sigmoid(torch.cat([REAL, FAKE])) - 1).abs().mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    # A mean of ½ with D far from it everywhere is no equilibrium.
    split = torch.tensor([50.0, -50.0])
    assert game().equilibrium_distance(split, split) == 1


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ({"discriminator": "kl"}, 1.0),
        ({"discriminator": "kl", "output": "log_ratio"}, 0.0),
        ({"discriminator": "least_squares", "generator": "least_squares"}, 0.5),
        ({"discriminator": "hinge", "generator": "hinge"}, 0.0),
        ({"discriminator": "wasserstein", "generator": "wasserstein"}, 37.0),
        ({"discriminator": "relativistic", "generator": "relativistic"}, -4.0),
    ],
)
def test_every_game_has_its_own_level(values: dict[str, str], level: float):
    logits = torch.full((3,), level)
    assert game(**values).equilibrium_distance(logits, logits) == 0


def test_only_a_critic_has_no_accuracy():
    assert game(discriminator="wasserstein", generator="wasserstein").meaningless == (
        "real_accuracy",
        "fake_accuracy",
    )
    assert game().meaningless == ()
