import errno
import json
import os
from pathlib import Path

import pytest

from gan.errors import UserError
from gan.files import atomic_write, open_plain, write_bytes, write_json


def test_content_arrives_whole_and_folders_are_made(tmp_path: Path):
    target = tmp_path / "a" / "b.bin"
    write_bytes(target, b"one")
    write_bytes(target, b"two")
    assert target.read_bytes() == b"two"
    assert os.listdir(target.parent) == ["b.bin"]


def test_an_error_within_the_block_leaves_the_old_file(tmp_path: Path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(target) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path: Path, monkeypatch):
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*file: No space left on device"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_real_full_device(tmp_path: Path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with (
        pytest.raises(UserError, match="No space left on device"),
        atomic_write(tmp_path / "x") as file,
    ):
        with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
            full.write(b"x")
        file.write(b"x")


def test_an_error_about_another_file_passes_through(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_write(tmp_path / "x"):
        (tmp_path / "elsewhere").read_bytes()
    assert os.listdir(tmp_path) == []


def test_a_folder_in_the_way_is_named(tmp_path: Path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*taken"):
        write_bytes(tmp_path / "taken", b"x")


def test_json_is_the_same_bytes_for_the_same_content(tmp_path: Path):
    write_json(tmp_path / "a", {"b": 1, "a": [1.5, "ü"]})
    write_json(tmp_path / "b", {"a": [1.5, "ü"], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text(encoding="utf-8")) == {"a": [1.5, "ü"], "b": 1}


def test_json_has_no_nan(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a", {"x": float("nan")})
    assert os.listdir(tmp_path) == []


def test_only_plain_files_are_opened(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"content")
    with open_plain(tmp_path / "file") as file:
        assert file.read() == b"content"
    os.mkfifo(tmp_path / "pipe")
    for place, message in (("pipe", "it is no plain file"), (".", "it is no plain file|directory")):
        with pytest.raises(OSError, match=message):
            open_plain(tmp_path / place)
    if Path("/dev/zero").exists():
        with pytest.raises(OSError, match="it is no plain file"):
            open_plain("/dev/zero")
