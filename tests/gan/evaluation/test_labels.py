"""Predictions against labels: every number by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gan.config import EvaluateConfig, JudgeConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import UserError
from gan.evaluation import Evaluation
from gan.evaluation.labels import evaluate
from gan.judges.images import Judge, fit_judge
from gan.preparation.writer import PreparedWriter

NAMES = ["dark", "bright", "never seen in the test"]
TEST_LABELS = [0, 1, 1, 0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return write(tmp_path_factory.mktemp("data") / "d", 0)


def write(folder: Path, seed: int) -> Prepared:
    rng = np.random.default_rng(seed)
    with PreparedWriter(folder, source="test", shape=(1, 8, 8), label_names=NAMES) as writer:
        for split, labels in (("train", [0, 1, 2, 1] * 30), ("test", TEST_LABELS)):
            level = np.array(labels)[:, None, None, None] * 100
            images = level + rng.integers(0, 20, (len(labels), 1, 8, 8))
            writer.append(split, images.astype(np.uint8), np.array(labels))
    return open_prepared(folder)


def judge_of(data: Prepared) -> Judge:
    config = JudgeConfig(width=4, features=8, images_seen=4000, learning_rate=1e-2)
    return fit_judge(data, config, device=torch.device("cpu"), progress=False)[0]


@pytest.fixture(scope="module")
def judge(data: Prepared) -> Judge:
    return judge_of(data)


def run(probabilities: np.ndarray, data: Prepared, judge: Judge) -> Evaluation:
    return evaluate(probabilities, data, judge, EvaluateConfig(), seed=0, progress=False)


def test_every_number_by_hand(data: Prepared, judge: Judge):
    probabilities = np.array([[1, 0, 0], [0.25, 0.5, 0.25], [0.75, 0.25, 0], [0, 0, 1]], np.float32)
    found = run(probabilities, data, judge)
    assert found.shown["confusion"].tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]
    metrics = found.metrics
    # The training split has class 1 most often: wrong on the two dark ones.
    assert metrics["error"] == {"value": 0.5, "judge": 0.0, "most_frequent_class": 0.5}
    # The last label was impossible: the smallest normal fp32 stands for its probability.
    losses = [0, math.log(2), math.log(4), -math.log(np.finfo(np.float32).tiny)]
    assert metrics["log_loss"] == pytest.approx(sum(losses) / 4, rel=1e-5)
    entropies = [0, 1.5 * math.log(2), 0.75 * math.log(4 / 3) + 0.25 * math.log(4), 0]
    assert metrics["entropy"] == pytest.approx(sum(entropies) / 4, rel=1e-5)
    assert metrics["classes"] == {"dark": 0.5, "bright": 0.5, "never seen in the test": None}
    assert metrics["protocol"]["test_images"] == 4
    assert metrics["protocol"]["judge_checksum"] == judge.checksum
    assert found.summary.startswith("50.00% of the test images wrong (judge 0.00%")


def test_the_table_has_a_line_an_image(data: Prepared, judge: Judge):
    probabilities = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5], [0, 1, 0], [1, 0, 0]], np.float32)
    (table,) = run(probabilities, data, judge).tables.values()
    assert {name: list(column) for name, column in table.items()} == {
        "image": [0, 1, 2, 3],
        "label": ["dark", "bright", "bright", "dark"],
        "predicted": ["dark", "never seen in the test", "bright", "dark"],
        "probability": ["0.7000", "0.5000", "1.0000", "1.0000"],
    }


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.full((3, 3), 1 / 3, np.float32), r"float32 \[3, 3\].*float32 \[4, 3\]"),
        (np.full((4, 2), 1 / 2, np.float32), r"3 classes for 4 test images"),
        (np.zeros((4, 1, 8, 8), np.uint8), "are uint8.*run sample again"),
        (np.full((4, 3), 0.5, np.float32), "add up to 1"),
        (np.full((4, 3), np.nan, np.float32), "add up to 1"),
        (np.array([[1.5, -0.5, 0]] * 4, np.float32), "add up to 1"),
    ],
)
def test_what_are_no_predictions_of_these_images_is_refused(
    data: Prepared, judge: Judge, probabilities: np.ndarray, message: str
):
    with pytest.raises(UserError, match=message):
        run(probabilities, data, judge)


def test_the_judge_of_other_data_is_refused(judge: Judge, tmp_path: Path):
    other = write(tmp_path / "other", 1)
    with pytest.raises(UserError, match="run judge again"):
        run(np.full((4, 3), 1 / 3, np.float32), other, judge)
