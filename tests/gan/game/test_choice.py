import numpy as np
import pytest
import torch

from gan.config import Config, parse
from gan.data import TrainingSet
from gan.game import make_players
from gan.game.label_players import RelaxingClassifier, WeighingClassifier
from gan.game.players import Players
from gan.game.symbol_players import RelaxingPlayers, WeighingPlayers
from gan.symbols import ClassNames, Colours

IMAGES = np.zeros((6, 1, 8, 8), np.uint8)
SETS = {
    "numbers": TrainingSet(IMAGES),
    "symbols": TrainingSet(IMAGES[:, 0], Colours.levels(2)),
    "labels": TrainingSet(IMAGES, ClassNames(("one", "two", "three")), np.arange(6) % 3),
}
CRITIC = {
    "discriminator": "wasserstein",
    "generator": "wasserstein",
    "weight_clip": 0.1,
    "discrete": {"estimator": "relaxed"},
}
WEIGHED = {"generator": "boundary_seeking"}


@pytest.mark.parametrize(
    ("played_on", "objective", "expected"),
    [
        ("numbers", {}, Players),
        ("symbols", WEIGHED, WeighingPlayers),
        ("symbols", CRITIC, RelaxingPlayers),
        ("labels", WEIGHED, WeighingClassifier),
        ("labels", CRITIC, RelaxingClassifier),
    ],
)
def test_the_players_follow_from_the_data_and_the_estimator(
    played_on: str, objective: dict, expected: type
):
    values = {
        "data": {"size": 8, "levels": 2 if played_on == "symbols" else 0},
        "model": {
            "name": "classifier" if played_on == "labels" else "dcgan",
            "generator_width": 4,
            "discriminator_width": 4,
        },
        "objective": {"penalties": {"r1": 0.0}, **objective},
        "train": {"discriminator_optimiser": "rmsprop", "betas": [0.0, 0.9]},
    }
    config = parse(Config, values, "test")
    assert type(make_players(config, SETS[played_on], torch.device("cpu"))) is expected
