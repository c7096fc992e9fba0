import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gan.config import EvaluateConfig, JudgeConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import UserError
from gan.evaluation import Evaluation
from gan.evaluation.images import evaluate
from gan.judges.images import Judge, fit_judge
from gan.metrics.frechet_distance import frechet_distance
from gan.metrics.moments import moments
from gan.metrics.precision_recall import precision_recall
from gan.preparation.writer import PreparedWriter

CONFIG = EvaluateConfig(neighbours=3, kid_subsets=10, kid_subset_size=50, inception_splits=4)
COUNTS = {"train": 300, "test": 80}


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright band whose place tells the class, one of three; and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.normal(60, 15, (count, 1, 8, 8))
    for image, label in zip(images, labels, strict=True):
        image[:, 3 * label : 3 * label + 2] += 120
    return images.clip(0, 255).astype(np.uint8), labels


def write(folder: Path, *, labelled: bool) -> Prepared:
    names = ["top", "middle", "bottom"] if labelled else None
    with PreparedWriter(folder, source="idx", shape=(1, 8, 8), label_names=names) as writer:
        for seed, (split, count) in enumerate(COUNTS.items()):
            images, labels = draw(count, seed)
            writer.append(split, images, labels if labelled else None)
    return open_prepared(folder)


Judged = tuple[Prepared, Judge]


def judged(folder: Path, *, labelled: bool) -> Judged:
    prepared = write(folder, labelled=labelled)
    config = JudgeConfig(width=8, features=8, images_seen=5000, batch_size=50, learning_rate=0.02)
    return prepared, fit_judge(prepared, config, device=torch.device("cpu"), progress=False)[0]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return judged(tmp_path_factory.mktemp("labelled"), labelled=True)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return judged(tmp_path_factory.mktemp("unlabelled"), labelled=False)


def run(samples: np.ndarray, judged: Judged, config: EvaluateConfig = CONFIG) -> Evaluation:
    return evaluate(samples, *judged, config, seed=0, progress=False)


@pytest.fixture(scope="module")
def honest(labelled: Judged) -> Evaluation:
    return run(draw(400, 7)[0], labelled)


def test_samples_of_the_same_distribution_reach_the_floor(honest: Evaluation):
    metrics = honest.metrics
    assert 0.4 < metrics["fd"]["ratio_to_floor"] < 2.5
    assert metrics["fd"]["infinity"] < metrics["fd"]["value"] < metrics["fd"]["at_floor_count"]
    assert abs(metrics["kid"]["value"]) < 3 * metrics["kid"]["deviation"] + 0.05
    for name in ("precision", "recall", "density", "coverage"):
        row = metrics[name]
        assert row["at_floor_count"] == pytest.approx(row["floor"], abs=0.15)
    assert metrics["precision"]["value"] > 0.85
    assert metrics["recall"]["value"] > 0.85
    assert 2.5 < metrics["inception_score"]["value"] <= 3
    assert metrics["inception_score"]["floor"] == pytest.approx(
        metrics["inception_score"]["value"], rel=0.1
    )
    assert metrics["classes"]["covered"] == metrics["classes"]["count"] == 3
    assert metrics["classes"]["kl_to_training"] < 0.02
    found = metrics["memorisation"]
    assert found["share_below_held_out_median"] == pytest.approx(0.5, abs=0.2)
    excess = found["share_nearer_to_training"] - found["share_nearer_to_training_expected"]
    assert abs(excess) < 4 * found["share_nearer_to_training_deviation"]
    assert found["copies"] == 0


def test_the_numbers_are_those_of_the_metrics(labelled: Judged):
    prepared, judge = labelled
    samples = draw(300, 7)[0]
    metrics = run(samples, labelled).metrics
    of_samples = judge.features(samples)
    of_train, of_test = (judge.features(prepared.images(split)) for split in ("train", "test"))
    fd = frechet_distance(moments(of_train), moments(of_samples))
    assert metrics["fd"]["value"] == pytest.approx(fd, rel=1e-4)
    floor = frechet_distance(moments(of_train), moments(of_test))
    assert metrics["fd"]["floor"] == pytest.approx(floor, rel=1e-4)
    assert metrics["fd"]["ratio_to_floor"] == pytest.approx(
        metrics["fd"]["at_floor_count"] / metrics["fd"]["floor"], rel=1e-4
    )
    chunks = [
        frechet_distance(moments(of_train), moments(of_samples[start : start + 80]))
        for start in (0, 80, 160)
    ]
    assert metrics["fd"]["at_floor_count"] == pytest.approx(np.mean(chunks), rel=1e-4)
    # Both sides have 300 images, so no subset is drawn.
    balls = precision_recall(of_train, of_samples, 3)
    floor_balls = precision_recall(of_train, of_test, 3)
    for name in ("precision", "recall", "density", "coverage"):
        assert metrics[name]["value"] == pytest.approx(getattr(balls, name), rel=1e-5)
        assert metrics[name]["floor"] == pytest.approx(getattr(floor_balls, name), rel=1e-5)


def test_a_collapsed_generator_shows(labelled: Judged):
    images, labels = draw(900, 7)
    metrics = run(images[labels == 1], labelled).metrics
    assert metrics["classes"]["covered"] == 1
    assert metrics["classes"]["share"]["middle"] > 0.9
    assert metrics["classes"]["smallest_share"] == 0
    assert metrics["recall"]["value"] < 0.5 < metrics["precision"]["value"]
    assert metrics["fd"]["ratio_to_floor"] > 5
    assert metrics["inception_score"]["value"] < 1.5


def test_a_generator_that_copies_shows(labelled: Judged):
    train = np.array(labelled[0].images("train"))
    found = run(train[np.random.default_rng(0).permutation(300)], labelled)
    memory = found.metrics["memorisation"]
    assert memory["copies"] == 1
    assert memory["share_below_held_out_5th_percentile"] == 1
    assert memory["share_nearer_to_training"] == 1
    # It covers everything, so the other metrics are delighted.
    assert found.metrics["recall"]["value"] == 1
    assert (found.shown["nearest.distances"][:, 0] == 0).all()
    assert found.shown["nearest.indices"].shape == (10, 3)


def values(metrics: dict) -> Iterator[object]:
    for value in metrics.values():
        if isinstance(value, dict):
            yield from values(value)
        else:
            yield value


def test_the_result_is_json_with_its_protocol(honest: Evaluation, labelled: Judged):
    json.dumps(honest.metrics, allow_nan=False)
    assert all(isinstance(value, (int, float, str)) for value in values(honest.metrics))
    protocol = honest.metrics["protocol"]
    assert protocol["samples"] == 400
    assert protocol["training_images"] == protocol["precision_count"] == 300
    assert protocol["test_images"] == protocol["floor_count"] == 80
    assert (protocol["neighbours"], protocol["seed"], protocol["format"]) == (3, 0, 1)
    assert protocol["extractor"] == "judge, classifier"
    assert protocol["extractor_checksum"] == labelled[1].checksum
    assert protocol["data_checksum"] == labelled[0].manifest.checksum
    assert list(honest.metrics["classes"]["share"].values()) == pytest.approx(
        honest.shown["shares.samples"], rel=1e-5
    )
    assert honest.shown["shares.training"] == pytest.approx([1 / 3] * 3, abs=0.1)
    assert honest.tables["classes"] == {
        "class": ["top", "middle", "bottom"],
        "samples": honest.shown["shares.samples"].tolist(),
        "training": honest.shown["shares.training"].tolist(),
    }


def test_the_summary_names_what_one_looks_at_first(honest: Evaluation, unlabelled: Judged):
    fd = honest.metrics["fd"]
    expected = f"Fréchet distance {fd['value']:.2f} (real against real {fd['floor']:.2f}), "
    assert honest.summary.startswith(expected)
    assert "3 of 3 classes (" in honest.summary
    assert "classes" not in run(draw(200, 7)[0], unlabelled).summary


def test_the_same_input_gives_the_same_result(honest: Evaluation, labelled: Judged):
    again = run(draw(400, 7)[0], labelled)
    assert again.metrics == honest.metrics
    other = evaluate(draw(400, 7)[0], *labelled, CONFIG, seed=1, progress=False)
    assert other.metrics["kid"] != honest.metrics["kid"]
    assert other.metrics["fd"]["value"] == honest.metrics["fd"]["value"]


def test_without_labels_there_is_nothing_about_classes(unlabelled: Judged):
    found = run(draw(200, 7)[0], unlabelled)
    assert not {"classes", "inception_score"} & set(found.metrics)
    assert set(found.shown) == {"nearest.indices", "nearest.distances"}
    assert not found.tables
    assert found.metrics["protocol"]["extractor"] == "judge, autoencoder"
    assert found.metrics["protocol"]["mode_share"] is None
    json.dumps(found.metrics, allow_nan=False)


def test_fewer_samples_than_test_images_are_compared_at_their_own_count(labelled: Judged):
    metrics = run(draw(25, 7)[0], labelled).metrics
    assert metrics["protocol"]["floor_count"] == metrics["protocol"]["kid_subset_size"] == 25
    assert metrics["fd"]["at_floor_count"] == pytest.approx(metrics["fd"]["value"], rel=1e-5)
    assert metrics["protocol"]["precision_floor_count"] == 25


def test_a_large_training_split_is_only_partly_kept(labelled: Judged):
    config = CONFIG.model_copy(update={"precision_images": 200})
    metrics = run(draw(400, 7)[0], labelled, config).metrics
    assert metrics["protocol"]["precision_count"] == 200
    # Moments are still of all of it, in blocks.
    assert metrics["fd"] == run(draw(400, 7)[0], labelled).metrics["fd"]


def test_blocks_of_the_stream_do_not_matter(labelled: Judged, honest: Evaluation, monkeypatch):
    monkeypatch.setattr("gan.evaluation.features.BLOCK", 37)
    found = run(draw(400, 7)[0], labelled).metrics
    assert found["fd"]["value"] == pytest.approx(honest.metrics["fd"]["value"], rel=1e-4)
    assert found["precision"]["value"] == pytest.approx(
        honest.metrics["precision"]["value"], abs=0.02
    )


def test_the_judge_of_other_data_is_refused(labelled: Judged, unlabelled: Judged):
    with pytest.raises(UserError, match="run judge again"):
        run(draw(100, 7)[0], (labelled[0], unlabelled[1]))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (draw(0, 7)[0], "there are no samples: an evaluation needs some"),
        (draw(50, 7)[0][:, :, :7], "judge was fitted on"),
        (draw(50, 7)[0].astype(np.float32), "judge was fitted on"),
    ],
    ids=["few", "shape", "dtype"],
)
def test_samples_that_cannot_be_judged_are_refused(labelled: Judged, samples, message: str):
    with pytest.raises(UserError, match=message):
        run(samples, labelled)


def test_what_so_few_images_do_not_allow_is_left_out_and_said(
    labelled: Judged, honest: Evaluation, caplog
):
    config = CONFIG.model_copy(update={"neighbours": 90, "neural_steps": 10, "neural_seeds": 1})
    found = run(draw(400, 7)[0], labelled, config)
    why = "it takes 91 held-out images, and there are 80"
    balls = ("precision", "recall", "density", "coverage")
    assert found.metrics["left_out"] == dict.fromkeys(balls, why)
    assert not set(balls) & set(found.metrics)
    assert caplog.messages == [f"the evaluation leaves out {', '.join(balls)}: {why}"]
    for name in ("fd", "kid", "inception_score", "memorisation"):
        assert found.metrics[name] == honest.metrics[name]
    assert set(found.metrics["neural_divergences"]) == {
        "jensen_shannon", "reverse_kl", "wasserstein",
    }  # fmt: skip
    assert ", no precision, no recall, 3 of 3 classes" in found.summary
    assert "left_out" not in honest.metrics


@pytest.mark.parametrize(
    ("samples", "left_out"),
    [
        (19, {"fd.infinity": "it takes 20 samples, and there are 19"}),
        (
            3,
            {
                "fd.infinity": "it takes 20 samples, and there are 3",
                **dict.fromkeys(
                    ("precision", "recall", "density", "coverage"),
                    "it takes 4 samples, and there are 3",
                ),
                "inception_score": "it takes 4 samples, and there are 3",
            },
        ),
    ],
)
def test_few_samples_are_measured_as_far_as_they_reach(
    labelled: Judged, samples: int, left_out: dict[str, str]
):
    metrics = run(draw(samples, 7)[0], labelled).metrics
    assert metrics["left_out"] == left_out
    assert metrics["fd"]["infinity"] is None
    assert metrics["fd"]["value"] > 0
    assert metrics["classes"]["count"] == 3
    assert ("precision" in metrics) == (samples == 19)
    json.dumps(metrics, allow_nan=False)


@pytest.mark.parametrize("test", [1, 2, 5])
def test_hardly_any_held_out_images(tmp_path: Path, test: int):
    with PreparedWriter(tmp_path, source="idx", shape=(1, 8, 8)) as writer:
        writer.append("train", draw(12, 0)[0])
        writer.append("test", draw(test, 1)[0])
    prepared = open_prepared(tmp_path)
    config = JudgeConfig(width=4, features=8, images_seen=50)
    judge = fit_judge(prepared, config, device=torch.device("cpu"), progress=False)[0]
    found = run(draw(30, 7)[0], (prepared, judge), CONFIG.model_copy(update={"neural_steps": 5}))
    few = "and there is 1" if test == 1 else f"and there are {test}"
    expected = {"neural_divergences": f"it takes 16 held-out images, {few}"}
    if test < 4:
        balls = ("precision", "recall", "density", "coverage")
        expected |= dict.fromkeys(balls, f"it takes 4 held-out images, {few}")
    if test < 2:
        expected |= dict.fromkeys(("fd", "kid"), f"it takes 2 held-out images, {few}")
        assert found.summary.startswith("no Fréchet distance")
    assert found.metrics["left_out"] == expected
    assert found.metrics["memorisation"]["copies"] == 0
    json.dumps(found.metrics, allow_nan=False)


def test_a_poor_judge_is_named(tmp_path: Path, caplog):
    prepared = write(tmp_path, labelled=True)
    config = JudgeConfig(width=4, features=8, images_seen=10, learning_rate=1e-6)
    judge = fit_judge(prepared, config, device=torch.device("cpu"), progress=False)[0]
    metrics = run(draw(30, 7)[0], (prepared, judge)).metrics
    assert metrics["poor_judge"].startswith("the judge is poor: it names the class of ")
    assert metrics["poor_judge"] in caplog.messages


def test_a_good_judge_needs_no_word(honest: Evaluation):
    assert "poor_judge" not in honest.metrics
