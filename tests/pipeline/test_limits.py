import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.config import Config, parse
from gan.errors import ConfigError, DataError
from pipeline import limits, paths, prepare
from tests.pipeline.stages import run

ROOT = Path(__file__).parents[2]


def photographs(folder: Path, classes: int, each: int) -> Path:
    """A few pictures, as someone has them who only wants to try."""
    rng = np.random.default_rng(0)
    for label in range(classes):
        below = folder / f"class {label}"
        below.mkdir(parents=True)
        for index in range(each):
            pixels = rng.integers(0, 120, (20, 30)) + 130 * (label % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(below / f"{index}.png")
    return folder


def few(path: Path, **sections: dict[str, object]) -> Config:
    values: dict[str, dict[str, object]] = {
        "data": {"name": "images", "path": str(path), "size": 8},
        "judge": {"images_seen": 300, "width": 4},
        "model": {"generator_width": 4, "discriminator_width": 4, "latent_size": 4},
        "train": {"steps": 3, "batch_size": 16, "sample_grid": 2},
        "sample": {"count": 250, "batch_size": 250},
    }
    together = {key: {**values.get(key, {}), **sections.get(key, {})} for key in values | sections}
    return parse(Config, together, "here")


@pytest.mark.parametrize("classes", [1, 3])
def test_thirty_images_go_all_the_way(workspace: Path, classes: int):
    outs = run(few(photographs(workspace / "photos", classes, 30 // classes)))
    manifest = json.loads(outs["data/prepared/manifest.json"])
    counts = {split: manifest["splits"][split]["count"] for split in ("train", "test")}
    assert sum(counts.values()) == 30
    assert counts["test"] < 10
    metrics = json.loads(outs["metrics/evaluate.json"])
    assert metrics["protocol"]["test_images"] == counts["test"]
    assert ("precision" in metrics) == (counts["test"] >= 6)
    assert {"fd", "kid", "memorisation"} <= set(metrics)
    assert "results/report/nearest.png" in outs


def test_what_is_refused_is_refused_by_prepare(workspace: Path):
    config = few(photographs(workspace / "photos", 1, 30), train={"batch_size": 64})
    with pytest.raises(ConfigError, match=r"train\.batch_size is 64, but there are only 30 images"):
        prepare.main(config)
    assert not list(workspace.glob("data/**/*.npy"))


def test_a_folder_that_is_misnamed_is_named(workspace: Path):
    photographs(workspace / "photos" / "train", 2, 10)
    photographs(workspace / "photos" / "test", 3, 10)
    with pytest.raises(DataError, match=r"without a single one to train with: class 2 \(10\)"):
        prepare.main(few(workspace / "photos"))
    assert not list(workspace.glob("data/**/*.npy"))


def test_later_stages_check_what_concerns_them(workspace: Path):
    config = few(photographs(workspace / "photos", 1, 30))
    prepare.main(config)
    count = json.loads((paths.PREPARED / "manifest.json").read_bytes())["splits"]["train"]["count"]
    changed = few(workspace / "photos", train={"batch_size": 30})
    with pytest.raises(ConfigError, match=rf"is 30, but there are only {count} images"):
        limits.check_stage(changed, "train")
    for stage in ("judge", "sample", "evaluate"):
        limits.check_stage(changed, stage)
    limits.check_stage(config, "train")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train", "sample", "evaluate"])
def test_they_do_so_before_they_begin(workspace: Path, stage: str):
    prepare.main(few(photographs(workspace / "photos", 1, 30)))
    parameters = {
        "train": {"batch_size": 30, "steps": 10**9},
        "sample": {"count": 10**9},
        "model": {"latent_size": 65536},
    }
    Path("params.yaml").write_text(json.dumps(parameters))
    done = subprocess.run(
        [sys.executable, "-m", f"pipeline.{stage}"],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    wanted = {
        "train": "error: the parameters ask for what cannot be:\n  train.batch_size is 30",
        "sample": "error: the parameters ask for what cannot be:\n  sample.count is 1000000000",
        "evaluate": "error: the parameters ask for what cannot be:\n  sample.count is 1000000000",
    }
    assert done.returncode == 2
    assert done.stderr.startswith(wanted[stage])
    assert "Traceback" not in done.stderr
