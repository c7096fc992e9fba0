"""The stage without DVC around it."""

import errno
import functools
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gan.config import Config, parse
from gan.errors import StateError, UserError
from gan.preparation.prepare import prepare
from gan.training import states
from gan.training.alarms import Alarm
from gan.training.trainer import Trainer
from pipeline import paths, train


def configure(objective: dict[str, Any] | None = None, **of_training: Any) -> Config:
    values = {
        "objective": objective or {},
        "data": {"size": 8},
        "model": {"latent_size": 4, "generator_width": 4, "discriminator_width": 4},
        "train": {"batch_size": 16, "sample_every": 4, "sample_grid": 2, **of_training},
        "runtime": {"device": "cpu"},
    }
    return parse(Config, values, "test")


@pytest.fixture(autouse=True)
def _prepared(workspace: Path) -> None:
    prepare(configure().data, paths.PREPARED, workers=0)


def snapshots() -> list[int]:
    return sorted(int(path.stem[5:]) for path in paths.SNAPSHOTS.iterdir())


def outs() -> dict[str, bytes]:
    folders = (paths.TRAINING, paths.GENERATOR.parent, paths.TRAIN_METRICS.parent)
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


def take_outs_away() -> None:
    """As DVC does before it runs a stage."""
    for folder in (paths.TRAINING, paths.GENERATOR.parent, paths.TRAIN_METRICS.parent):
        shutil.rmtree(folder, ignore_errors=True)


def test_the_outs_are_those_of_this_run_alone():
    train.main(configure(steps=9))
    (paths.SNAPSHOTS / "a folder").mkdir()
    train.main(configure(steps=5))
    assert snapshots() == [0, 1, 2, 4, 5]
    assert (paths.TRAINING / "history.csv").read_text().splitlines()[-1].startswith("5,80,")


def test_a_finished_run_is_published_again_and_nothing_is_played(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    train.main(configure(steps=5))
    before = outs()
    take_outs_away()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", None)
        train.main(configure(steps=5))
    assert outs() == before
    assert "all 5 steps of this run are in its state" in capsys.readouterr().err

    (folder,) = Path(".state").iterdir()
    assert states.main(["restart", folder.name]) == 0
    capsys.readouterr()
    train.main(configure(steps=5))  # anew
    assert "in its state" not in capsys.readouterr().err
    assert outs() == before


def test_fewer_steps_leave_the_longer_run_as_it_is_and_more_go_on_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    train.main(configure(steps=9))
    longer = outs()
    train.main(configure(steps=5))
    shorter = outs()
    take_outs_away()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", None)
        train.main(configure(steps=9))
        assert outs() == longer
        train.main(configure(steps=5))
        assert outs() == shorter
    # As a run that never was a longer one has it.
    shutil.rmtree(".state")
    train.main(configure(steps=5))
    assert outs() == shorter


def test_how_rounds_are_played_is_no_part_of_a_run_unless_bits_differ(
    monkeypatch: pytest.MonkeyPatch,
):
    eager = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", eager)
    config = configure({"penalties": {"r1": 0.0}}, steps=2)

    def main(**runtime: Any) -> int:
        changed = config.runtime.model_copy(update=runtime)
        train.main(config.model_copy(update={"runtime": changed}))
        return len(list(Path(".state").iterdir()))

    assert main() == main(graph="off") == main(progress_every=3) == 1
    assert main(compile=True) == 2


@pytest.mark.parametrize("kind", ["write", "replace"])
def test_a_full_disk_at_any_write_of_publishing_costs_no_step(
    monkeypatch: pytest.MonkeyPatch, kind: str
):
    train.main(configure(steps=5))
    wanted = outs()
    writes = len(wanted) + 1  # run.json before them; a state that is not marked is no failure
    left = 0
    replace, sync = Path.replace, os.fsync

    def full_after(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return (replace if kind == "replace" else sync)(*arguments)

    monkeypatch.setattr("gan.files._sync_folder", lambda folder: None)
    monkeypatch.setattr(Trainer, "advance", None)
    for number in range(writes):
        take_outs_away()
        left = number
        with monkeypatch.context() as patch:
            patch.setattr(*((Path, "replace") if kind == "replace" else (os, "fsync")), full_after)
            with pytest.raises(UserError, match="No space left on device"):
                train.main(configure(steps=5))
        assert outs().items() <= wanted.items()  # whole or not at all
        assert not list(Path().rglob("*.tmp"))
    train.main(configure(steps=5))
    assert outs() == wanted


@pytest.mark.parametrize("damage", ["missing", "empty", "foreign", "folder"])
def test_a_state_without_one_of_its_snapshots_is_published_without_it(
    capsys: pytest.CaptureFixture[str], damage: str
):
    train.main(configure(steps=5))
    wanted = outs()
    (lost,) = Path(".state").glob("*/snapshots/step-000000004.safetensors")
    (last,) = Path(".state").glob("*/snapshots/step-000000005.safetensors")
    for path in (lost, last):
        path.unlink()
        if damage == "folder":
            path.mkdir()
        elif damage != "missing":
            path.write_bytes(b"" if damage == "empty" else b"foreign" * 100)
    capsys.readouterr()
    train.main(configure(steps=5))
    said = capsys.readouterr().err
    assert "warning: the snapshot of step 4 is lost and left out" in said
    assert "step 5 is lost" not in said
    assert snapshots() == [0, 1, 2, 5]
    # The last is taken anew, the same.
    del wanted[str(paths.SNAPSHOTS / lost.name)]
    assert outs() == wanted
    train.main(configure(steps=6))
    assert snapshots() == [0, 1, 2, 6]


def test_no_folder_of_snapshots_at_all_stops_no_publishing():
    train.main(configure(steps=5))
    (folder,) = Path(".state").glob("*/snapshots")
    shutil.rmtree(folder)
    folder.write_bytes(b"in the way")
    train.main(configure(steps=5))
    assert snapshots() == [5]
    assert paths.GENERATOR.exists()


def test_without_a_library_for_pictures_it_trains_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "pipeline.live", None)
    train.main(configure(steps=2))
    assert "warning: no pictures while training: import of pipeline.live" in capsys.readouterr().err
    assert paths.GENERATOR.exists()


def test_states_removed_while_it_trains_are_made_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def removing(self: Trainer) -> None:
        advance(self)
        if self.step == 3:
            shutil.rmtree(".state")

    train.main(configure(steps=6))
    wanted = outs()
    shutil.rmtree(".state")
    take_outs_away()
    advance = Trainer.advance
    monkeypatch.setattr(Trainer, "advance", removing)
    train.main(configure(steps=6))
    said = capsys.readouterr().err
    assert "was removed while this run held it" in said
    assert said.count("is lost and left out") == 3
    assert snapshots() == [4, 6]
    assert set(wanted) - set(outs()) == {
        str(paths.SNAPSHOTS / f"step-{step:09d}.safetensors") for step in (0, 1, 2)
    }
    assert outs().items() <= wanted.items()
    assert [path.name for path in Path(".state").glob("*/*.pt")] == ["step-000000006.pt"]


def test_a_checkpoint_that_cannot_be_read_ends_the_stage_and_is_kept(
    monkeypatch: pytest.MonkeyPatch,
):
    train.main(configure(steps=5))
    (file,) = Path(".state").glob("*/*.pt")
    before, read = file.read_bytes(), Path.read_bytes

    def fails(path: Path) -> bytes:
        if path.suffix == ".pt":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fails)
        with pytest.raises(StateError, match=f"{file.name}: Input/output error"):
            train.main(configure(steps=9))
    assert file.read_bytes() == before


def test_the_run_can_be_watched_in_a_folder_that_is_named(capsys: pytest.CaptureFixture[str]):
    train.main(configure(steps=5, record_every=2))
    (live,) = Path(".state").glob("*/live")
    assert str(live) in capsys.readouterr().out
    pictures = {path.relative_to(live).as_posix() for path in live.rglob("*.png")}
    steps = (0, 1, 2, 4, 5)
    assert pictures == {"real.png", *(f"samples/step-{step:09d}.png" for step in steps)}
    assert (live / "history.csv").read_text().splitlines()[-1].startswith("2,32,")


def test_a_picture_that_cannot_be_drawn_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def broken(*arguments: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr("gan.figures.images.moment", broken)
    train.main(configure(steps=5))
    assert capsys.readouterr().err.count("no more pictures while training: no ink") == 1
    assert paths.GENERATOR.exists()


def test_a_run_of_other_code_is_named_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stop(self: Trainer) -> None:
        advance(self)
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    advance = Trainer.advance
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Trainer, "advance", stop)
        train.main(configure(steps=5))
    monkeypatch.setattr(train, "code_digest", lambda modules: "other")
    train.main(configure(steps=5))
    said = capsys.readouterr().err
    assert "holds step 3 of a run with these very parameters and data, made by other code" in said
    assert len(list(Path(".state").glob("*/step-000000003.pt"))) == 1


@pytest.mark.parametrize(("schedule", "states"), [("constant", 1), ("cosine", 2)])
def test_more_steps_extend_a_run_unless_its_rates_had_the_end_in_view(schedule: str, states: int):
    for steps in (3, 5):
        train.main(configure(steps=steps, schedule=schedule))
    folders = list(Path(".state").glob("*/run.json"))
    assert len(folders) == states
    assert json.loads(paths.TRAIN_METRICS.read_text())["steps"] == 5


def test_alarms_are_on_the_console_and_in_the_metrics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    raised = [Alarm("collapse", "the samples lose their diversity")]
    monkeypatch.setattr("gan.training.trainer.alarms", lambda columns: raised)
    train.main(configure(steps=5))
    said = capsys.readouterr().err
    assert "step 4: the samples lose their diversity" in said
    assert "alarm: the samples lose their diversity" in said
    found = json.loads(paths.TRAIN_METRICS.read_text())["alarms"]
    assert found == {"collapse": "the samples lose their diversity"}


def test_alarms_see_the_columns_that_mean_something(monkeypatch: pytest.MonkeyPatch):
    seen: list[set[str]] = []
    monkeypatch.setattr(
        "gan.training.trainer.alarms", lambda columns: seen.append(set(columns)) or []
    )
    train.main(configure(steps=2))
    wasserstein = {"discriminator": "wasserstein", "generator": "wasserstein"}
    penalties = {"r1": 0.0, "gradient_penalty": 10.0}
    train.main(configure(steps=2, objective={**wasserstein, "penalties": penalties}))
    assert seen[0] - seen[-1] == {"real_accuracy", "fake_accuracy"}
    assert {"gradient_ratio", "spread", "at_bound", "total_loss"} <= seen[-1]


def test_a_signal_ends_the_stage_with_the_status_of_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    advance = Trainer.advance

    def interrupted(self: Trainer) -> None:
        advance(self)
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "advance", interrupted)
    with pytest.raises(SystemExit) as caught:
        train.main(configure(steps=5))
    assert caught.value.code == 130
    assert "stopped at step 3 of 5" in capsys.readouterr().err
    assert not paths.GENERATOR.exists()
    assert [path.name for path in Path(".state").glob("*/*.pt")] == ["step-000000003.pt"]


@pytest.mark.parametrize(
    ("root", "states"),
    [
        (None, ".state"),
        ("/repository", "/repository/.state"),
        ("/repository/.dvc/tmp/exps/tmp12ab", "/repository/.state"),
        ("/repository/.dvc/tmp/exps/standalone/tmp12ab/inner", "/repository/.state"),
    ],
)
def test_states_are_at_the_root_of_the_main_repository(
    monkeypatch: pytest.MonkeyPatch, root: str | None, states: str
):
    if root is not None:
        monkeypatch.setenv("DVC_ROOT", root)
    assert train.state_root() == Path(states)
