"""Every game, by its mechanism: what a step does to whom, and that it resumes to the same bytes."""

import numpy as np
import pytest
import torch

from gan.config import Config, parse
from gan.data import TrainingSet
from gan.game.objectives import Game
from gan.game.players import Fake
from gan.training.trainer import Trainer
from tests.gan.playing import (
    CPU,
    advance,
    assert_same_state,
    images,
    measured,
    resumed,
    snapshot,
)

WASSERSTEIN = {"discriminator": "wasserstein", "generator": "wasserstein"}
RELATIVISTIC = {"discriminator": "relativistic", "generator": "relativistic"}

# One a mechanism: sections `objective`, `model`, `train`.
MECHANISMS: dict[str, dict[str, dict]] = {
    "minimax": {"objective": {"generator": "saturating"}},
    "gradient penalty": {
        "objective": {
            **WASSERSTEIN,
            "d_steps": 2,
            "penalties": {"r1": 0.0, "gradient_penalty": 10.0, "every": 1},
        },
        "model": {"discriminator_norm": "layer"},
    },
    "lazy gradient penalty in bf16": {
        "objective": {
            **WASSERSTEIN,
            "penalties": {"r1": 0.0, "gradient_penalty": 10.0, "every": 2},
        },
        "train": {"precision": "bf16"},
    },
    "weight clipping": {
        "objective": {**WASSERSTEIN, "weight_clip": 0.01, "d_steps": 2},
        "train": {"generator_optimiser": "rmsprop", "discriminator_optimiser": "rmsprop"},
    },
    "spectral normalisation": {
        "objective": {"discriminator": "hinge", "generator": "hinge"},
        "model": {"spectral_norm": True},
    },
    "pairs with R1 and R2": {
        "objective": {**RELATIVISTIC, "penalties": {"r1": 1.0, "r2": 1.0, "every": 1}},
    },
    "pairs with lazy R1 and R2 in bf16": {
        "objective": {**RELATIVISTIC, "penalties": {"r1": 1.0, "r2": 1.0, "every": 2}},
        "train": {"precision": "bf16"},
    },
    "centred boundary seeking": {
        "objective": {"generator": "boundary_seeking", "centred": True, "g_steps": 3},
        "model": {"discriminator_norm": "batch"},
    },
    "least squares": {
        "objective": {
            "discriminator": "least_squares",
            "generator": "least_squares",
            "least_squares": {"a": -1.0, "b": 1.0, "c": 0.0},
        },
        "model": {"latent": "uniform"},
    },
    "decay with adamw": {
        "train": {
            "schedule": "cosine",
            "generator_optimiser": "adamw",
            "discriminator_optimiser": "adamw",
            "weight_decay": 0.1,
        },
    },
}


def game(mechanism: str, **train: object) -> Config:
    given = MECHANISMS[mechanism]
    values = {
        "model": {
            "latent_size": 4,
            "generator_width": 4,
            "discriminator_width": 4,
            **given.get("model", {}),
        },
        "objective": {"penalties": {"r1": 0.0}, **given.get("objective", {})},
        "train": {
            "steps": 6,
            "batch_size": 4,
            "record_every": 4,
            "sample_every": 3,
            **given.get("train", {}),
            **train,
        },
    }
    return parse(Config, values, mechanism)


def play(mechanism: str, rounds: int = 0, **train: object) -> Trainer:
    run = Trainer(game(mechanism, **train), TrainingSet(images(size=8)), device=CPU)
    for _ in range(rounds):
        advance(run)
    return run


@pytest.fixture(autouse=True)
def _bf16_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan.game.players.computes_in_bf16", lambda device: True)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_resumed_game_is_the_same_to_the_bit(mechanism: str):
    resumed(lambda rounds: play(mechanism, rounds))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_step_of_the_generator_leaves_the_discriminator_alone(mechanism: str, monkeypatch):
    run = play(mechanism, 1)
    before: list[dict] = []
    original = Game.generator_loss

    def spy(self, *logits):
        before.append(snapshot(run.discriminator))
        return original(self, *logits)

    step = run.players._generator_step

    def whole_step(*batches):
        untouched = snapshot(run.discriminator)
        gradients = [p.grad.clone() for p in run.discriminator.parameters()]
        found = step(*batches)
        assert_same_state(untouched, snapshot(run.discriminator))
        for gradient, parameter in zip(gradients, run.discriminator.parameters(), strict=True):
            assert torch.equal(gradient, parameter.grad)
            assert parameter.requires_grad
        return found

    monkeypatch.setattr(Game, "generator_loss", spy)
    monkeypatch.setattr(run.players, "_generator_step", whole_step)
    generator = snapshot(run.generator)
    run.advance()
    assert len(before) == run.config.objective.g_steps
    assert any(
        not torch.equal(value, generator[name]) for name, value in snapshot(run.generator).items()
    )


def test_the_power_iteration_follows_the_discriminators_steps():
    run = play("spectral normalisation", 1)
    names = [name for name in run.discriminator.state_dict() if name.endswith("._v")]
    assert names
    before = snapshot(run.discriminator)
    run.advance()
    after = snapshot(run.discriminator)
    assert all(not torch.equal(before[name], after[name]) for name in names)


def test_weights_are_clipped_after_the_step():
    run = play("weight clipping", discriminator_learning_rate=0.5)
    run.advance()
    largest = [parameter.abs().max().item() for parameter in run.discriminator.parameters()]
    assert max(largest) == pytest.approx(0.01)  # a step this large ends outside the box
    assert max(p.abs().max().item() for p in run.generator.parameters()) > 0.01


def test_log_z_follows_the_generators_batches(monkeypatch):
    run = play("centred boundary seeking")
    logits: list[torch.Tensor] = []
    original = Game.generator_loss

    def spy(self, fake_logits, real_logits, log_z):
        logits.append(fake_logits.detach().clone())
        return original(self, fake_logits, real_logits, log_z)

    monkeypatch.setattr(Game, "generator_loss", spy)
    run.advance()
    wanted = torch.zeros(())
    for batch in logits:
        wanted = 0.995 * wanted + 0.005 * (batch.logsumexp(0) - np.log(4))
    assert len(logits) == 3
    torch.testing.assert_close(run.players.log_z, wanted)
    assert run.players.log_z != 0


def test_every_step_of_the_generator_has_a_batch_of_its_own():
    run = play("centred boundary seeking", 2)
    drawn = play("centred boundary seeking").players.latent_rng
    for _ in range(6):
        run.generator.draw_latent(4, drawn)
    assert torch.equal(drawn.get_state(), run.players.latent_rng.get_state())
    assert run.players.generator_optimiser.state_dict()["state"][0]["step"] == 6
    assert run.players.discriminator_optimiser.state_dict()["state"][0]["step"] == 2
    assert run.images_seen == 24
    assert run.rows()[0][1] == 8  # real ones


def test_learning_rates_go_down_together():
    run = play("decay with adamw", generator_learning_rate=1e-3, discriminator_learning_rate=3e-3)
    for step in range(6):
        advance(run)
        share = 0.5 * (1 + np.cos(np.pi * step / 6))
        for optimiser, rate in (
            (run.players.generator_optimiser, 1e-3),
            (run.players.discriminator_optimiser, 3e-3),
        ):
            assert isinstance(optimiser, torch.optim.AdamW)
            assert optimiser.param_groups[0]["lr"] == pytest.approx(rate * share)


def test_a_lazy_penalty_is_paid_every_so_often():
    run = play("pairs with lazy R1 and R2 in bf16", 3)
    paid = [measured(run, step)["penalty"] for step in range(3)]
    assert paid[1] == 0
    assert paid[0] > 0
    assert paid[2] > 0


@pytest.mark.parametrize("penalty", ["r1", "r2", "gradient_penalty"])
def test_penalties_are_exact_under_bf16(penalty: str, monkeypatch):
    """The first penalty, on equal weights and batches, as in fp32, not as bf16 would have it."""

    def first(precision: str) -> float:
        objective = {"penalties": {"r1": 0.0, penalty: 1.0, "every": 1}}
        values = game("minimax", precision=precision).model_dump()
        values["objective"].update(objective, generator="non_saturating")
        run = Trainer(parse(Config, values, "test"), TrainingSet(images(size=8)), device=CPU)
        # Large weights, so that there is a slope to speak of.
        with torch.no_grad():
            for parameter in run.discriminator.parameters():
                parameter.mul_(10)
        # Generated samples that are the same in either precision.
        examples = torch.linspace(-1, 1, 4 * 64).reshape(4, 1, 8, 8).requires_grad_()
        fake = Fake(examples, None, torch.zeros(4, 4))
        monkeypatch.setattr(run.players, "_draw_fake", lambda: fake)
        run.advance()
        return measured(run)["penalty"]

    assert first("bf16") == pytest.approx(first("fp32"), rel=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_round_never_waits_for_the_gpu(mechanism: str):
    run = Trainer(game(mechanism), TrainingSet(images(size=8)), device=torch.device("cuda"))
    run.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.advance()
        run.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")
