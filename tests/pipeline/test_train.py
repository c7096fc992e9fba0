"""The stage without DVC around it."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gan.config import Config, parse
from gan.errors import StateError
from gan.preparation.prepare import prepare
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


def grids() -> list[int]:
    return sorted(int(path.stem[5:]) for path in (paths.TRAINING / "samples").iterdir())


def test_the_outs_are_those_of_this_run_alone():
    train.main(configure(steps=9))
    assert grids() == [4, 8, 9]
    train.main(configure(steps=5))
    assert grids() == [4, 5]
    assert (paths.TRAINING / "history.csv").read_text().splitlines()[-1].startswith("5,80,")


def test_a_state_without_one_of_its_grids_is_refused_by_name():
    train.main(configure(steps=5))
    (grid,) = Path(".state").glob("*/samples/step-000000004.png")
    grid.unlink()
    with pytest.raises(StateError, match=r"has lost a grid .*step-000000004.png.*prune --all"):
        train.main(configure(steps=6))


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
