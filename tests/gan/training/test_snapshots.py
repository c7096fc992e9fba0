import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gan.config import Config, parse
from gan.data import TrainingSet, open_prepared, training_set
from gan.errors import StateError
from gan.preparation.prepare import prepare
from gan.symbols import Characters, Colours
from gan.tensor_file import write_tensors
from gan.toys import Toy, make_toy
from gan.training.snapshots import (
    FILE_KIND,
    FORMAT_VERSION,
    Snapshot,
    ask_around,
    lattice,
    load_snapshot,
    load_snapshots,
    optimum,
    save_snapshot,
    snapshot_path,
    snapshot_steps,
    take_snapshot,
)
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
    return Trainer(config, training_set(open_prepared(folder)), device=CPU)


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
        observed.snapshot()
        optimum(observed.players, toy)
        observed.advance()
        alone.advance()
    before = state(observed)
    observed.snapshot()
    assert all(torch.equal(before[name], value) for name, value in state(alone).items())
    assert all(torch.equal(before[name], value) for name, value in state(observed).items())
    assert observed.discriminator.training


def test_what_is_seen_are_the_players(trainer: Trainer):
    trainer.advance()
    toy = make_toy("normal")
    seen, again = trainer.snapshot(), trainer.snapshot()
    assert (seen.step, seen.kind, seen.probabilities) == (1, "points", True)
    assert np.array_equal(seen.samples, again.samples)
    assert seen.samples.shape == (10_000, 1)
    lowest = lattice(toy)[:1]
    value = trainer.discriminator(lowest).item()
    assert seen.logits[0].item() == pytest.approx(value, rel=1e-5)


def test_theory_is_asked_of_the_game_it_is_about(trainer: Trainer):
    found = optimum(trainer.players, make_toy("normal"))
    assert found is not None
    assert found.value < found.bound + 0.02
    assert found.gap == pytest.approx(found.bound - found.value)
    assert -math.log(4) < found.bound <= 0
    other = trainer.config.objective.model_copy(update={"discriminator": "hinge"})
    players = trainer.players
    players.config = players.config.model_copy(update={"objective": other})
    assert optimum(players, make_toy("normal")) is None
    assert not trainer.snapshot().probabilities


def test_points_train_and_come_back(trainer: Trainer):
    for _ in range(5):
        trainer.advance()
    samples = trainer.fixed_samples(7)
    assert samples.shape == (7, 1)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()


def test_snapshots_are_close_together_early_on():
    assert snapshot_steps(10, 3) == [0, 1, 2, 3, 6, 9, 10]
    assert snapshot_steps(9, 3) == [0, 1, 2, 3, 6, 9]
    assert snapshot_steps(2, 5) == [0, 1, 2]
    assert snapshot_steps(250, 100) == [0, 1, 2, 5, 10, 20, 50, 100, 200, 250]
    assert snapshot_steps(3, 1) == [0, 1, 2, 3]


@pytest.mark.parametrize("steps", [1, 7, 100, 101, 2345])
@pytest.mark.parametrize("every", [1, 5, 10, 250, 5000])
def test_a_longer_run_has_the_snapshots_of_a_shorter_one_but_its_end(steps: int, every: int):
    short, long = snapshot_steps(steps, every), snapshot_steps(3 * steps, every)
    assert set(short) - {steps} <= set(long)
    assert short == sorted(set(short))
    assert (short[0], short[-1]) == (0, steps)


def of_points(toy: Toy, step: int = 100) -> Snapshot:
    points = toy.sample(500, torch.Generator().manual_seed(step))[0].float().numpy()
    return Snapshot(step, "points", points, ask_around(lambda x: 1 - x.square().sum(1), toy))


@pytest.mark.parametrize(("name", "size"), [("normal", 401), ("grid", 121)])
def test_the_lattice_surrounds_the_data(name: str, size: int):
    toy = make_toy(name)
    places = lattice(toy)
    assert places.shape == (size**toy.dimensions, toy.dimensions)
    assert places.dtype == torch.float32
    assert (places.min(0).values.double() < toy.means.min(0).values).all()
    assert (places.max(0).values.double() > toy.means.max(0).values).all()
    if toy.dimensions == 2:  # the first coordinate varies slowest
        assert places[0, 0] == places[1, 0]
        assert places[0, 1] < places[1, 1]


def test_a_snapshot_of_points_holds_the_game_and_comes_back(tmp_path: Path):
    toy = make_toy("ring")
    snapshot = of_points(toy)
    grid = lattice(toy).reshape(121, 121, 2)
    torch.testing.assert_close(snapshot.logits[7, 50], 1 - grid[7, 50].square().sum())
    path = snapshot_path(tmp_path, 100)
    save_snapshot(snapshot, path)
    loaded = load_snapshot(path)
    assert (loaded.step, loaded.kind, loaded.probabilities) == (100, "points", True)
    assert np.array_equal(loaded.samples, snapshot.samples)
    assert torch.equal(loaded.logits, snapshot.logits)
    path.write_bytes(b"x")
    with pytest.raises(StateError, match=r"damaged or foreign.*of the kind snapshot"):
        load_snapshot(path)


def test_they_come_back_in_the_order_of_their_steps(tmp_path: Path):
    for step in (1000, 5, 20, 0):
        samples = np.full((2, 1, 4, 4), step % 256, np.uint8)
        path = snapshot_path(tmp_path, step)
        save_snapshot(Snapshot(step, "images", samples, probabilities=False), path)
    found = load_snapshots(tmp_path)
    assert [each.step for each in found] == [0, 5, 20, 1000]
    assert all((each.samples == each.step % 256).all() for each in found)
    assert all(each.logits is None and not each.probabilities for each in found)
    assert found[0].samples.dtype == np.uint8


def test_no_snapshots_are_refused(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StateError, match="has no snapshots of a training run: run train"):
            load_snapshots(folder)


def test_a_snapshot_that_lacks_its_samples_is_refused(tmp_path: Path):
    path = snapshot_path(tmp_path, 1)
    write_tensors(
        path,
        {"logits": torch.zeros(3)},
        kind=FILE_KIND,
        version=FORMAT_VERSION,
        description={"step": 1, "kind": "points", "probabilities": True},
    )
    with pytest.raises(StateError, match="'samples'"):
        load_snapshot(path)


@pytest.mark.parametrize(
    ("alphabet", "shape", "kind"),
    [(Colours.levels(2), (8, 8), "images"), (Characters(tuple("abc")), (6,), "text")],
)
def test_of_symbols_it_holds_what_can_be_shown(alphabet, shape: tuple, kind: str):
    text = kind == "text"
    values = {
        "data": {"name": "topics", "length": 6} if text else {"size": 8, "levels": 2},
        "model": {
            "name": "text" if text else "dcgan", "latent_size": 3, "generator_width": 4,
            "discriminator_width": 4, "depth": 1,
        },
        "objective": {"generator": "boundary_seeking", "penalties": {"r1": 0.0}},
        "train": {"batch_size": 4},
    }  # fmt: skip
    examples = np.random.default_rng(0).integers(0, alphabet.size, (9, *shape), np.uint8)
    run = Trainer(parse(Config, values, "test"), TrainingSet(examples, alphabet), device=CPU)
    found = take_snapshot(3, run.players, run.average, 5)
    assert (found.step, found.kind, found.logits) == (3, kind, None)
    assert found.samples.shape == ((5, 6) if text else (5, 1, 8, 8))
    assert np.array_equal(found.samples, run.fixed_samples(5))
