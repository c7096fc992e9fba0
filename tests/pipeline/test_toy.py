"""All stages on toys, without DVC around them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.config import Config, parse
from gan.errors import StateError
from pipeline import evaluate, paths, prepare, train
from tests.pipeline.stages import run

pytestmark = [pytest.mark.usefixtures("workspace"), pytest.mark.slow]

DIMENSIONS = {"normal": 1, "ring": 2}


def configure(toy: str, **of_training: object) -> Config:
    values = {
        "data": {"name": "toy", "toy": toy, "toy_points": 600},
        "model": {
            "name": "mlp", "latent": "uniform", "latent_size": 2, "generator_width": 8,
            "discriminator_width": 8, "depth": 2,
        },
        "train": {"steps": 5, "batch_size": 16, "sample_every": 3, **of_training},
        "sample": {"count": 400, "grid": 4},
        "runtime": {"device": "cpu", "workers": 0},
    }  # fmt: skip
    return parse(Config, values, "test")


@pytest.mark.parametrize("toy", DIMENSIONS)
def test_every_stage_runs_on_points_and_twice_to_the_same_bytes(toy: str):
    outs = run(configure(toy))
    samples = np.load(paths.SAMPLES / "samples.npy")
    assert (samples.dtype, samples.shape) == (np.float32, (400, DIMENSIONS[toy]))
    pictures = [name for name in outs if name.endswith(".png")]
    assert {Path(name).name for name in pictures} == {
        "curves.png", "game.png", "grid.png", "interpolation.png", "density.png", "real.png",
        *(f"step-{step:09d}.png" for step in (0, 1, 2, 3, 5)),
        *(["classes.png"] if toy == "ring" else []),
    }  # fmt: skip
    assert all(Image.open(name).width > 300 for name in pictures)
    metrics = json.loads(paths.EVALUATE_METRICS.read_text())
    assert set(metrics) == {
        "jensen_shannon", "kl", "reverse_kl", "wasserstein_1", "good_share", "modes", "protocol",
    }  # fmt: skip
    assert metrics["jensen_shannon"]["value"] > metrics["jensen_shannon"]["floor"]
    theory = json.loads(paths.TRAIN_METRICS.read_text())["theory"]
    assert set(theory) == {"value", "bound", "gap", "deviation"}
    assert json.loads(paths.JUDGE_METRICS.read_text())["kind"] == "density"
    assert run(configure(toy)) == outs


def test_a_longer_run_keeps_the_snapshots_of_the_shorter_one():
    run(configure("ring"))
    train.main(configure("ring", steps=7))
    kept = sorted(path.stem for path in paths.SNAPSHOTS.iterdir())
    assert [int(name[5:]) for name in kept] == [0, 1, 2, 3, 6, 7]


def test_the_density_of_other_points_is_refused():
    run(configure("ring"))
    prepare.main(parse(Config, {**configure("ring").model_dump(), "data": {
        "name": "toy", "toy": "ring", "toy_points": 700}}, "test"))  # fmt: skip
    with pytest.raises(StateError, match="run judge again"):
        evaluate.main(configure("ring"))
