"""DVC's own files after a kill. That DVC goes on afterwards is in `test_repro`."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan.errors import StateError
from pipeline import mend as module
from pipeline.mend import mend

RWLOCK = Path(".dvc/tmp/rwlock")
LOCK = Path("dvc.lock")
ASIDE = Path(".dvc/tmp/dvc.lock.damaged")
WHOLE = b"""schema: '2.0'
stages:
  code:
    cmd: x
    outs:
    - path: y
      md5: d41d8cd98f00b204e9800998ecf8427e
"""
GONE = {"write": {"/data": {"pid": 2**22 + 1, "cmd": "dvc repro"}}}
REUSED = {"read": {"/data": [{"pid": 1, "cmd": "dvc repro"}]}}


@pytest.fixture(autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RWLOCK.parent.mkdir(parents=True)


@pytest.fixture
def dvc_at_work(tmp_path: Path) -> Iterator[int]:
    """A process that looks like DVC's, in this checkout."""
    script = tmp_path / "bin" / "dvc"
    script.parent.mkdir()
    script.write_text("import sys; print('on', flush=True); sys.stdin.read()")
    process = subprocess.Popen(
        [sys.executable, str(script), "repro"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "on\n"
    yield process.pid
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"write": {', b"\xff", b"[1]", b'{"read": 3}', b"[" * 9999]
)
def test_a_half_written_rwlock_is_removed(raw: bytes):
    RWLOCK.write_bytes(raw)
    assert mend() == [".dvc/tmp/rwlock was half-written: removed"]
    assert not RWLOCK.exists()
    assert mend() == []


@pytest.mark.parametrize("entries", [GONE, REUSED])
def test_entries_of_processes_that_are_gone_are_removed(entries: dict):
    RWLOCK.write_text(json.dumps(entries))
    assert mend() == [".dvc/tmp/rwlock named processes that are gone: removed"]
    assert not RWLOCK.exists()


@pytest.mark.parametrize("raw", [None, b"{}", b" {}\n", b'{"read": {}, "write": {}}'])
def test_what_is_whole_is_left_as_it_is(raw: bytes | None):
    if raw is not None:
        RWLOCK.write_bytes(raw)
    LOCK.write_bytes(WHOLE)
    assert mend() == []
    assert LOCK.read_bytes() == WHOLE
    assert RWLOCK.exists() == (raw is not None)
    if raw is not None:
        assert RWLOCK.read_bytes() == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        WHOLE[:-4] + b"\n -",
        WHOLE[:32],
        b"\xff\xfe",
        b"stages: [",
        b"schema: '2.0'\nstages:\n  a:\n   cmd",
    ],
)
def test_a_half_written_dvc_lock_is_set_aside(raw: bytes):
    LOCK.write_bytes(raw)
    (done,) = mend()
    assert done.startswith("dvc.lock was half-written: set aside as .dvc/tmp/dvc.lock.damaged")
    assert not LOCK.exists()
    assert ASIDE.read_bytes() == raw
    assert mend() == []


def test_a_merge_is_left_to_people():
    raw = b"<<<<<<< ours\n" + WHOLE + b"=======\n" + WHOLE + b">>>>>>> theirs\n"
    LOCK.write_bytes(raw)
    assert mend() == []
    assert LOCK.read_bytes() == raw


@pytest.mark.parametrize("work_tree", [False, True])
def test_the_lock_on_gits_index_that_stays_is_removed(tmp_path: Path, work_tree: bool):
    folder = tmp_path / ("elsewhere" if work_tree else ".git")
    folder.mkdir()
    if work_tree:
        Path(".git").write_text(f"gitdir: {folder}\n")
    lock = folder / "index.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    (done,) = mend()
    assert done.endswith("index.lock was left by a process that is gone: removed")
    assert os.listdir(folder) == []
    assert mend() == []


def test_a_lock_on_gits_index_that_goes_by_itself_is_left(monkeypatch: pytest.MonkeyPatch):
    Path(".git").mkdir()
    lock = Path(".git/index.lock")
    lock.touch()
    waited = []

    def meanwhile(seconds: float) -> None:
        waited.append(seconds)
        lock.unlink()

    monkeypatch.setattr("time.sleep", meanwhile)
    assert mend() == []
    assert 0 < waited[0] <= module.INDEX_SECONDS


@pytest.mark.parametrize("damaged", [RWLOCK, LOCK])
def test_nothing_is_mended_while_another_process_works_here(
    damaged: Path, dvc_at_work: int, capsys: pytest.CaptureFixture[str]
):
    damaged.write_bytes(b"")
    assert module.main() == 2
    said = capsys.readouterr().err
    assert f"{damaged} is in the way of DVC, and is not mended while" in said
    assert f"process {dvc_at_work} (" in said
    assert "run python -m pipeline.mend" in said
    assert damaged.read_bytes() == b""


def test_entries_are_left_while_another_process_works_here(dvc_at_work: int):
    RWLOCK.write_text(json.dumps(GONE))
    assert mend() == []
    assert json.loads(RWLOCK.read_text()) == GONE


def test_a_process_elsewhere_is_not_in_the_way(
    dvc_at_work: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    other = tmp_path_factory.mktemp("other")
    (other / RWLOCK).parent.mkdir(parents=True)
    (other / RWLOCK).touch()
    monkeypatch.chdir(other)
    assert len(mend()) == 1


@pytest.mark.parametrize("name", ["lock", "rwlock.lock"])
def test_a_lock_that_someone_holds_is_respected(name: str):
    """Whoever they are: a process that this one cannot see."""
    from dvc.lock import Lock

    RWLOCK.touch()
    with Lock(str(RWLOCK.with_name(name))), pytest.raises(StateError, match=f"{name} is held by"):
        mend()
    assert RWLOCK.exists()
    assert len(mend()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/venv/bin/python", "/venv/bin/dvc", "repro"], True),
        (["python", "-m", "dvc", "exp", "run"], True),
        (["dvc", "status"], True),
        (["/usr/bin/git", "add", "x"], True),
        (["python", "-m", "pipeline.train"], True),
        (["python", "-m", "dvc", "daemon", "-q", "updater"], False),
        (["/usr/bin/git", "fsmonitor--daemon", "run", "--detach"], False),
        (["python", "-m", "pytest", "tests/pipeline"], False),
        (["grep", "-r", "dvc.lock", "."], False),
        ([], False),
    ],
)
def test_which_processes_count(words: list[str], expected: bool):
    assert module._is_ours(words) is expected


def test_what_cannot_be_read_or_removed_is_named(monkeypatch: pytest.MonkeyPatch):
    def refused(path: Path, *arguments: object, **named: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    RWLOCK.touch()
    for name, message in (("read_bytes", "cannot read"), ("unlink", "cannot mend")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, refused)
            with pytest.raises(StateError, match=rf"{message} .*rwlock: Permission denied"):
                mend()
    assert len(mend()) == 1


def test_a_folder_without_dvc_has_nothing_to_mend(tmp_path: Path):
    assert mend(tmp_path / "elsewhere") == []
    assert module.main() == 0
