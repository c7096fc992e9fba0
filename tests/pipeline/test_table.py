"""All stages on a table of points, without DVC around them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.config import Config, parse
from gan.data import open_prepared
from gan.errors import StateError
from gan.generators.samples_file import read_samples
from pipeline import evaluate, paths, prepare
from tests.pipeline.stages import run

pytestmark = [pytest.mark.usefixtures("workspace"), pytest.mark.slow]


def configure(dimensions: int, rows: int = 300) -> Config:
    points = np.random.default_rng(0).normal(40, 3, (rows, dimensions))
    text = "\n".join(",".join(map(str, row)) for row in points.tolist())
    Path("points.csv").write_text(",".join("abc"[:dimensions]) + "\n" + text + "\n")
    values = {
        "data": {"name": "table", "path": "points.csv"},
        "model": {
            "name": "mlp", "latent_size": 2, "generator_width": 8, "discriminator_width": 8,
            "depth": 2,
        },
        "train": {"steps": 5, "batch_size": 16, "sample_every": 3},
        "sample": {"count": 400, "grid": 4},
        "runtime": {"device": "cpu", "workers": 0},
    }  # fmt: skip
    return parse(Config, values, "test")


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_every_stage_runs_on_a_table_and_twice_to_the_same_bytes(dimensions: int):
    outs = run(configure(dimensions))
    samples = np.load(paths.SAMPLES / "samples.npy")
    assert (samples.dtype, samples.shape) == (np.float32, (400, dimensions))
    pictures = [name for name in outs if name.endswith(".png")]
    assert {Path(name).name for name in pictures} == {
        "curves.png", "grid.png", "interpolation.png", "density.png", "real.png",
        *(f"step-{step:09d}.png" for step in (0, 1, 2, 3, 5)),
    }  # fmt: skip
    assert all(Image.open(name).width > 300 for name in pictures)
    metrics = json.loads(paths.EVALUATE_METRICS.read_text())
    assert set(metrics) == {
        "wasserstein_1", "precision", "recall", "density", "coverage", "protocol",
    }  # fmt: skip
    assert metrics["wasserstein_1"]["value"] > metrics["wasserstein_1"]["floor"]
    assert "theory" not in json.loads(paths.TRAIN_METRICS.read_text())
    assert json.loads(paths.JUDGE_METRICS.read_text())["kind"] == "held_out"
    with (paths.SAMPLES / "samples.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list("abc"[:dimensions])
    columns = open_prepared(paths.PREPARED).manifest.columns
    assert columns is not None
    samples = read_samples(paths.SAMPLES).array.astype(np.float64)
    for at, column in enumerate(columns):
        expected = samples[:, at] * column.deviation + column.mean
        assert np.allclose([float(row[at]) for row in rows], expected, rtol=1e-7)
    assert run(configure(dimensions)) == outs


def test_the_held_out_points_of_other_data_are_refused():
    run(configure(2))
    prepare.main(configure(2, rows=310))
    with pytest.raises(StateError, match="run judge again"):
        evaluate.main(configure(2))
