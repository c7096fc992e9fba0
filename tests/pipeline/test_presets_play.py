"""Every preset as it stands, but for widths and batches that take no time, plays a few rounds."""

import numpy as np
import pytest
import torch

from benchmarks.games import game_names
from gan.config import Config, parse
from gan.training import Trainer
from pipeline import preset

TINY = (
    "model.generator_width=4",
    "model.discriminator_width=4",
    "train.batch_size=4",
    "train.record_every=4",
)
ROUNDS = 2


def examples(config: Config) -> np.ndarray:
    rng = np.random.default_rng(0)
    if config.data.name == "toy":
        dimensions = 1 if config.data.toy in ("normal", "line") else 2
        return rng.standard_normal((40, dimensions)).astype(np.float32)
    size = config.data.size
    return rng.integers(0, 256, (40, config.data.channels, size, size), np.uint8)


def play(names: list[str]) -> Trainer:
    config = parse(Config, preset.resolve(names, TINY), " ".join(names))
    run = Trainer(config, examples(config), device=torch.device("cpu"))
    for _ in range(ROUNDS):
        run.advance()
    return run


@pytest.mark.parametrize("name", preset.names())
def test_every_preset_plays(name: str):
    run = play([name])
    (row,) = run.rows()
    assert row[0] == ROUNDS
    assert np.isfinite(row).all()


@pytest.mark.parametrize("game", game_names())
def test_every_game_plays_on_points(game: str):
    (row,) = play([game, "toy-ring"]).rows()
    assert np.isfinite(row).all()


@pytest.mark.parametrize("game", game_names())
def test_every_game_can_be_chosen_for_any_data(game: str):
    objective = preset.resolve([game])["objective"]
    for data in ("digits", "mnist", "toy-normal", "toy-grid"):
        both = preset.resolve([game, data])
        assert both["data"] == preset.resolve([data])["data"]
        for key in ("discriminator", "generator", "output", "g_steps", "weight_clip"):
            assert both["objective"][key] == objective[key]
