"""Every preset as it stands, but for widths and batches that take no time, plays a few rounds."""

import numpy as np
import pytest
import torch

from benchmarks.games import game_names
from gan.config import Config, parse
from gan.data import TrainingSet
from gan.symbols import Alphabet, Characters, ClassNames, Colours
from gan.training.trainer import Trainer
from pipeline import preset

TINY = (
    "model.generator_width=4",
    "model.discriminator_width=4",
    "train.batch_size=4",
    "train.record_every=4",
)
ROUNDS = 2


def alphabet(config: Config) -> Alphabet | None:
    data = config.data
    if config.model.name == "classifier":
        return ClassNames(("one", "two", "three"))
    if data.kind == "text":
        return Characters(tuple(chr(place + 32) for place in range(data.alphabet)))
    if data.palette:
        return Colours(tuple((9 * place, 0, 255) for place in range(data.palette)))
    return Colours.levels(data.levels) if data.levels else None


def examples(config: Config) -> np.ndarray:
    rng = np.random.default_rng(0)
    symbols = alphabet(config)
    if symbols is not None and not isinstance(symbols, ClassNames):
        shape = (
            (config.data.length,) if isinstance(symbols, Characters) else (config.data.size,) * 2
        )
        return rng.integers(0, symbols.size, (40, *shape), np.uint8)
    if config.data.name == "toy":
        dimensions = 1 if config.data.toy in ("normal", "line") else 2
        return rng.standard_normal((40, dimensions)).astype(np.float32)
    size = config.data.size
    return rng.integers(0, 256, (40, config.data.channels, size, size), np.uint8)


def play(names: list[str]) -> Trainer:
    config = parse(Config, preset.resolve(names, TINY), " ".join(names))
    run = Trainer(
        config,
        TrainingSet(
            examples(config),
            alphabet(config),
            np.arange(40) % 3 if config.model.name == "classifier" else None,
        ),
        device=torch.device("cpu"),
    )
    for _ in range(ROUNDS):
        run.advance()
    return run


@pytest.mark.parametrize("name", preset.names())
def test_every_preset_plays(name: str):
    run = play([name])
    (row,) = run.rows()
    assert row[0] == ROUNDS
    assert np.isfinite(row).all()


@pytest.mark.parametrize("data", ["bgan-levels", "bgan-palette", "bgan-text"])
@pytest.mark.parametrize("game", ["bgan-reinforce", "wgan-relaxed", "wgan-gp-relaxed", "gumbel"])
def test_every_game_of_symbols_plays_on_symbols(game: str, data: str):
    (row,) = play([game, data]).rows()
    assert np.isfinite(row).all()


def test_a_classifier_plays_on_other_labelled_images():
    run = play(["adversarial-classifier", "mnist"])  # in bf16, where the machine can
    assert run.generator.shape == (1, 32, 32)
    assert np.isfinite(run.rows()).all()


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
