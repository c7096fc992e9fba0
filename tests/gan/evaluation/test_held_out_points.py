import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan import evaluation, judges
from gan.config import DataConfig, EvaluateConfig, JudgeConfig
from gan.data import Prepared, open_prepared
from gan.errors import UserError
from gan.evaluation import Evaluation
from gan.evaluation.held_out_points import FLOOR_DRAWS
from gan.judges.points import HeldOut
from gan.preparation.prepare import prepare

MEASURES = ("wasserstein_1", "precision", "recall", "density", "coverage")


def draw(count: int, seed: int, dimensions: int = 3) -> np.ndarray:
    """A curved cloud, in units of its own."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, dimensions))
    x[:, -1] = 1000 * x[:, -1] + 500 * x[:, 0] ** 2 + 7e4
    return x


@pytest.fixture(scope="module", params=[1, 2, 3])
def prepared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Prepared:
    folder = tmp_path_factory.mktemp("table")
    np.save(folder / "points.npy", draw(2000, 0, request.param))
    config = DataConfig(name="table", path=str(folder / "points.npy"))
    prepare(config, folder / "out", progress=False)
    return open_prepared(folder / "out")


@pytest.fixture(scope="module")
def judge(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> HeldOut:
    path, room = tmp_path_factory.mktemp("judge") / "judge.safetensors", judges.of_kind("points")
    report = room.make(prepared, JudgeConfig(), path, torch.device("cpu"))
    found = room.load(path, prepared, torch.device("cpu"))
    assert report == {
        "kind": "held_out", "features": prepared.manifest.shape[0],
        "points": len(prepared.points("test")), "checksum": found.checksum,
    }  # fmt: skip
    assert np.array_equal(found.points.numpy(), prepared.points("test"))
    return found


@pytest.fixture(scope="module")
def run(prepared: Prepared, judge: HeldOut) -> Callable[..., Evaluation]:
    def evaluate(samples: np.ndarray, seed: int = 0, **options: Any) -> Evaluation:
        config = EvaluateConfig(**options)
        return evaluation.of_kind("points").evaluate(samples, prepared, judge, config, seed=seed)

    return evaluate


def standardised(prepared: Prepared, points: np.ndarray) -> np.ndarray:
    columns = prepared.manifest.columns
    mean, deviation = ([getattr(each, key) for each in columns] for key in ("mean", "deviation"))
    return ((points - np.array(mean)) / np.array(deviation)).astype(np.float32)


def test_the_data_themselves_reach_the_floor(prepared: Prepared, run: Callable[..., Evaluation]):
    fresh = standardised(prepared, draw(1500, 1, prepared.manifest.shape[0]))
    found = run(fresh)
    for measure in MEASURES:
        row = found.metrics[measure]
        assert row["value"] == pytest.approx(row["floor"], abs=6 * row["floor_deviation"] + 0.02), (
            measure
        )
    json.dumps(found.metrics, allow_nan=False)
    protocol = found.metrics["protocol"]
    assert protocol["floor_count"] == len(prepared.points("test"))
    assert (protocol["samples"], protocol["floor_draws"]) == (1500, FLOOR_DRAWS)
    assert protocol["data_checksum"] == prepared.manifest.checksum
    assert run(fresh).metrics == found.metrics
    assert found.summary.startswith(
        f"Wasserstein distance {found.metrics['wasserstein_1']['value']:.3f} (real against real "
    )


def test_noise_and_collapse_show(prepared: Prepared, run: Callable[..., Evaluation]):
    dimensions = prepared.manifest.shape[0]
    noise = np.random.default_rng(0).uniform(-9, 9, (1500, dimensions)).astype(np.float32)
    found = run(noise).metrics
    assert found["wasserstein_1"]["value"] > 5 * found["wasserstein_1"]["floor"]
    assert found["precision"]["value"] < found["precision"]["floor"] - 0.3
    # A thousandth of the way between points and their mean: all samples at one place.
    rng = np.random.default_rng(0)
    collapsed = (1e-3 * rng.standard_normal((1500, dimensions))).astype(np.float32)
    found = run(collapsed).metrics
    assert found["recall"]["value"] < 0.1 < found["recall"]["floor"]
    assert found["coverage"]["value"] < found["coverage"]["floor"] / 2


def test_columns_in_their_own_units(prepared: Prepared, run: Callable[..., Evaluation]):
    points = draw(1500, 1, prepared.manifest.shape[0])
    table = run(standardised(prepared, points)).tables["columns"]
    assert table["column"] == [column.name for column in prepared.manifest.columns]
    assert table["mean of samples"] == pytest.approx(points.mean(0).tolist(), rel=1e-3, abs=1e-3)
    assert table["deviation of samples"] == pytest.approx(points.std(0).tolist(), rel=1e-3)
    assert table["deviation of data"] == pytest.approx(
        [column.deviation for column in prepared.manifest.columns], rel=1e-4
    )


def test_neural_divergences_beside_their_floor(prepared: Prepared, run: Callable[..., Evaluation]):
    far = standardised(prepared, draw(300, 1, prepared.manifest.shape[0])) + np.float32(3)
    found = run(far, neural_steps=30, neural_seeds=1).metrics["neural_divergences"]
    assert found["jensen_shannon"]["value"] > found["jensen_shannon"]["floor"] + 0.1
    assert "neural_divergences" not in run(far).metrics


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((50, 7), np.float32), r"samples are float32 \[50, 7\]: expected .* \[N, \d\]"),
        (None, "there are 0 samples, .* expected some of each"),
        (np.nan, "not finite"),
    ],
)
def test_samples_that_cannot_be_judged_are_refused(
    samples: Any, message: str, prepared: Prepared, run: Callable[..., Evaluation]
):
    dimensions = prepared.manifest.shape[0]
    if samples is None:
        samples = np.zeros((0, dimensions), np.float32)
    elif np.isscalar(samples):
        samples = np.full((50, dimensions), np.nan, np.float32)
    with pytest.raises(UserError, match=message):
        run(samples)


def test_what_few_points_do_not_allow_is_left_out(
    prepared: Prepared, run: Callable[..., Evaluation], caplog: pytest.LogCaptureFixture
):
    few = standardised(prepared, draw(15, 1, prepared.manifest.shape[0]))
    with caplog.at_level(logging.WARNING):
        found = run(few[:5], neural_steps=5).metrics
    assert set(found) == {"wasserstein_1", "protocol"}
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "the evaluation leaves out precision, recall, density and coverage",
        "the evaluation leaves out neural divergences",
    ]
    caplog.clear()
    found = run(few[:6])
    assert set(found.metrics) == {"wasserstein_1", "protocol", *MEASURES}
    assert "recall" in found.summary
    assert not caplog.messages


def test_a_judge_of_other_points_is_refused(prepared: Prepared, tmp_path: Path):
    toy = DataConfig(name="toy", toy="ring", toy_points=200)
    prepare(toy, tmp_path / "toy", progress=False)
    room, cpu, path = judges.of_kind("points"), torch.device("cpu"), tmp_path / "judge.safetensors"
    room.make(open_prepared(tmp_path / "toy"), JudgeConfig(), path, cpu)
    with pytest.raises(UserError, match="found the kind 'density', expected 'held_out'"):
        room.load(path, prepared, cpu)
    room.make(prepared, JudgeConfig(), path, cpu)
    with pytest.raises(UserError, match="found the kind 'held_out', expected 'density'"):
        room.load(path, open_prepared(tmp_path / "toy"), cpu)
