"""Experiments away from the checkout, a remote, and plots, under DVC itself."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from benchmarks.kill_and_resume import Workspace
from gan import figures
from gan.config import Config, parse
from gan.errors import TrainingError
from pipeline import evaluate, paths, report
from tests.pipeline.stages import run

# The tests share workspaces: with several workers `--dist loadfile` keeps them on one.
pytestmark = pytest.mark.slow

SETTINGS = (
    "data.name=images",
    "data.path=data/raw/photos",
    "data.channels=3",
    "judge.width=4",
    "judge.features=8",
    "judge.images_seen=200",
    "model.latent_size=4",
    "model.generator_width=4",
    "model.discriminator_width=4",
    "train.steps=6",
    "train.batch_size=16",
    "train.record_every=3",
    "train.sample_every=3",
    "train.sample_grid=2",
    "sample.count=200",
    "sample.grid=4",
    "sample.interpolations=2",
    "sample.interpolation_steps=4",
    "evaluate.neighbours=3",
    "evaluate.precision_images=200",
    "evaluate.kid_subsets=2",
    "evaluate.kid_subset_size=20",
    "evaluate.inception_splits=2",
    "evaluate.memorisation_images=20",
    "evaluate.nearest=4",
    "runtime.device=cpu",
    "runtime.workers=0",
)
COUNT = 3 * 60
ODD = "data/raw/my photos #2, $5_$10"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A checkout with settings for photos that are not there yet."""
    return Workspace.create(tmp_path / "w", SETTINGS, threads=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """All stages done, away from the checkout, and committed, on photos that DVC tracks."""
    workspace = Workspace.create(tmp_path_factory.mktemp("finished") / "w", SETTINGS, threads=1)
    draw(workspace.folder / "data/raw/photos")
    workspace.dvc("add", "data/raw/photos")
    workspace.commit()
    workspace.dvc("exp", "run", "--temp", "--name", "away")
    workspace.dvc("exp", "apply", "away")
    workspace.commit()
    return workspace


def draw(folder: Path, count: int = COUNT) -> None:
    """Noise of one colour, in a folder a class."""
    rng = np.random.default_rng(0)
    for index in range(count):
        channel = index % 3
        pixels = rng.integers(0, 120, (16, 16, 3))
        pixels[..., channel] += 100
        path = folder / ("red", "green", "blue")[channel] / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def ran(output: str) -> list[str]:
    """The stages that DVC executed."""
    return [
        line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")
    ]


def ref(workspace: Workspace, name: str) -> str:
    """Where Git has the experiment."""
    listed = workspace.git("for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    (found,) = [each for each in listed if each.endswith(f"/{name}")]
    return found


def of_experiment(workspace: Workspace, name: str, file: str) -> str:
    """A file as the experiment has it."""
    return workspace.git("show", f"{ref(workspace, name)}:{file}")


def locked(text: str, stage: str, path: str) -> dict[str, Any]:
    """What `dvc.lock` says of an out or a dependency."""
    entry = YAML(typ="safe").load(text)["stages"][stage]
    (found,) = [each for each in [*entry["deps"], *entry["outs"]] if each["path"] == path]
    return dict(found)


@pytest.mark.parametrize("path", ["data/raw/photos", "data/raw", "../album", ODD])
def test_data_that_git_does_not_have_are_found_in_a_copy(workspace: Workspace, path: str):
    folder = workspace.folder / path
    draw(folder)
    # Quoted for the grammar of DVC's overrides, and several at once.
    settings = ("-S", f"data.path='{path}'", "-S", "data.test_fraction=0.3", "-S", "seed=3")
    said = workspace.dvc("exp", "run", "--temp", "--name", "one", *settings, "prepare")
    assert sorted(ran(said)[:2]) == ["code", "source"]
    assert ran(said)[2:] == ["prepare"]
    lock = of_experiment(workspace, "one", "dvc.lock")
    # The data, and the README of `data/raw`, which is no image.
    assert locked(lock, "prepare", path)["nfiles"] == COUNT + (path == "data/raw")
    assert YAML(typ="safe").load(of_experiment(workspace, "one", "params.yaml"))["seed"] == 3

    # The key is that of the checkout: nothing is prepared again there.
    workspace.git("checkout", "--quiet", ref(workspace, "one"), "--", "dvc.lock", "params.yaml")
    assert ran(workspace.dvc("repro", "prepare")) == ["source"]
    manifest = json.loads((workspace.folder / paths.PREPARED / "manifest.json").read_text())
    assert sum(split["count"] for split in manifest["splits"].values()) == COUNT

    # And data that changed are seen in a copy, too.
    next(folder.glob("red/*.png")).unlink()
    said = workspace.dvc("exp", "run", "--temp", "--name", "two", "prepare")
    assert ran(said) == ["source", "prepare"]
    lock = of_experiment(workspace, "two", "dvc.lock")
    assert locked(lock, "prepare", path)["nfiles"] == COUNT + (path == "data/raw") - 1
    # Removed with the copy were links, not what they lead to.
    assert sum(1 for _ in folder.rglob("*.png")) == COUNT - 1


def test_data_that_are_nowhere_are_named(workspace: Workspace):
    status, said = workspace.try_dvc("exp", "run", "-S", "data.path=data/raw/nothing", "prepare")
    assert status != 0
    assert "error: data.path data/raw/nothing does not exist: expected a folder" in said
    assert "exited with 2" in said
    assert "Traceback" not in said


def test_an_experiment_elsewhere_is_the_run_that_the_checkout_would_have_made(finished: Workspace):
    assert finished.git("status", "--porcelain") == ""
    assert ran(finished.dvc("repro")) == ["source"]
    assert ran(finished.dvc("repro")) == []
    assert finished.dvc("status").strip() == "Data and pipelines are up to date."
    metrics = json.loads((finished.folder / paths.EVALUATE_METRICS).read_text())
    assert metrics["protocol"]["samples"] == 200


def test_dvc_tracks_raw_data(finished: Workspace):
    tracked = set(finished.git("ls-files", "data").split())
    assert tracked == {"data/raw/README.md", "data/raw/photos.dvc"}


def test_two_jobs_of_a_queue_at_once(finished: Workspace, tmp_path: Path):
    own = finished.copy(tmp_path / "w")
    before = own.digests()
    # Of one seed they would share a state, which one trainer at a time has.
    for seed, (name, steps) in enumerate((("shorter", 4), ("longer", 8)), 1):
        settings = ("-S", f"train.steps={steps}", "-S", f"seed={seed}")
        own.dvc("exp", "run", "--queue", "--name", name, *settings, "train")
    # DVC's own copy is what a job has: that of the moment when it was queued.
    next((own.folder / "data/raw/photos").rglob("*.png")).unlink()
    own.dvc("exp", "run", "--run-all", "--jobs", "2")
    for name, steps in (("shorter", 4), ("longer", 8)):
        metrics = json.loads(of_experiment(own, name, str(paths.TRAIN_METRICS)))
        assert metrics["steps"] == steps
        lock = of_experiment(own, name, "dvc.lock")
        assert locked(lock, "prepare", "data/raw/photos")["nfiles"] == COUNT
    assert own.digests() == before  # the workspace is as it was
    assert sum(1 for _ in (own.folder / "data/raw/photos").rglob("*.png")) == COUNT - 1


def test_a_second_clone_has_everything_from_a_remote(finished: Workspace, tmp_path: Path):
    own = finished.copy(tmp_path / "w")
    own.dvc("remote", "add", "--default", "shared", str(tmp_path / "remote"))
    own.commit()
    own.dvc("push")
    own.git("clone", "--quiet", str(own.folder), str(tmp_path / "clone"))
    clone = Workspace(tmp_path / "clone", own.threads)
    assert not (clone.folder / "data/raw/photos").exists()
    clone.dvc("pull")
    photos = "data/raw/photos"
    assert pixels(clone.folder / photos) == pixels(own.folder / photos)
    wanted = {name: digest for name, digest in own.digests().items() if name != str(paths.SOURCE)}
    assert clone.digests() == wanted
    assert ran(clone.dvc("repro")) == ["source"]
    assert clone.git("status", "--porcelain") == ""


def pixels(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))
    }


NETWORKS: dict[str, Mapping[str, Any]] = {
    "images": {
        "data": {"name": "digits", "size": 8},
        "model": {"latent_size": 4, "generator_width": 4, "discriminator_width": 4},
        "judge": {"width": 4, "features": 8, "images_seen": 500},
    },
    "points": {
        "data": {"name": "toy", "toy": "ring", "toy_points": 600},
        "model": {"name": "mlp", "latent_size": 2, "generator_width": 8, "depth": 2},
    },
    "text": {
        "data": {"name": "topics", "length": 8},
        "model": {"name": "text", "latent_size": 4, "generator_width": 8, "depth": 1},
        "objective": {
            "generator": "boundary_seeking", "penalties": {"r1": 0.0}, "discrete": {"samples": 3},
        },
    },
    "labels": {
        "data": {"name": "digits", "size": 8},
        "model": {"name": "classifier", "generator_width": 4, "discriminator_width": 4},
        "judge": {"width": 4, "features": 8, "images_seen": 500},
        "objective": {
            "generator": "boundary_seeking", "output": "log_ratio", "penalties": {"r1": 0.0},
        },
    },
}  # fmt: skip


def configure(kind: str) -> Config:
    common = {
        "train": {"steps": 3, "batch_size": 16, "sample_every": 3, "record_every": 1},
        "sample": {"count": 250, "grid": 4},
        "runtime": {"device": "cpu", "workers": 0},
    }
    return parse(Config, {**NETWORKS[kind], **common}, kind)


@pytest.fixture
def inside(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """As the working directory."""
    monkeypatch.chdir(workspace.folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return workspace


@pytest.mark.parametrize("kind", NETWORKS)
def test_plots_are_the_pictures_that_there_are(inside: Workspace, kind: str):
    outs = run(configure(kind))
    said = inside.dvc("plots", "show", "--out", "shown")
    assert "failed" not in said
    assert "WARNING" not in said
    shown = {
        path.name.replace("results_report_", "").removeprefix("workspace_").replace("samples_", "")
        for path in Path("shown").rglob("*.png")
    }
    assert shown == {Path(name).name for name in outs if name.endswith(".png")}
    page = Path("shown/index.html").read_text()
    for title in ("Losses", "Mean logits", "Gradient norms", "Distance from equilibrium"):
        assert title in page


def test_a_picture_that_fails_takes_no_numbers_with_it(
    inside: Workspace, monkeypatch: pytest.MonkeyPatch
):
    config = configure("points")
    run(config)
    measured = [paths.TRAIN_METRICS, paths.JUDGE_METRICS, paths.EVALUATE_METRICS]
    before = {path: path.read_bytes() for path in measured}
    table = {path: path.read_bytes() for path in paths.EVALUATION.iterdir()}
    for path in measured[2:]:
        path.unlink()

    def fail(*_: object) -> None:
        raise TrainingError("no picture today")

    for name in ("real", "grid", "evaluation", "moment"):
        monkeypatch.setattr(figures.of_kind("points"), name, fail)
    evaluate.main(config)
    with pytest.raises(TrainingError, match="no picture today"):
        report.main(config)
    assert {path: path.read_bytes() for path in measured} == before
    assert {path: path.read_bytes() for path in paths.EVALUATION.iterdir()} == table
