"""The comparison of games, on a budget of nothing."""

import csv
import os
import signal
from pathlib import Path

import pytest

from benchmarks import games
from gan.training.trainer import Trainer

TINY = (
    "model.generator_width=4",
    "model.discriminator_width=4",
    "train.batch_size=8",
    "data.toy_points=400",
    "sample.count=250",
    "evaluate.neural_steps=0",
)


def compare(folder: Path, *options: str) -> int:
    return games.main(
        ["--data", "toy-ring", "--games", "minimax,hinge-sn", "--seeds", "2", "--steps", "6",
         "--work", str(folder / "work"), "--output", str(folder / "games.csv"),
         "--device", "cpu", *TINY, *options]
    )  # fmt: skip


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "games.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_games_have_one_budget_and_every_run_a_row(tmp_path: Path, monkeypatch):
    assert compare(tmp_path) == 0
    found = rows(tmp_path)
    assert [(row["game"], row["seed"]) for row in found] == [
        ("minimax", "0"), ("minimax", "1"), ("hinge-sn", "0"), ("hinge-sn", "1"),
    ]  # fmt: skip
    assert [row["rounds"] for row in found] == ["6", "6", "2", "2"]  # twelve updates each
    assert all(0 <= int(row["modes"]) <= 8 for row in found)
    assert len({row["wasserstein_1"] for row in found}) == 4
    table = (tmp_path / "games.md").read_text().splitlines()
    assert table[0].startswith("| game | seeds | rounds | seconds | modes |")
    assert [line.split("|")[1].strip() for line in table[2:]] == ["minimax", "hinge-sn"]
    for figure in ("games_samples.png", "games_metrics.png"):
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")

    # All is there: nothing is played again, but for a seed more.
    played = []
    advance = Trainer.advance
    monkeypatch.setattr(Trainer, "advance", lambda self: (played.append(1), advance(self)))
    assert compare(tmp_path) == 0
    assert played == []
    assert compare(tmp_path, "--seeds", "3") == 0
    assert len(played) == 8
    assert len(rows(tmp_path)) == 6


def test_two_names_of_one_game_are_one_run(tmp_path: Path, monkeypatch):
    played = []
    advance = Trainer.advance
    monkeypatch.setattr(Trainer, "advance", lambda self: (played.append(1), advance(self)))
    assert compare(tmp_path, "--games", "non-saturating,fgan-gan", "--seeds", "1") == 0
    assert len(played) == 6
    one, other = rows(tmp_path)
    assert (one.pop("game"), other.pop("game")) == ("non-saturating", "fgan-gan")
    assert one == other


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_to_the_same_rows(tmp_path: Path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert compare(whole) == 0
    advance = Trainer.advance
    played = []

    def interrupted(self: Trainer) -> None:
        advance(self)
        played.append(1)
        if len(played) == 9:  # the third round of the second seed
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "advance", interrupted)
    assert compare(stopped) == 130
    # Seeds come first, so that a table of all games is there early.
    assert [row["game"] for row in rows(stopped)] == ["minimax", "hinge-sn"]
    assert compare(stopped) == 0
    assert len(played) == 2 * (6 + 2)
    kept = ("game", "seed", "modes", "js", "good_share")
    assert [[row[key] for key in kept] for row in rows(whole)] == [
        [row[key] for key in kept] for row in rows(stopped)
    ]


def test_a_game_that_diverges_is_a_row_that_says_so(tmp_path: Path, monkeypatch):
    def diverges(self: Trainer) -> None:
        raise games.TrainingError("generator_loss became inf at step 3; training stops")

    monkeypatch.setattr(Trainer, "advance", diverges)
    assert compare(tmp_path) == 0
    assert {row["failed"] for row in rows(tmp_path)} == {"generator_loss became inf at step 3"}
    assert "| minimax | 0 of 2 |" in (tmp_path / "games.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--games", "minmax"], "there is no game 'minmax'; known: bgan"),
        (["--games", "toy-ring"], "there is no game 'toy-ring'"),
        (["--games", "adversarial-classifier"], "there is no game 'adversarial-classifier'"),
        (
            ["--data", "digits", "--games", "lsgan,bgan-binary"],
            "bgan-binary and lsgan play on other",
        ),
        (["--data", "bgan-text", "--games", "gumbel"], "--data bgan-text is text: expected images"),
        (["--seeds", "0"], "--seeds is 0, expected at least 1"),
        (["train.stpes=3"], "train.stpes: unknown key"),
        (["--data", "toy-rign"], "there is no preset 'toy-rign'"),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path: Path, capsys, options, message):
    assert compare(tmp_path, *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("game", ["lsgan", "bgan-binary"])
def test_images_are_judged_as_in_the_pipeline(game: str, tmp_path: Path):
    status = games.main(
        ["--data", "digits", "--games", game, "--seeds", "1", "--steps", "2", "--device", "cpu",
         "--work", str(tmp_path / "work"), "--output", str(tmp_path / "games.csv"),
         "data.size=8", "judge.width=4", "judge.features=8", "judge.images_seen=500",
         "model.generator_width=4", "model.discriminator_width=4", "train.batch_size=8",
         "sample.count=250", "evaluate.precision_images=200", "evaluate.kid_subsets=2",
         "evaluate.kid_subset_size=50", "evaluate.neural_steps=3", "evaluate.neural_seeds=1",
         "evaluate.memorisation_images=20"]
    )  # fmt: skip
    assert status == 0
    (row,) = rows(tmp_path)
    assert float(row["fd"]) > float(row["fd_floor"])
    assert 0 <= int(row["classes"]) <= 10
    assert row["neural_js"] != ""
