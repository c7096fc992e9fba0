import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gan.config import DataConfig, EvaluateConfig
from gan.data import Prepared, open_prepared
from gan.errors import UserError
from gan.evaluation import Evaluation
from gan.evaluation.points import evaluate, mode_shares
from gan.preparation.prepare import prepare
from gan.toys import make_toy

CONFIG = EvaluateConfig()
TOYS = ("normal", "line", "ring", "grid", "spirals")
Run = Callable[..., dict[str, Any]]
MEASURES = ("jensen_shannon", "kl", "reverse_kl", "wasserstein_1", "good_share")


def draw(name: str, count: int = 4000, seed: int = 77) -> np.ndarray:
    points, _ = make_toy(name).sample(count, torch.Generator().manual_seed(seed))
    return points.float().numpy()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    folder, found = tmp_path_factory.mktemp("toys"), {}
    for name in TOYS:
        config = DataConfig(name="toy", toy=name, toy_points=200)
        prepare(config, folder / name, progress=False)
        found[name] = open_prepared(folder / name)
    return found


@pytest.fixture(scope="module")
def found(prepared: dict[str, Prepared]) -> Callable[..., Evaluation]:
    def judge(samples: np.ndarray, name: str, seed: int = 0) -> Evaluation:
        return evaluate(samples, prepared[name], make_toy(name), CONFIG, seed=seed, progress=False)

    return judge


@pytest.fixture(scope="module")
def run(found: Callable[..., Evaluation]) -> Run:
    return lambda *arguments, **options: found(*arguments, **options).metrics


@pytest.mark.parametrize("name", TOYS)
def test_the_data_themselves_reach_the_floor(name: str, run: Run):
    metrics = run(draw(name), name)
    for measure in MEASURES:
        row = metrics[measure]
        assert row["value"] == pytest.approx(
            row["floor"], abs=6 * row["floor_deviation"] + 0.01 * abs(row["floor"])
        ), measure
    assert ("modes" in metrics) == (name != "spirals")
    if "modes" in metrics:
        assert metrics["modes"]["hit"] == metrics["modes"]["count"]
    json.dumps(metrics, allow_nan=False)


def test_a_collapsed_generator_shows(run: Run):
    samples = draw("grid")
    samples = samples[np.linalg.norm(samples - samples[0], axis=1) < 0.2]
    metrics = run(samples, "grid")
    assert metrics["modes"]["hit"] == 1
    assert metrics["modes"]["smallest_share"] == 0
    assert metrics["good_share"]["value"] > 0.97
    assert metrics["reverse_kl"]["value"] == pytest.approx(math.log(25), abs=0.3)
    assert metrics["jensen_shannon"]["value"] > 0.5
    assert metrics["kl"]["value"] > 3
    assert metrics["wasserstein_1"]["value"] > 5 * metrics["wasserstein_1"]["floor"]


def test_a_generator_of_noise_shows(run: Run):
    noise = np.random.default_rng(0).normal(size=(4000, 2)).astype(np.float32)
    metrics = run(noise, "ring")
    assert metrics["good_share"]["value"] < 0.05
    assert metrics["modes"]["hit"] == 0
    assert metrics["reverse_kl"]["value"] > 100


def test_the_result_is_the_same_every_time_and_says_how_it_came_about(
    run: Run, prepared: dict[str, Prepared]
):
    samples = draw("line")
    assert run(samples, "line") == run(samples, "line")
    other = run(samples, "line", seed=1)
    assert other["wasserstein_1"] != run(samples, "line")["wasserstein_1"]
    assert other["jensen_shannon"]["value"] == run(samples, "line")["jensen_shannon"]["value"]
    protocol = other["protocol"]
    assert (protocol["samples"], protocol["toy"], protocol["seed"]) == (4000, "line", 1)
    assert protocol["data_checksum"] == prepared["line"].manifest.checksum
    assert protocol["mode_share"] == CONFIG.mode_share


def test_shares_of_modes():
    shares = mode_shares(draw("ring"), make_toy("ring"))
    assert shares["data"] == [1 / 8] * 8
    assert sum(shares["samples"]) == pytest.approx(0.989, abs=0.01)
    assert len(shares["samples"]) == 8


def test_shares_are_shown_where_there_are_several_groups(found: Callable[..., Evaluation]):
    result = found(draw("ring"), "ring")
    shares = mode_shares(draw("ring"), make_toy("ring"))
    assert {name: list(values) for name, values in result.shown.items()} == {
        "shares.samples": shares["samples"],
        "shares.data": shares["data"],
    }
    names = [f"mode {index}" for index in range(8)]
    assert result.tables == {"classes": {"class": names, **shares}}
    alone = found(draw("normal"), "normal")
    assert not alone.shown
    assert not alone.tables


def test_the_summary_names_modes_where_there_are_any(found: Callable[..., Evaluation]):
    result = found(draw("ring"), "ring")
    shannon = result.metrics["jensen_shannon"]
    assert result.summary == (
        f"Jensen–Shannon divergence {shannon['value']:.3f} (real against real "
        f"{shannon['floor']:.3f}), {result.metrics['good_share']['value']:.1%} good samples, "
        "8 of 8 modes"
    )
    assert "modes" not in found(draw("spirals"), "spirals").summary


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((5, 1), np.float32), r"samples are float32 \[5, 1\]: expected .* \[N, 2\]"),
        (np.zeros((5, 1, 2, 2), np.uint8), r"samples are uint8 \[5, 1, 2, 2\]"),
        (np.full((5, 2), np.nan, np.float32), "not finite"),
        (np.zeros((0, 2), np.float32), "samples are 0"),
    ],
)
def test_samples_that_cannot_be_judged_are_refused(samples: np.ndarray, message: str, run: Run):
    with pytest.raises(UserError, match=message):
        run(samples, "ring")


def test_neural_divergences_of_a_few_points_are_left_out_and_said(
    prepared: dict[str, Prepared], caplog
):
    config = CONFIG.model_copy(update={"neural_steps": 5})
    found = evaluate(
        draw("ring", 15), prepared["ring"], make_toy("ring"), config, seed=0, progress=False
    )
    why = "it takes 16 samples, and there are 15"
    assert found.metrics["left_out"] == {"neural_divergences": why}
    assert "neural_divergences" not in found.metrics
    assert caplog.messages == [f"the evaluation leaves out neural_divergences: {why}"]
    assert found.metrics["jensen_shannon"]["value"] > 0
