import errno
import json
import os
import stat
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


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_a_file_keeps_its_permissions(tmp_path: Path, mode: int):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(mode)
    with atomic_write(target) as file:
        # Nobody reads a private file while it is written.
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {mode}
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path):
    (tmp_path / "far").mkdir()
    target, link, chain = tmp_path / "far" / "file", tmp_path / "link", tmp_path / "chain"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to("far/file")
    chain.symlink_to("link")
    write_bytes(chain, b"new")
    assert chain.readlink() == Path("link")
    assert link.readlink() == Path("far/file")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "far") == ["file"]


def test_a_link_to_nothing_makes_the_file(tmp_path: Path):
    (tmp_path / "link").symlink_to("far/file")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_bytes() == b"new"


def test_a_link_into_a_cache_is_replaced_and_the_cache_is_not_written_to(tmp_path: Path):
    cached, link = tmp_path / "cached", tmp_path / "link"
    cached.write_bytes(b"old")
    cached.chmod(0o444)
    link.symlink_to(cached)
    write_bytes(link, b"new")
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"
    assert cached.read_bytes() == b"old"
    assert link.stat().st_mode & 0o200


def test_a_circle_of_links_is_refused(tmp_path: Path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match=r"cannot write .*a: Too many levels of symbolic links"):
        write_bytes(tmp_path / "a", b"x")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_pipe_is_no_file(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"cannot write .*pipe: found a device, a pipe"):
        write_bytes(tmp_path / "pipe", b"x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127])
def test_the_longest_names_there_are(tmp_path: Path, name: str):
    write_bytes(tmp_path / name, b"x")
    assert os.listdir(tmp_path) == [name]


def test_a_name_that_is_too_long_is_shortened_in_the_message(tmp_path: Path):
    with pytest.raises(UserError, match=r"cannot write .*…a*: File name too long") as caught:
        write_bytes(tmp_path / ("a" * 300), b"x")
    assert len(str(caught.value)) < 250


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write .*c: Not a directory"):
        write_bytes(tmp_path / "taken" / "b" / "c", b"x")


@pytest.mark.parametrize("call", ["write", "flush", "fsync", "replace"])
def test_a_full_disk_at_any_call_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def full(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    opened = Path.open

    class Full:
        """A file whose `call` finds the disk full."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def __getattr__(self, name):
            return full if name == call else getattr(self.file, name)

    if call in ("write", "flush"):
        monkeypatch.setattr(Path, "open", lambda path, mode: Full(opened(path, mode)))
    else:
        monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[call], full)
    with pytest.raises(UserError, match=r"cannot write .*file: No space left on device"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


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
