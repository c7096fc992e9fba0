"""The pipeline under DVC itself, in copies of the checkout with settings that take seconds."""

import hashlib
import json
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from benchmarks.kill_and_resume import OUTS, Workspace, differences

# The tests share workspaces: with several workers `--dist loadfile` keeps them on one.
pytestmark = pytest.mark.slow

STAGES = ("code", "source", "prepare", "judge", "train", "sample", "evaluate", "report")
OF_CODE = STAGES[2:]  # those that depend on the code they import
AFTER_TRAINING = ["sample", "evaluate", "report"]
STEPS, MORE_STEPS = 300, 350
TINY = (
    "data.size=8",
    "judge.width=4",
    "judge.features=8",
    "judge.images_seen=1000",
    "model.latent_size=4",
    "model.generator_width=4",
    "model.discriminator_width=4",
    f"train.steps={STEPS}",
    "train.batch_size=16",
    "train.record_every=70",  # the last row of the history is over fewer
    "train.sample_every=125",
    "train.sample_grid=2",
    "sample.count=250",
    "sample.grid=4",
    "sample.interpolations=2",
    "sample.interpolation_steps=4",
    "evaluate.neighbours=3",
    "evaluate.precision_images=200",
    "evaluate.kid_subsets=2",
    "evaluate.kid_subset_size=50",
    "evaluate.inception_splits=2",
    "evaluate.memorisation_images=50",
    "evaluate.nearest=4",
    "runtime.device=cpu",
    "runtime.workers=0",
)
SNAPSHOTS = (0, 1, 2, 5, 10, 20, 50, 100, 125, 250, STEPS)
PICTURES = ("classes", "curves", "grid", "interpolation", "nearest", "real")
OF_TRAINING = ("models/generator.safetensors", "results/training/", "metrics/train.json")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Prepared data and a judge. Not to be changed, but to be copied."""
    workspace = Workspace.create(tmp_path_factory.mktemp("judged") / "w", TINY, threads=1)
    workspace.dvc("repro", "judge")
    return workspace


@pytest.fixture(scope="module")
def finished(judged: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """All stages done and committed. Not to be changed, but to be copied."""
    workspace = judged.copy(tmp_path_factory.mktemp("finished") / "w")
    workspace.dvc("repro")
    changed = {line[3:] for line in workspace.git("status", "--porcelain").splitlines()}
    # What is in Git, and nothing else: outs are ignored, and DVC adds no ignore files of its own.
    assert "dvc.lock" in changed
    assert all(name == "dvc.lock" or name.startswith("metrics/") for name in changed)
    workspace.commit()
    return workspace


@pytest.fixture(scope="module")
def longer(judged: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Trained for `MORE_STEPS` from scratch."""
    workspace = judged.copy(tmp_path_factory.mktemp("longer") / "w")
    put(workspace, {"train.steps": MORE_STEPS})
    assert ran(workspace.dvc("repro", "train")) == ["train"]
    return workspace


@pytest.fixture
def own(finished: Workspace, tmp_path: Path) -> Workspace:
    """A finished workspace of the test's own."""
    return finished.copy(tmp_path / "w")


@pytest.fixture(scope="module")
def edited(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished workspace where every test leaves each file as it was."""
    return finished.copy(tmp_path_factory.mktemp("edited") / "w")


def put(workspace: Workspace, values: Mapping[str, Any]) -> None:
    """Set parameters, as with an editor."""
    file = workspace.folder / "params.yaml"
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(file.read_text())
    for key, value in values.items():
        *sections, name = key.split(".")
        section = document
        for each in sections:
            section = section[each]
        section[name] = value
    with file.open("w") as text:
        yaml.dump(document, text)


def ran(output: str) -> list[str]:
    """The stages that DVC executed."""
    return re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE)


def stale(workspace: Workspace) -> list[str]:
    """The stages whose own inputs have changed."""
    found = json.loads(workspace.dvc("status", "--json"))
    return [stage for stage in STAGES if found.pop(stage, None)] + sorted(found)


def stale_after(workspace: Workspace, file: str, edit: Callable[[], None]) -> list[str]:
    """As `stale`, after an edit of `file` that is undone again."""
    path = workspace.folder / file
    before = path.read_bytes()
    try:
        edit()
        assert path.read_bytes() != before
        return stale(workspace)
    finally:
        path.write_bytes(before)


def of_training(workspace: Workspace) -> dict[str, str]:
    return {
        path: digest for path, digest in workspace.digests().items() if path.startswith(OF_TRAINING)
    }


def newest_step(workspace: Workspace) -> int:
    return max(int(name[5:-3]) for name in workspace.checkpoints())


def test_everything_is_there_and_a_second_time_nothing_runs(own: Workspace):
    outs = own.digests()
    assert sorted(outs) == sorted(
        [
            "data/prepared/manifest.json",
            *(f"data/prepared/{split}.npy" for split in ("train", "test")),
            *(f"data/prepared/{split}_labels.npy" for split in ("train", "test")),
            "metrics/evaluate.json",
            "metrics/judge.json",
            "metrics/train.json",
            "models/generator.safetensors",
            "models/judge.safetensors",
            *(f"results/code/{stage}.json" for stage in OF_CODE),
            "results/source.json",
            "results/evaluation/classes.csv",
            "results/evaluation/shown.safetensors",
            *(f"results/report/{name}.png" for name in PICTURES),
            *(f"results/report/samples/step-{step:09d}.png" for step in SNAPSHOTS),
            "results/samples/interpolation.npy",
            "results/samples/samples.json",
            "results/samples/samples.npy",
            "results/training/history.csv",
            *(f"results/training/snapshots/step-{step:09d}.safetensors" for step in SNAPSHOTS),
        ]
    )
    again = own.dvc("repro")
    skipped = re.findall(r"Stage '(\w+)' didn't change, skipping", again)
    assert sorted(skipped) == sorted(STAGES)
    assert ran(again) == []
    assert own.git("status", "--porcelain") == ""
    assert own.digests() == outs


@pytest.mark.parametrize(
    ("values", "stages"),
    [
        ({"data.test_fraction": 0.3}, ["prepare"]),
        ({"seed": 1}, ["train", "sample", "evaluate"]),
        ({"model.latent_size": 5}, ["train"]),
        ({"evaluate.neighbours": 4}, ["evaluate"]),
        (
            {
                "runtime.workers": 1,
                "runtime.device": "auto",
                "runtime.graph": "off",
                "runtime.progress_every": 7,
                "runtime.checkpoint_seconds": 3.0,
            },
            [],
        ),
    ],
    ids=lambda value: "-".join(value),
)
def test_a_parameter_touches_the_stages_that_use_it(
    edited: Workspace, values: dict[str, Any], stages: list[str]
):
    assert stale_after(edited, "params.yaml", lambda: put(edited, values)) == stages


def test_another_path_is_looked_at_first(edited: Workspace):
    def edit() -> None:
        put(edited, {"data.path": "docs"})

    assert stale_after(edited, "params.yaml", edit) == ["source", "prepare"]


@pytest.mark.parametrize(
    ("module", "line", "stages"),
    [
        ("gan/config/sections.py", "EDITED = 1", list(OF_CODE)),
        ("gan/config/sections.py", "# edited", []),
        ("gan/preparation/sources/idx.py", "EDITED = 1", ["prepare"]),  # found by name
        ("gan/models/dcgan.py", "EDITED = 1", ["train", "sample", "evaluate", "report"]),
        ("gan/figures/canvas.py", "EDITED = 1", ["report"]),
        ("gan/judges/text.py", '"""Edited."""', ["judge", "evaluate"]),  # not a docstring there
        ("pipeline/preset.py", "EDITED = 1", []),
    ],
)  # that every stage depends on exactly what it imports is checked in test_code
def test_a_module_touches_the_stages_that_import_it(
    edited: Workspace, module: str, line: str, stages: list[str]
):
    def edit() -> None:
        with (edited.folder / module).open("a") as source:
            source.write(f"{line}\n")
        assert stale(edited) == ["code"]
        assert ran(edited.dvc("repro", "code")) == ["code"]

    assert stale_after(edited, module, edit) == stages
    edited.dvc("repro", "code")


def test_what_comes_after_runs_only_when_its_input_changed(own: Workspace):
    outs = own.digests()
    put(own, {"sample.grid": 3})
    assert ran(own.dvc("repro")) == ["sample", "report"]  # the same samples to judge
    assert differences(outs, own.digests()) == ["results/report/grid.png"]
    put(own, {"judge.seed": 1})
    assert ran(own.dvc("repro")) == ["judge", "evaluate", "report"]


def test_images_of_another_size_are_those_of_that_size(own: Workspace):
    """DVC's run cache does not look at keys of the name `size` inside of a section."""
    for size, anew in ((16, ["prepare"]), (8, [])):
        put(own, {"data.size": size})
        assert ran(own.dvc("repro", "prepare")) == anew
        manifest = json.loads((own.folder / "data/prepared/manifest.json").read_text())
        assert manifest["shape"] == [1, size, size]


def test_a_run_seen_before_comes_from_the_cache(own: Workspace):
    outs, states = own.digests(), own.checkpoints()
    put(own, {"train.betas": [0.4, 0.9]})
    assert ran(own.dvc("repro")) == ["train", *AFTER_TRAINING]
    assert set(differences(outs, own.digests())) >= {
        "models/generator.safetensors",
        "results/samples/samples.npy",
        "results/training/history.csv",
        "metrics/evaluate.json",
    }
    assert len(own.checkpoints()) == len(states) + 1  # a state of its own: no step in common

    # Without any state the outs can come from nowhere else.
    own.python("-m", "gan.state", "prune", "--all")
    put(own, {"train.betas": [0.5, 0.999]})
    back = own.dvc("repro")
    assert ran(back) == []
    assert re.findall(r"Stage '(\w+)' is cached", back) == ["train", *AFTER_TRAINING]
    assert own.digests() == outs
    assert own.checkpoints() == []


def test_a_stopped_and_a_killed_run_end_in_the_same_bytes(
    judged: Workspace, finished: Workspace, tmp_path: Path
):
    victim = judged.copy(tmp_path / "w")
    put(victim, {"runtime.checkpoint_seconds": 0.0})  # one after every step
    killed, said = victim.kill_during_training(["repro"], 0.1, signal.SIGINT)
    assert killed
    stopped = newest_step(victim)
    assert f"stopped at step {stopped} of {STEPS}; the state is saved" in said
    assert "exited with 130" in said
    assert not (victim.folder / "models/generator.safetensors").exists()

    killed, said = victim.kill_during_training(["repro"], 0.1)
    assert killed
    assert f"resumed at {stopped}" in said
    reached = newest_step(victim)
    assert stopped < reached < STEPS
    assert not (victim.folder / "models/generator.safetensors").exists()

    said = victim.dvc("repro")
    assert ran(said) == ["train", *AFTER_TRAINING]
    assert f"resumed at {reached}" in said
    assert differences(finished.digests(), victim.digests()) == []


@pytest.mark.parametrize("window", ["the results are written", "the state is finished"])
def test_a_run_killed_before_dvc_has_committed_it_is_published_again(
    judged: Workspace, finished: Workspace, tmp_path: Path, window: str
):
    victim = judged.copy(tmp_path / "w")
    published = victim.folder / "metrics/train.json"
    published.unlink()  # of the checkout
    killed, said = victim.kill_when(
        ["repro", "train"],
        lambda said: (
            published.exists()
            if window == "the results are written"
            else any((victim.folder / ".state").glob("*/finished.json"))
        ),
    )
    assert killed
    assert "Updating lock file" not in said
    said = victim.dvc("repro", "train")
    assert ran(said) == ["train"]
    assert f"all {STEPS} steps of this run are in its state" in said
    assert differences(of_training(finished), of_training(victim)) == []
    assert ran(victim.dvc("repro", "train")) == []
    # Anew, by name.
    again = victim.dvc("repro", "--force", "--single-item", "train")
    assert f"all {STEPS} steps of this run are in its state" in again
    (folder,) = (victim.folder / ".state").iterdir()
    victim.python("-m", "gan.state", "restart", folder.name)
    again = victim.dvc("repro", "--force", "--single-item", "train")
    assert "steps of this run are in its state" not in again
    assert f"0/{STEPS}" in again
    assert differences(of_training(finished), of_training(victim)) == []


def test_a_cache_that_takes_nothing_more_costs_no_training(own: Workspace, longer: Workspace):
    """As on a full disk: DVC fails after the stage, when it saves what came out."""
    cache = own.folder / ".dvc/cache/files/md5"
    contents = [(longer.folder / path).read_bytes() for path in of_training(longer)]
    places = {cache / hashlib.md5(content).hexdigest()[:2] for content in contents}
    in_the_way = min(place for place in places if not place.exists())
    in_the_way.touch()  # where DVC would make a folder
    put(own, {"train.steps": MORE_STEPS})
    for again in (False, True):
        status, said = own.try_dvc("repro", "train")
        assert status != 0
        assert ran(said) == ["train"]
        assert (f"all {MORE_STEPS} steps of this run are in its state" in said) is again
    in_the_way.unlink()
    said = own.dvc("repro", "train")
    assert f"all {MORE_STEPS} steps of this run are in its state" in said
    assert differences(of_training(longer), of_training(own)) == []


@pytest.mark.parametrize("damage", ["rwlock", "dvc.lock", "dvc.lock that is empty"])
def test_dvc_goes_on_after_its_own_files_were_cut_off(own: Workspace, damage: str):
    outs, lock = own.digests(), (own.folder / "dvc.lock").read_bytes()
    if damage == "rwlock":
        (own.folder / ".dvc/tmp/rwlock").write_bytes(b"")
    else:
        cut = b"" if damage.endswith("empty") else lock[: lock.rindex(b"    outs:") + 20]
        (own.folder / "dvc.lock").write_bytes(cut)
    status, said = own.try_dvc("repro")
    assert status != 0
    assert "JSON structure is corrupted" in said or "validation failed" in said
    own.python("-m", "pipeline.mend")
    # What DVC does not keep in its cache is computed again, in no time.
    assert set(ran(own.dvc("repro"))) <= {"source"}
    assert own.digests() == outs
    assert YAML(typ="safe").load((own.folder / "dvc.lock").read_bytes()) == YAML(typ="safe").load(
        lock
    )


def test_more_steps_extend_a_finished_run(own: Workspace, longer: Workspace):
    put(own, {"train.steps": MORE_STEPS})
    said = own.dvc("repro", "train")
    assert ran(said) == ["train"]
    assert f"resumed at {STEPS}" in said
    assert differences(of_training(longer), of_training(own)) == []


@pytest.mark.parametrize(
    ("key", "stage", "message", "removed"),
    [
        ("data.sise", "prepare", "data.sise: unknown key; expected one of: name", "data/prepared"),
        ("train.stpes", "train", "train.stpes: unknown key; expected one of", "results/training"),
    ],
)
def test_bad_parameters_are_named_and_leave_nothing_half_done(
    own: Workspace, key: str, stage: str, message: str, removed: str
):
    outs = own.digests()
    params = own.folder / "params.yaml"
    before = params.read_bytes()
    put(own, {key: 3})
    status, said = own.try_dvc("repro")
    assert status != 0
    assert ran(said) == [stage]
    assert "error: params.yaml: 1 error\n" in said
    assert message in said
    assert "exited with 2" in said
    assert "Traceback" not in said
    # DVC takes the outs of a stage away before it runs.
    folder = own.folder / removed
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    params.write_bytes(before)
    assert ran(own.dvc("repro")) == []
    assert own.digests() == outs


def test_an_experiment_keeps_comments_and_goes_on_from_the_state(own: Workspace, longer: Workspace):
    before = (own.folder / "params.yaml").read_text()
    said = own.dvc("exp", "run", "-S", f"train.steps={MORE_STEPS}", "--name", "more")
    assert ran(said) == ["train", *AFTER_TRAINING]
    assert f"resumed at {STEPS}" in said
    assert differences(of_training(longer), of_training(own)) == []
    after = (own.folder / "params.yaml").read_text()
    assert YAML(typ="safe").load(after)["train"]["steps"] == MORE_STEPS
    assert re.findall("#.*", after) == re.findall("#.*", before)
    assert "more" in own.dvc("exp", "list")


def test_a_temporary_experiment_shares_the_states(own: Workspace, longer: Workspace):
    outs = own.digests()
    put(own, {"train.steps": MORE_STEPS})
    said = own.dvc("exp", "run", "--temp", "--name", "aside")
    assert ran(said) == ["source", "train", *AFTER_TRAINING]
    assert f"resumed at {STEPS}" in said
    assert own.digests() == outs  # the workspace is as it was
    assert newest_step(own) == MORE_STEPS
    own.dvc("exp", "apply", "aside")
    assert differences(of_training(longer), of_training(own)) == []


def test_plots_and_metrics_can_be_shown(own: Workspace):
    own.dvc("plots", "show", "--out", "shown")
    page = (own.folder / "shown" / "index.html").read_text()
    for title in ("Losses", "Mean logits", "Accuracy of the discriminator", "Gradient norms"):
        assert title in page
    pictures = sorted(path.name for path in (own.folder / "shown").rglob("*.png"))
    for out in ("curves", "grid", "interpolation", "nearest", "classes", f"step-{STEPS:09d}"):
        assert any(f"{out}.png" in name for name in pictures), out
    metrics = json.loads(own.dvc("metrics", "show", "--json"))
    found = next(iter(metrics.values()))["data"]
    assert found["metrics/train.json"]["data"]["steps"] == STEPS
    assert 0 < found["metrics/judge.json"]["data"]["test_accuracy"] <= 1
    assert found["metrics/evaluate.json"]["data"]["protocol"]["samples"] == 250


def test_outs_are_where_the_script_looks():
    stages = YAML(typ="safe").load((Path(__file__).parents[2] / "dvc.yaml").read_text())["stages"]
    for stage in stages.values():
        for out in [*stage["outs"], *stage.get("metrics", [])]:
            path = next(iter(out)) if isinstance(out, dict) else out
            assert path.startswith(OUTS)
