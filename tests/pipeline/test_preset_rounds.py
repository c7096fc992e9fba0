"""Rounds of every preset: none waits for the device, and recorded they are what they were."""

import numpy as np
import pytest

from gan.config import Config, parse
from gan.data import TrainingSet
from gan.symbols import Characters, ClassNames, Colours
from gan.training import round_graph
from gan.training.trainer import Trainer
from pipeline import preset
from tests.gan.playing import CPU, advance, assert_same_state
from tests.gan.tape import Tape, as_on_a_gpu

COUNT = 24


def small(*names: str) -> Config:
    """A preset with narrow networks, small batches and images of 16 pixels at most."""
    values = preset.resolve(names)
    values["model"] |= {"generator_width": 4, "discriminator_width": 4, "latent_size": 4}
    values["data"]["size"] = min(values["data"]["size"], 16)
    values["train"] |= {"batch_size": 4, "record_every": 3, "steps": 30}
    return parse(Config, values, " ".join(names))


def data(config: Config) -> TrainingSet:
    """Random examples of the kind that it is for."""
    rng, of = np.random.default_rng(0), config.data
    images = rng.integers(0, 256, (COUNT, of.channels, of.size, of.size)).astype(np.uint8)
    if config.model.name == "classifier":
        return TrainingSet(images, ClassNames(tuple("abc")), rng.integers(0, 3, COUNT))
    if of.kind == "points":
        return TrainingSet(rng.normal(size=(COUNT, 2)).astype(np.float32))
    if of.kind == "text":
        symbols = rng.integers(0, 7, (COUNT, of.length)).astype(np.uint8)
        return TrainingSet(symbols, Characters(tuple("abcdef ")))
    if of.kind == "symbol_images":
        colours = tuple((index, 2 * index, 255 - index) for index in range(of.palette))
        alphabet = Colours.levels(of.levels) if of.levels else Colours(colours)
        symbols = rng.integers(0, alphabet.size, (COUNT, of.size, of.size)).astype(np.uint8)
        return TrainingSet(symbols, alphabet)
    return TrainingSet(images)


@pytest.mark.parametrize(
    "names",
    [
        *([name] for name in preset.names()),
        ["hinge-sn", "toy-grid"],
        ["wgan-gp", "toy-normal"],
        ["bgan-reinforce", "bgan-text"],
        ["wgan-gp-relaxed", "bgan-text"],
    ],
    ids=" ".join,
)
def test_no_round_of_a_preset_waits(names: list[str], monkeypatch: pytest.MonkeyPatch):
    as_on_a_gpu(monkeypatch)
    monkeypatch.setattr(round_graph, "WARM_UP", 1)
    config = small(*names)
    tape = Tape()  # which looks for waits
    run = Trainer(config, data(config), device=CPU, recorder=tape)
    eager = Trainer(config, data(config), device=CPU)
    for _ in range(6):
        advance(run)
        advance(eager)
    # Of lazy R1 every fourth round.
    assert len(tape.recordings) == len({run.players.due(step) for step in range(6)})
    assert_same_state(eager.state_dict(), run.state_dict())
