"""All stages on symbols, without DVC around them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan.config import Config, parse
from gan.errors import StateError
from gan.generators.published import load_generator
from gan.generators.samples_file import write_samples
from gan.symbols import Characters, Colours
from pipeline import evaluate, judge, paths, prepare
from tests.pipeline.stages import run

pytestmark = pytest.mark.slow

IMAGES: dict[str, Any] = {
    "model": {"latent_size": 4, "generator_width": 4, "discriminator_width": 4},
    "judge": {"width": 4, "features": 8, "images_seen": 500},
}
TEXT: dict[str, Any] = {
    "model": {
        "name": "text", "latent_size": 4, "generator_width": 8, "discriminator_width": 8, "depth": 1
    }
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "binary": {"data": {"size": 8, "levels": 2}, **IMAGES},
    "levels": {"data": {"size": 8, "levels": 17}, **IMAGES},
    "palette": {
        "data": {"name": "images", "path": "pictures", "size": 8, "channels": 3, "palette": 5},
        **IMAGES,
    },
    "lines": {"data": {"name": "text", "path": "book.txt", "length": 12}, **TEXT},
    "chinese": {
        "data": {"name": "text", "path": "chinese.txt", "length": 12, "alphabet": 700},
        **TEXT,
    },
    "sliding": {
        "data": {"name": "text", "path": "book.txt", "length": 12, "windows": "sliding"},
        **TEXT,
    },
}


def configure(kind: str, **of_training: Any) -> Config:
    values = {
        **KINDS[kind],
        "objective": {
            "generator": "boundary_seeking",
            "penalties": {"r1": 0.0},
            "discrete": {"samples": 3},
        },
        "train": {
            "steps": 5, "batch_size": 16, "sample_every": 3, "sample_grid": 3, **of_training
        },
        "sample": {"count": 250, "grid": 4, "interpolations": 2, "interpolation_steps": 3},
        "runtime": {"device": "cpu", "workers": 0},
    }  # fmt: skip
    return parse(Config, values, "test")


@pytest.fixture(autouse=True)
def _sources(workspace: Path) -> None:
    rng = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta"]
    texts = (" ".join(rng.choice(words, 6)) for _ in range(2000))
    Path("book.txt").write_text("\n".join(texts))
    codes = 0x4E00 + rng.zipf(1.2, (1500, 14)).clip(max=900)
    Path("chinese.txt").write_text("\n".join("".join(map(chr, line)) for line in codes))
    for index in range(150):
        path = Path("pictures") / f"{index:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("kind", "channels", "colours"), [("binary", 1, 2), ("levels", 1, 17), ("palette", 3, 5)]
)
def test_every_stage_runs_on_images_of_symbols(kind: str, channels: int, colours: int):
    outs = run(configure(kind))
    # Decoded, so that whoever reads them needs no alphabet.
    samples = np.load(paths.SAMPLES / "samples.npy")
    assert (samples.dtype, samples.shape) == (np.uint8, (250, channels, 8, 8))
    alphabet = load_generator(paths.GENERATOR).alphabet
    assert isinstance(alphabet, Colours)
    assert alphabet.size == colours
    found = {tuple(pixel) for pixel in np.moveaxis(samples, 1, -1).reshape(-1, channels).tolist()}
    assert found <= set(alphabet.values)
    assert len(found) > 1
    pictures = {Path(name).name for name in outs if name.endswith(".png")}
    assert pictures == {
        "curves.png", "grid.png", "interpolation.png", "nearest.png", "real.png",
        *(f"step-{step:09d}.png" for step in (0, 1, 2, 3, 5)),
        *([] if kind == "palette" else ["classes.png"]),
    }  # fmt: skip
    metrics = json.loads(paths.EVALUATE_METRICS.read_text())
    assert {"fd", "precision", "memorisation"} <= set(metrics)
    header = (paths.TRAINING / "history.csv").read_text().splitlines()[0].split(",")
    assert header[-4:] == [
        "effective_sample_size", "log_z", "log_weight_variance", "generator_entropy"
    ]  # fmt: skip
    last = json.loads(paths.TRAIN_METRICS.read_text())["last"]
    assert 1 <= last["effective_sample_size"] <= 3


@pytest.mark.parametrize("kind", ["lines", "sliding", "chinese"])
def test_every_stage_runs_on_texts_and_twice_to_the_same_bytes(kind: str):
    outs = run(configure(kind))
    samples = np.load(paths.SAMPLES / "samples.npy")
    dtype = np.uint16 if kind == "chinese" else np.uint8
    assert (samples.dtype, samples.shape) == (dtype, (250, 12))
    alphabet = load_generator(paths.GENERATOR).alphabet
    assert isinstance(alphabet, Characters)
    texts = (paths.SAMPLES / "samples.txt").read_text().split("\n")
    assert texts.pop() == ""
    assert [text.replace("↵", "\n") for text in texts] == alphabet.decode(samples)
    pictures = {name for name in outs if name.endswith(".png")}
    assert {Path(name).name for name in pictures} == {
        "curves.png", "grid.png", "interpolation.png", "ngrams.png", "real.png",
        *(f"step-{step:09d}.png" for step in (0, 1, 2, 3, 5)),
    }  # fmt: skip
    assert all(Image.open(name).width > 300 for name in pictures)
    metrics = json.loads(paths.EVALUATE_METRICS.read_text())
    assert set(metrics) == {"jensen_shannon", "words", "distinct", "memorisation", "protocol"}
    assert metrics["jensen_shannon"]["4"]["value"] > metrics["jensen_shannon"]["4"]["floor"]
    assert json.loads(paths.JUDGE_METRICS.read_text())["kind"] == "n-grams"
    assert run(configure(kind)) == outs


def test_the_judge_of_other_texts_is_refused():
    run(configure("lines"))
    prepare.main(configure("sliding"))
    with pytest.raises(StateError, match="run judge again"):
        evaluate.main(configure("sliding"))


def test_the_judge_of_images_is_refused_for_texts():
    config = configure("binary")
    prepare.main(config)
    judge.main(config)
    prepare.main(configure("lines"))
    symbols = np.zeros((20, 12), np.uint8)
    write_samples(paths.SAMPLES, "text", symbols.shape, [symbols])
    with pytest.raises(StateError, match="found the kind 'classifier', expected 'n-grams'"):
        evaluate.main(configure("lines"))
