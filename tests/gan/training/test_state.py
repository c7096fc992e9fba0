import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan.errors import StateError, UserError
from gan.training import states as state_cli
from gan.training.checkpoints import aside_in, checkpoints_in
from gan.training.environment import environment
from gan.training.state import RunState, fingerprint, hold


def content(value: float) -> dict[str, object]:
    return {"weights": torch.full((3,), value), "history": [[1.0, 2.0]], "count": 7}


def names(state: RunState) -> list[str]:
    """Of the checkpoints, set aside or not."""
    return sorted(path.name for path in state.folder.glob("step-*"))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def test_unfinished_resumes_finished_is_there_again_and_more_steps_extend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with hold(tmp_path, {}) as state:
        assert state.resume_point(100) is None
        state.save(40, content(40))
        assert state.resume_point(100)[0] == 40  # killed in the middle
        assert capsys.readouterr().err == ""
        state.save(100, content(100))
        assert state.resume_point(100)[0] == 100  # killed before the results were written
        state.finish(100)
        assert state.finished_at == 100
        assert state.resume_point(150)[0] == 100  # more steps extend it
        capsys.readouterr()
        assert state.resume_point(100)[0] == 100  # asked for again, published or not
        said = capsys.readouterr().err
        assert f"python -m gan.state --root {tmp_path} restart {state.fingerprint}" in said
        assert [state.latest()[0], state.finished_at] == [100, 100]


def test_fewer_steps_than_the_state_has_leave_the_longer_one_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with hold(tmp_path, {}) as state:
        state.save(90, content(90))
        state.save(100, content(100))
        assert state.resume_point(50) is None
        assert (
            "is at step 100 and stays as it is; the 50 steps asked for are taken from the start"
            in (capsys.readouterr().err)
        )
        for step in (20, 30, 50):
            state.save(step, content(step))
        state.finish(50)
        assert names(state) == [f"step-{step:09d}.pt" for step in (30, 50, 90, 100)]
        assert state.resume_point(60)[0] == 50
        assert "is at step 100 and stays as it is; the 60 steps asked for go on from step 50" in (
            capsys.readouterr().err
        )
        assert state.resume_point(200)[0] == 100  # the longer run goes on
        state.save(110, content(110))
        assert names(state) == [f"step-{step:09d}.pt" for step in (100, 110)]
        state.finish(110)
        state.finish(50)
        assert state.finished_at == 110


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ENOMEM])
def test_a_checkpoint_that_cannot_be_read_now_stops_the_run_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
):
    read = Path.read_bytes

    def fails(path: Path) -> bytes:
        if path.name == "step-000000002.pt":
            raise OSError(number, os.strerror(number), str(path))
        return read(path)

    with hold(tmp_path, {}) as state:
        state.save(1, content(1))
        state.save(2, content(2))
        before = everything(state.folder)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", fails)
            for ask in (state.latest, lambda: state.resume_point(100)):
                with pytest.raises(
                    StateError, match=rf"step-000000002.pt: {os.strerror(number)}.*nothing was"
                ):
                    ask()
        assert everything(state.folder) == before
        assert capsys.readouterr().err == ""
        assert state.resume_point(100)[0] == 2


@pytest.mark.parametrize("where", ["bytes", "parsing", "allocating"])
def test_too_little_memory_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
):
    def fails(*arguments: object, **named: object) -> None:
        if where == "allocating":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to …")
        raise MemoryError

    with hold(tmp_path, {}) as state:
        state.save(1, content(1))
        before = everything(state.folder)
        with monkeypatch.context() as patch:
            patch.setattr(*((Path, "read_bytes") if where == "bytes" else (torch, "load")), fails)
            with pytest.raises(StateError, match=r"step-000000001.pt: there is not enough memory"):
                state.resume_point(100)
        assert everything(state.folder) == before
        assert state.latest()[0] == 1


def test_a_folder_that_cannot_be_listed_is_not_one_without_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(path: object) -> list[str]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with hold(tmp_path, {}) as state:
        state.save(1, content(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", fails)
            with pytest.raises(StateError, match=r"cannot read .*: Permission denied"):
                state.resume_point(100)
        assert state.resume_point(100)[0] == 1


def test_starting_over_from_damaged_checkpoints_takes_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with hold(tmp_path, {}) as state:
        for step in (1, 2):
            state.save(step, content(step))
        for _, path in checkpoints_in(state.folder):
            path.write_bytes(path.read_bytes()[:-1])
        for _ in range(2):  # it stays so
            with pytest.raises(StateError, match=r"2 damaged in .*Nothing was removed") as caught:
                state.resume_point(100)
        assert names(state) == ["step-000000001.damaged", "step-000000002.damaged"]
    # What the message says, as it says it.
    command = str(caught.value).rpartition("start over from step 0: ")[2]
    assert command == f"python -m gan.state --root {tmp_path} restart {state.fingerprint}"
    assert state_cli.main(shlex.split(command)[3:]) == 0
    assert "starts from step 0 next time; 2 damaged checkpoints are put away" in (
        capsys.readouterr().out
    )
    with hold(tmp_path, {}) as state:
        assert state.resume_point(100) is None
        state.save(1, content(1))
        assert state.latest()[0] == 1
        put_away = sorted(path.name for path in (state.folder / "given-up").iterdir())
        assert put_away == ["step-000000001.damaged", "step-000000002.damaged"]


def test_damage_below_the_steps_asked_for_takes_a_word_whatever_lies_beyond(tmp_path: Path):
    with hold(tmp_path, {}) as state:
        for step in (50, 100):
            state.save(step, content(step))
        path = state.folder / "step-000000050.pt"
        path.write_bytes(path.read_bytes()[:-1])
        for _ in range(2):
            with pytest.raises(StateError, match="no checkpoint of this run up to step 60 can"):
                state.resume_point(60)
        assert state.resume_point(40) is None  # nothing is lost of what this would go on from
        assert state.resume_point(100)[0] == 100


def test_what_is_set_aside_is_never_overwritten_or_removed(tmp_path: Path):
    with hold(tmp_path, {}) as state:
        for content_of in (b"one", b"two", b"three"):
            (state.folder / "step-000000007.pt").write_bytes(content_of)
            assert state.latest() is None
        state.save(8, content(8))
        (state.folder / "given-up").mkdir()
        (state.folder / "given-up" / "step-000000007.damaged").write_bytes(b"zero")
        state.clear()
        assert [path.read_bytes() for path in aside_in(state.folder)] == [b"one", b"two", b"three"]
        state.give_up()
        assert aside_in(state.folder) == []
        kept = {path.read_bytes() for path in (state.folder / "given-up").iterdir()}
        assert kept == {b"zero", b"one", b"two", b"three"}


def test_a_damaged_checkpoint_that_cannot_be_set_aside_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(path: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with hold(tmp_path, {}) as state:
        (state.folder / "step-000000007.pt").write_bytes(b"")
        monkeypatch.setattr(Path, "rename", fails)
        with pytest.raises(StateError, match="cannot be set aside: Read-only file system"):
            state.resume_point(9)


def test_another_environment_is_told_of(tmp_path: Path, monkeypatch, capsys):
    with hold(tmp_path, {}) as state:
        state.save(1, content(1))
        assert json.loads((state.folder / "run.json").read_text())["environment"] == environment()
    capsys.readouterr()
    with hold(tmp_path, {}) as state:
        state.resume_point(100)
        assert capsys.readouterr().err == ""
    other = {**environment(), "threads": 99, "omp_num_threads": "99"}
    with monkeypatch.context() as patch:
        patch.setattr("gan.training.state.environment", lambda: other)
        with hold(tmp_path, {}) as state:
            state.resume_point(100)
            said = capsys.readouterr().err
            assert f"threads: {torch.get_num_threads()} before, 99 now" in said
            assert "may differ in their last bits" in said
            state.save(2, content(2))
    # And from then on: the steps of the state are of both.
    with hold(tmp_path, {}) as state:
        state.resume_point(100)
        assert f"threads: 99 before, {torch.get_num_threads()} now" in capsys.readouterr().err


@pytest.mark.parametrize("gone", ["folder", "lock", "root"])
def test_a_state_removed_while_it_is_held_is_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], gone: str
):
    with hold(tmp_path / "root", {"a": 1}) as state:
        state.save(1, content(1))
        if gone == "lock":
            (state.folder / "lock").unlink()
        else:
            shutil.rmtree(state.folder if gone == "folder" else tmp_path / "root")
        state.save(2, content(2))
        assert "was removed while this run held it" in capsys.readouterr().err
        assert state.latest()[0] == 2
        assert json.loads((state.folder / "run.json").read_text())["identity"] == {"a": 1}
        with pytest.raises(StateError, match="another process"), hold(tmp_path / "root", {"a": 1}):
            pass  # held as before
        state.save(3, content(3))
        assert capsys.readouterr().err == ""


def test_a_state_removed_and_taken_by_another_ends_the_run(tmp_path: Path):
    with hold(tmp_path, {}) as state:
        state.save(1, content(1))
        shutil.rmtree(state.folder)
        with hold(tmp_path, {}) as other:
            with pytest.raises(
                StateError, match=r"removed while this run held it.*another process"
            ):
                state.save(2, content(2))
            other.save(5, content(5))
            assert names(other) == ["step-000000005.pt"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_made_or_held_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    def fails(*arguments: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", fails)
    with (
        pytest.raises(StateError, match=f"cannot hold the state in .*: {os.strerror(number)}"),
        hold(tmp_path, {}),
    ):
        pass


def test_a_full_disk_at_any_write_of_a_save_leaves_the_state_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = {"open": Path, "fsync": os, "replace": Path}
    with hold(tmp_path, {}) as state:
        state.save(1, content(1))
        before = everything(state.folder)
        for call, owner in calls.items():

            def full(*arguments: object) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            with monkeypatch.context() as patch:
                patch.setattr(owner, call, full)
                with pytest.raises(UserError, match=r"step-000000002.pt: No space left"):
                    state.save(2, content(2))
            assert everything(state.folder) == before
        state.save(2, content(2))
        assert state.latest()[0] == 2


def test_a_state_that_cannot_be_marked_as_finished_warns_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with hold(tmp_path, {}) as state:
        state.save(2, content(2))
        monkeypatch.setattr(os, "fsync", full)
        state.finish(2)
        assert state.finished_at is None
    assert "is not marked as finished: cannot write" in capsys.readouterr().err


def test_old_checkpoints_that_cannot_be_removed_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with hold(tmp_path, {}) as state:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", fails)
            for step in (1, 2, 3):
                state.save(step, content(step))
        assert len(checkpoints_in(state.folder)) == 3
        state.save(4, content(4))
        assert names(state) == ["step-000000003.pt", "step-000000004.pt"]


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


def test_the_description_is_readable_json(tmp_path: Path):
    with hold(tmp_path, {"seed": 3}, {"data": "digits"}) as state:
        described = json.loads((state.folder / "run.json").read_text())
    assert described["identity"] == {"seed": 3}
    assert described["about"] == {"data": "digits"}
