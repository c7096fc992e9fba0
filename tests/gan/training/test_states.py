import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan.errors import StateError
from gan.training import states as state_cli
from gan.training.folder_lock import read_record
from gan.training.state import RunState, hold

NAME = "0123456789abcdef"


def content(value: float) -> dict[str, object]:
    return {"weights": torch.full((3,), value)}


def test_list_and_prune(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with hold(tmp_path, {"run": 1}, {"data": "digits"}) as state:
        state.save(10, content(1))
        state.finish(10)
        finished = state.folder
    with hold(tmp_path, {"run": 2}) as state:
        state.save(5, content(1))
        interrupted = state.folder

    assert state_cli.main(["--root", str(tmp_path), "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    line = next(line for line in lines if line.startswith(finished.name))
    assert "finished" in line
    assert "data digits" in line

    with hold(tmp_path, {"run": 1}, {"data": "digits"}):
        assert state_cli.prune(tmp_path, everything=True, dry_run=True)[0].folder == interrupted
    state_cli.main(["--root", str(tmp_path), "prune", "--dry-run"])
    assert finished.exists()
    state_cli.main(["--root", str(tmp_path), "prune"])
    assert not finished.exists()
    assert interrupted.exists()
    state_cli.main(["--root", str(tmp_path), "prune", "--all"])
    assert not interrupted.exists()
    capsys.readouterr()
    state_cli.main(["--root", str(tmp_path), "list"])
    assert "no states" in capsys.readouterr().out


def test_a_run_that_starts_while_others_are_pruned_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with hold(tmp_path, {}) as state:
        state.save(1, content(1))
        state.finish(1)
        monkeypatch.setattr(state_cli, "_is_held", lambda folder: False)  # it looked too early
        assert state_cli.prune(tmp_path, everything=True, dry_run=False) == []
        assert state.latest()[0] == 1


def test_the_command_line_runs_as_a_module(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "gan.state", "--root", str(tmp_path), "list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"no states in {tmp_path}\n"
    assert done.stderr == ""


def test_restart_keeps_the_folder_and_the_next_run_starts_afresh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with hold(tmp_path, {}) as state:
        state.save(5, content(1))
        state.finish(5)
        (state.snapshots).mkdir()
        name = state.fingerprint
        assert state_cli.main(["--root", str(tmp_path), "restart", name]) == 2
        assert "is running; wait for it or end it first" in capsys.readouterr().err
        assert state.latest()[0] == 5
    assert state_cli.main(["--root", str(tmp_path), "restart", name]) == 0
    assert capsys.readouterr().out == f"{name} had step 5, and starts from step 0 next time\n"
    assert sorted(os.listdir(tmp_path / name)) == ["lock", "run.json"]
    with hold(tmp_path, {}) as state:
        assert state.resume_point(5) is None
    assert state_cli.main(["--root", str(tmp_path), "restart", "../x\x1b[1m"]) == 2
    said = capsys.readouterr().err
    assert f"error: no run ../x\\x1b[1m in {tmp_path}, expected one of: {name}" in said


def test_damaged_checkpoints_are_shown_and_pruned_with_all_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with hold(tmp_path, {}) as state:
        (state.folder / "step-000000001.pt").write_bytes(b"")
        state.latest()
    state_cli.main(["--root", str(tmp_path), "list"])
    line = capsys.readouterr().out
    assert "damaged      step     none" in line
    assert line.endswith("1 damaged set aside\n")
    state_cli.main(["--root", str(tmp_path), "prune"])
    assert state.folder.exists()
    state_cli.main(["--root", str(tmp_path), "prune", "--all"])
    assert not state.folder.exists()


def test_a_finished_run_with_damaged_checkpoints_is_pruned_with_all_alone(tmp_path: Path):
    with hold(tmp_path, {}) as state:
        (state.folder / "step-000000001.pt").write_bytes(b"")
        state.latest()
        state.save(2, content(2))
        state.finish(2)
    assert state_cli.prune(tmp_path, everything=False, dry_run=False) == []
    assert state.folder.exists()
    assert len(state_cli.prune(tmp_path, everything=True, dry_run=False)) == 1


@pytest.mark.parametrize("command", [["list"], ["prune", "--all"]])
def test_what_is_no_state_is_told_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
):
    other = tmp_path / "photos"
    other.mkdir()
    (other / "run.json").write_text("{}")
    (other / "step-000000001.pt").write_bytes(b"")
    (tmp_path / ("0" * 16)).write_text("a file")
    (tmp_path / ("1" * 16)).mkdir()
    (tmp_path / os.fsdecode(b"\xff\x1b")).mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert state_cli.main(["--root", str(tmp_path), *command]) == 0
    said = capsys.readouterr()
    assert sorted(tmp_path.rglob("*")) == before
    if command == ["list"]:
        assert said.out == f"no states in {tmp_path}\n"
        assert said.err.count("is no state of a run") == 4
        assert "\x1b" not in said.err


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"about": ' + b"[" * 100_000,
        b'{"step": ' + b"1" * 5000 + b"}",
        b'{"step": 1e400, "about": "x", "identity": [1], "process": "1"}',
        b'{"step": NaN, "about": [1, 2], "identity": 3}',
        b'{"step": true, "about": {"a": {"b": 1}}}',
        b'{"step": "5", "about": {"\\u001b[1m": "\\u202e"}}',
    ],
)
def test_records_that_are_damaged_or_foreign_stop_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], raw: bytes
):
    with hold(tmp_path, {"run": 1}) as state:
        state.save(5, content(1))
    (state.folder / "finished.json").write_bytes(raw)
    (state.folder / "run.json").write_bytes(raw)
    assert state_cli.main(["--root", str(tmp_path), "list"]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{state.fingerprint}  interrupted  step        5")
    assert line.rstrip("\n").isprintable()
    assert RunState(state.folder).finished_at is None
    with hold(tmp_path, {"run": 2}):
        pass  # which looks for runs of other code
    with hold(tmp_path, {"run": 1}) as state:
        assert state.resume_point(9)[0] == 5


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # tables of letters are made at first
@given(record=st.dictionaries(st.sampled_from(["identity", "about", "process", "step"]), ANYTHING))
def test_any_record_is_shown_in_one_line(tmp_path_factory, record: dict[str, Any]):
    folder = tmp_path_factory.getbasetemp() / "any" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("run.json", "finished.json"):
        (folder / name).write_text(json.dumps(record), encoding="utf-8", errors="surrogatepass")
    (entry,) = state_cli.entries(folder.parent)
    assert entry.line().startswith(NAME)
    assert entry.line().isprintable()


def test_a_record_that_is_none_is_empty(tmp_path: Path):
    assert read_record(tmp_path / "missing") == {}
    assert read_record(tmp_path) == {}
    os.mkfifo(tmp_path / "pipe")
    assert read_record(tmp_path / "pipe") == {}


def test_what_cannot_be_read_is_told_and_the_others_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for run in (1, 2):
        with hold(tmp_path, {"run": run}) as state:
            state.save(run, content(1))
    listdir = os.listdir

    def refused(path: object) -> list[str]:
        if path == state.folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refused)
    assert state_cli.main(["--root", str(tmp_path), "list"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1
    assert said.err == f"note: cannot read {state.folder}: Permission denied\n"


def test_a_root_that_is_no_folder_or_has_an_impossible_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").touch()
    for root, reason in ((tmp_path / "file", "Not a directory"), ("x" * 300, "File name too long")):
        assert state_cli.main(["--root", str(root), "list"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: cannot read ")
        assert said.endswith(f": {reason}\n")


def test_looking_makes_no_lock_in_a_folder(tmp_path: Path):
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "step-000000001.pt").touch()
    (entry,) = state_cli.entries(tmp_path)
    assert not entry.running
    assert os.listdir(tmp_path / NAME) == ["step-000000001.pt"]


def test_a_state_that_cannot_be_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with hold(tmp_path, {}) as state:
        state.save(1, content(1))
    monkeypatch.setattr("shutil.rmtree", refused)
    assert state_cli.main(["--root", str(tmp_path), "prune", "--all"]) == 2
    assert f"error: cannot remove {state.folder}: Permission denied" in capsys.readouterr().err


def test_a_time_beyond_the_calendar_is_no_reason_to_fail(tmp_path: Path):
    with hold(tmp_path, {}):
        pass
    (entry,) = state_cli.entries(tmp_path)
    assert "at no known time" in dataclasses.replace(entry, modified=1e18).line()


def test_a_terminal_without_the_letters_gets_escapes(tmp_path: Path):
    with hold(tmp_path, {}, {"data": "größe 😀"}):
        pass
    done = subprocess.run(
        [sys.executable, "-m", "gan.state", "--root", str(tmp_path), "list"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "gr\\xf6\\xdfe \\U0001f600" in done.stdout
    assert done.stderr == ""
    with pytest.raises(StateError, match="expected one of: "):
        state_cli.restart(tmp_path, "x")
