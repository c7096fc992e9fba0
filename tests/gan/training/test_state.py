import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan.errors import StateError
from gan.training import states as state_cli
from gan.training.state import fingerprint, hold


def content(value: float) -> dict[str, object]:
    return {"weights": torch.full((3,), value), "history": [[1.0, 2.0]], "count": 7}


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path):
    with hold(tmp_path, {"a": 1}) as state:
        assert state.latest() is None
        state.save(5, content(0.5))
        step, loaded = state.latest()
    assert step == 5
    assert torch.equal(loaded["weights"], torch.full((3,), 0.5))
    assert loaded["history"] == [[1.0, 2.0]]
    assert loaded["count"] == 7


def test_the_last_two_are_kept(tmp_path: Path):
    with hold(tmp_path, {}) as state:
        for step in (1, 20, 300):
            state.save(step, content(step))
        assert sorted(path.name for path in state.folder.glob("*.pt")) == [
            "step-000000020.pt",
            "step-000000300.pt",
        ]


@pytest.mark.parametrize("damage", ["truncate", "flip", "foreign", "empty", "pickle"])
def test_a_damaged_or_foreign_newest_falls_back_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
):
    with hold(tmp_path, {}) as state:
        state.save(1, content(1))
        state.save(2, content(2.0))
        newest = state.folder / "step-000000002.pt"
        raw = bytearray(newest.read_bytes())
        if damage == "truncate":
            newest.write_bytes(raw[: len(raw) // 2])
        elif damage == "flip":
            where = raw.find(torch.full((3,), 2.0).numpy().tobytes())
            raw[where] ^= 1
            newest.write_bytes(raw)
        elif damage == "foreign":
            torch.save({"fingerprint": "of another", "step": 2, "content": {}}, newest)
        elif damage == "empty":
            newest.write_bytes(b"")
        else:
            torch.save({"fingerprint": state.fingerprint, "content": Path("x")}, newest)
        step, loaded = state.latest()
        assert step == 1
        assert loaded["weights"][0] == 1
    warning = capsys.readouterr().err
    assert "step-000000002.pt" in warning
    assert "using the checkpoint before it" in warning
    # Set aside, not thrown away.
    assert [path.name for path in state.folder.glob("*.damaged")] == ["step-000000002.damaged"]


def test_loading_never_runs_code(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    with hold(tmp_path / "root", {}) as state:
        torch.save(
            {"fingerprint": state.fingerprint, "step": 1, "content": Evil()},
            state.folder / "step-000000001.pt",
        )
        assert state.latest() is None
    assert not (tmp_path / "ran").exists()


def test_unfinished_resumes_finished_starts_afresh_and_more_steps_extend(tmp_path: Path):
    with hold(tmp_path, {}) as state:
        assert state.resume_point(100) is None
        state.save(40, content(40))
        assert state.resume_point(100)[0] == 40  # killed in the middle
        state.save(100, content(100))
        assert state.resume_point(100)[0] == 100  # killed before the results were written
        state.finish(100)
        assert state.finished_at == 100
        assert state.resume_point(150)[0] == 100  # more steps extend it
        assert state.resume_point(100) is None  # asked for again
        assert state.latest() is None
        assert state.finished_at is None


def test_fewer_steps_than_the_state_has_start_afresh(tmp_path: Path):
    with hold(tmp_path, {}) as state:
        state.save(100, content(1))
        assert state.resume_point(50) is None
        assert state.latest() is None


def test_a_second_holder_is_refused_with_the_first_ones_process(tmp_path: Path):
    code = (
        "import sys\nfrom gan.training.state import hold\n"
        f"with hold({str(tmp_path)!r}, {{'a': 1}}):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(StateError, match=rf"another process \(process {other.pid}\)"),
            hold(tmp_path, {"a": 1}),
        ):
            pass
        with hold(tmp_path, {"a": 2}):
            pass  # another run is not in the way
    finally:
        other.kill()
        other.communicate()
    with hold(tmp_path, {"a": 1}):
        pass  # a killed holder leaves nothing behind


def test_half_written_files_are_swept(tmp_path: Path):
    with hold(tmp_path, {}) as state:
        (state.folder / ".step-000000001.pt.abcd.tmp").write_bytes(b"half")
    with hold(tmp_path, {}) as state:
        assert list(state.folder.glob(".*.tmp")) == []


def test_the_fingerprint_depends_on_values_not_on_order():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len(fingerprint({})) == 16


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


def test_the_description_is_readable_json(tmp_path: Path):
    with hold(tmp_path, {"seed": 3}, {"data": "digits"}) as state:
        described = json.loads((state.folder / "run.json").read_text())
    assert described["identity"] == {"seed": 3}
    assert described["about"] == {"data": "digits"}
