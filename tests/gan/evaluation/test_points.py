import json
import math

import numpy as np
import pytest
import torch

from gan.config import EvaluateConfig
from gan.errors import UserError
from gan.evaluation.points import evaluate_points, mode_shares
from gan.toys import make_toy

CONFIG = EvaluateConfig()
MEASURES = ("jensen_shannon", "kl", "reverse_kl", "wasserstein_1", "good_share")


def draw(name: str, count: int = 4000, seed: int = 77) -> np.ndarray:
    points, _ = make_toy(name).sample(count, torch.Generator().manual_seed(seed))
    return points.float().numpy()


def run(samples: np.ndarray, name: str, seed: int = 0) -> dict:
    return evaluate_points(samples, make_toy(name), CONFIG, seed=seed, data_checksum="abc")


@pytest.mark.parametrize("name", ["normal", "line", "ring", "grid", "spirals"])
def test_the_data_themselves_reach_the_floor(name: str):
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


def test_a_collapsed_generator_shows():
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


def test_a_generator_of_noise_shows():
    noise = np.random.default_rng(0).normal(size=(4000, 2)).astype(np.float32)
    metrics = run(noise, "ring")
    assert metrics["good_share"]["value"] < 0.05
    assert metrics["modes"]["hit"] == 0
    assert metrics["reverse_kl"]["value"] > 100


def test_the_result_is_the_same_every_time_and_says_how_it_came_about():
    samples = draw("line")
    assert run(samples, "line") == run(samples, "line")
    other = run(samples, "line", seed=1)
    assert other["wasserstein_1"] != run(samples, "line")["wasserstein_1"]
    assert other["jensen_shannon"]["value"] == run(samples, "line")["jensen_shannon"]["value"]
    protocol = other["protocol"]
    assert (protocol["samples"], protocol["toy"], protocol["seed"]) == (4000, "line", 1)
    assert (protocol["data_checksum"], protocol["mode_share"]) == ("abc", CONFIG.mode_share)


def test_shares_of_modes():
    shares = mode_shares(draw("ring"), make_toy("ring"))
    assert shares["data"] == [1 / 8] * 8
    assert sum(shares["samples"]) == pytest.approx(0.989, abs=0.01)
    assert len(shares["samples"]) == 8


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((5, 1), np.float32), r"samples are float32 \[5, 1\]: expected .* \[N, 2\]"),
        (np.zeros((5, 1, 2, 2), np.uint8), r"samples are uint8 \[5, 1, 2, 2\]"),
        (np.full((5, 2), np.nan, np.float32), "not finite"),
        (np.zeros((0, 2), np.float32), "samples are 0"),
    ],
)
def test_samples_that_cannot_be_judged_are_refused(samples: np.ndarray, message: str):
    with pytest.raises(UserError, match=message):
        run(samples, "ring")
