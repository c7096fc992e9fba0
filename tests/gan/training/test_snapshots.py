import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gan.config import Config, parse
from gan.data.prepared import open_prepared
from gan.preparation.prepare import prepare
from gan.toys import make_toy
from gan.training.snapshots import lattice, observe, optimum
from gan.training.trainer import Trainer

CPU = torch.device("cpu")


def configure(**values: object) -> Config:
    base = {
        "data": {"name": "toy", "toy": "normal", "toy_points": 500},
        "model": {
            "name": "mlp", "latent": "uniform", "latent_size": 2, "generator_width": 8,
            "discriminator_width": 8, "depth": 2, **values.pop("model", {}),
        },
        "objective": {"penalties": {"r1": 0.1, "every": 1}},
        "train": {"batch_size": 16},
    }  # fmt: skip
    return parse(Config, {**base, **values}, "test")


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return start(configure(), tmp_path)


def start(config: Config, folder: Path) -> Trainer:
    prepare(config.data, folder, progress=False)
    return Trainer(config, open_prepared(folder).points("train"), device=CPU)


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    networks = {"g": trainer.generator, "d": trainer.discriminator, "a": trainer.average}
    return {
        f"{key}.{name}": value.clone()
        for key, network in networks.items()
        for name, value in network.state_dict().items()
    }


@pytest.mark.parametrize("changes", [{}, {"spectral_norm": True, "discriminator_norm": "layer"}])
def test_observing_leaves_no_trace(changes: dict, tmp_path: Path):
    config = configure(model=changes)
    observed, alone = start(config, tmp_path / "a"), start(config, tmp_path / "b")
    toy = make_toy("normal")
    for _ in range(3):
        observe(observed, toy)
        optimum(observed, toy)
        observed.advance()
        alone.advance()
    before = state(observed)
    observe(observed, toy)
    assert all(torch.equal(before[name], value) for name, value in state(alone).items())
    assert all(torch.equal(before[name], value) for name, value in state(observed).items())
    assert observed.discriminator.training


def test_what_is_seen_are_the_players(trainer: Trainer):
    trainer.advance()
    toy = make_toy("normal")
    seen, again = observe(trainer, toy), observe(trainer, toy)
    assert seen.step == 1
    assert torch.equal(seen.samples, again.samples)
    assert seen.samples.shape == (10_000, 1)
    lowest = lattice(toy)[:1]
    value = trainer.discriminator(lowest).item()
    assert seen.logits[0].item() == pytest.approx(value, rel=1e-5)


def test_theory_is_asked_of_the_game_it_is_about(trainer: Trainer):
    found = optimum(trainer, make_toy("normal"))
    assert found is not None
    assert found.value < found.bound + 0.02
    assert found.gap == pytest.approx(found.bound - found.value)
    assert -math.log(4) < found.bound <= 0
    other = trainer.config.objective.model_copy(update={"discriminator": "hinge"})
    trainer.config = trainer.config.model_copy(update={"objective": other})
    assert optimum(trainer, make_toy("normal")) is None


def test_points_train_and_come_back(trainer: Trainer):
    for _ in range(5):
        trainer.advance()
    samples = trainer.fixed_samples(7)
    assert samples.shape == (7, 1)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
