"""All stages of adversarial classification on a small labelled folder, without DVC around them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan.config import Config, parse
from gan.errors import ConfigError, DataError, UserError
from gan.generators.published import load_generator
from gan.preparation.prepare import prepare as prepare_data
from gan.symbols import ClassNames
from pipeline import evaluate, paths, prepare, sample, train
from tests.pipeline.stages import run

pytestmark = pytest.mark.slow


def configure(data: dict[str, Any] | None = None, **objective: Any) -> Config:
    values = {
        "data": {"name": "images", "path": "pictures", "size": 8, "channels": 3, **(data or {})},
        "judge": {"width": 4, "features": 8, "images_seen": 2000},
        "model": {"name": "classifier", "generator_width": 4, "discriminator_width": 4},
        "objective": {
            "generator": "boundary_seeking",
            "output": "log_ratio",
            "penalties": {"r1": 0.0},
            **objective,
        },
        "train": {
            "steps": 80, "batch_size": 16, "record_every": 20, "sample_every": 50,
            "sample_grid": 3, "generator_learning_rate": 1e-2,
            "discriminator_learning_rate": 1e-2, "ema_half_life": 500.0,
        },
        "sample": {"grid": 4},
        "runtime": {"device": "cpu", "workers": 0},
    }  # fmt: skip
    return parse(Config, values, "test")


@pytest.fixture(autouse=True)
def _sources(workspace: Path) -> None:
    draw("pictures", ("blue", "green", "red"))


def draw(folder: str, classes: tuple[str, ...]) -> None:
    """Noise of one colour, in a folder a class."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(classes):
        for index in range(60):
            pixels = rng.integers(0, 120, (8, 8, 3))
            pixels[..., channel] += 100
            path = Path(folder) / name / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_every_stage_runs_and_twice_to_the_same_bytes():
    outs = run(configure())
    classifier = load_generator(paths.GENERATOR)
    assert classifier.alphabet == ClassNames(("blue", "green", "red"))
    probabilities = np.load(paths.SAMPLES / "samples.npy")
    metrics = json.loads(paths.EVALUATE_METRICS.read_text())
    assert probabilities.shape == (metrics["protocol"]["test_images"], 3)
    with (paths.EVALUATION / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    wrong = sum(row["label"] != row["predicted"] for row in rows)
    assert metrics["error"]["value"] == pytest.approx(wrong / len(rows), abs=1e-5)
    # Colours are easy: the game alone teaches them.
    assert metrics["error"]["value"] < 0.1 < metrics["error"]["most_frequent_class"]
    assert metrics["error"]["judge"] < 0.1
    pictures = {name for name in outs if name.endswith(".png")}
    assert {Path(name).name for name in pictures} == {
        "confusion.png", "curves.png", "grid.png", "real.png",
        *(f"step-{step:09d}.png" for step in (0, 1, 2, 5, 10, 20, 50, 80)),
    }  # fmt: skip
    assert run(configure()) == outs


@pytest.mark.parametrize(
    "objective",
    [
        {"discriminator": "reverse_kl", "discrete": {"estimator": "reinforce"}},
        {
            "discriminator": "wasserstein",
            "generator": "wasserstein",
            "output": "nowozin",
            "weight_clip": 0.1,
            "discrete": {"estimator": "relaxed"},
            "allow_unsound": True,
        },
    ],
    ids=["reinforce", "critic"],
)
def test_other_games_run_too(objective: dict[str, Any]):
    outs = run(configure(**objective))
    assert str(paths.EVALUATE_METRICS) in outs


def test_images_without_labels_are_refused_by_prepare_and_by_training():
    for index, path in enumerate(sorted(Path("pictures").rglob("*.png"))):
        path.rename(f"pictures/{index:03d}.png")
    for folder in [path for path in Path("pictures").iterdir() if path.is_dir()]:
        folder.rmdir()
    with pytest.raises(
        ConfigError, match=r"classifier, but the images are of no classes: expected 2"
    ):
        prepare.main(configure())
    prepare_data(configure().data, paths.PREPARED, progress=False)
    with pytest.raises(DataError, match=r"images without labels.*expected a labelled source"):
        train.main(configure())
    assert not paths.GENERATOR.exists()


def test_a_classifier_of_other_classes_is_refused():
    run(configure())
    draw("others", ("bird", "cat", "dog"))
    other = configure({"path": "others"})
    prepare.main(other)
    with pytest.raises(DataError, match="other classes than"):
        sample.main(other)


def test_predictions_of_another_number_of_classes_are_refused():
    run(configure())
    np.save(paths.SAMPLES / "samples.npy", np.zeros((10, 3), np.float32))
    with pytest.raises(UserError, match=r"predictions are float32.*run sample again"):
        evaluate.main(configure())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "toy"}, r"model.name is classifier, but data.name toy has points: expected mlp"),
        ({"name": "topics"}, r"but data.name topics has text: expected text"),
        ({"name": "digits", "channels": 1, "levels": 2}, r"data.levels is 2, but model.name class"),
        ({"palette": 16}, r"data.palette is 16, but model.name classifier.*expected palette 0"),
    ],
)
def test_data_that_have_no_labelled_images_are_refused(data: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        configure(data)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"penalties": {"r1": 1.0}}, r"penalties.r1 is 1.0.*input is labels.*expected r1 0"),
        (
            {
                "discrete": {"estimator": "relaxed"},
                "penalties": {"gradient_penalty": 1.0, "r1": 0.0},
            },
            r"gradient_penalty is 1.0.*input is labels",
        ),
        ({"generator": "non_saturating"}, r"estimator is importance.*expected generator boundary"),
        ({"discrete": {"samples": 1}}, r"samples is 1"),
        ({"centred": True}, r"objective.centred is true"),
    ],
)
def test_games_that_labels_do_not_have_are_refused(objective: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        configure(**objective)
