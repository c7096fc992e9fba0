from __future__ import annotations

import os
from pathlib import Path

import pytest

from gan.errors import DataError
from gan.preparation import folders
from gan.preparation.archives import open_collection
from gan.preparation.folders import Links
from gan.preparation.listing import Collection, UnreadableError, load


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def opened(root: Path, links: Links = "follow") -> Collection:
    return open_collection(root, frozenset({".png"}), links=links)


def read(root: Path, links: Links = "follow") -> dict[str, str]:
    collection = opened(root, links)
    found = map(load, collection.contents())
    return {name: each.decode() for name, each in zip(collection.names, found, strict=True)}


def refused(root: Path, links: Links = "follow") -> str:
    with pytest.raises(DataError) as caught:
        opened(root, links)
    return str(caught.value)


@pytest.mark.parametrize("links", ["follow", "refuse"])
def test_links_within_are_found_under_their_own_names(tmp_path: Path, links: Links) -> None:
    root = make(tmp_path / "root", "a/x.png")
    (root / "b").symlink_to("a")
    (root / "y.png").symlink_to("a/x.png")
    (root / "a" / "up").symlink_to("..")
    assert read(root, links) == {"a/x.png": "a/x.png"}
    assert opened(root, links).passed_over == {}


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "a/x.png")
    (root / "y.png").symlink_to("a/x.png")
    (tmp_path / "link").symlink_to("root")
    assert read(tmp_path / "link", "refuse") == {"a/x.png": "a/x.png"}


def test_links_that_lead_out_are_followed_under_their_own_names(tmp_path: Path) -> None:
    make(tmp_path / "outside", "deep/x.png", "y.png", "notes.txt", ".hidden.png")
    root = make(tmp_path / "root", "cat/a.png")
    (root / "dog").symlink_to(tmp_path / "outside")
    (root / "cat" / "b.png").symlink_to(tmp_path / "outside" / "y.png")
    assert read(root) == {
        "cat/a.png": "cat/a.png",
        "cat/b.png": "y.png",
        "dog/deep/x.png": "deep/x.png",
        "dog/y.png": "y.png",
    }
    assert opened(root).passed_over == {".txt": 1}


def test_links_that_lead_out_can_be_refused(tmp_path: Path) -> None:
    make(tmp_path / "outside", "x.png", "notes.txt")
    root = make(tmp_path / "root", "a.png")
    (root / "notes").symlink_to(tmp_path / "outside" / "notes.txt")
    assert list(read(root, "refuse")) == ["a.png"]
    for target in ("outside", "outside/x.png", "nowhere"):
        (root / "link.png").symlink_to(tmp_path / target)
        message = refused(root, "refuse")
        assert "link.png is a link that leads out of data.path, and data.links is refuse" in message
        (root / "link.png").unlink()


def test_links_to_what_is_hidden_within_are_followed(tmp_path: Path) -> None:
    # As git-annex has it: every file is a link to a place that no listing shows.
    root = make(tmp_path / "root", ".git/annex/objects/1", ".store/cat/x.png")
    (root / "dog").mkdir()
    (root / "dog" / "1.png").symlink_to("../.git/annex/objects/1")
    (root / "cat").symlink_to(".store/cat")
    expected = {"cat/x.png": ".store/cat/x.png", "dog/1.png": ".git/annex/objects/1"}
    assert read(root) == expected
    assert read(root, "refuse") == expected


def test_cycles_end(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "a/x.png")
    make(tmp_path / "outside", "y.png")
    (root / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(root)
    (tmp_path / "outside" / "again").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "around").symlink_to(tmp_path)
    found = read(root)
    assert found["a/x.png"] == "a/x.png"
    assert found["out/y.png"] == "y.png"
    assert all(name.endswith(("a/x.png", "y.png")) for name in found)
    assert len(found) < 10


def test_links_that_lead_nowhere_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "a.png")
    (root / "b.png").symlink_to(tmp_path / "gone")
    (root / "c.png").symlink_to("c.png")
    (root / "cat").symlink_to(tmp_path / "gone")
    collection = opened(root)
    assert collection.names == ["a.png", "b.png", "c.png"]
    assert collection.passed_over == {"broken links": 1}
    _, gone, loop = collection.contents()
    for content, reason in ((gone, "No such file"), (loop, "Too many levels of symbolic links")):
        with pytest.raises(UnreadableError, match=reason):
            load(content)


def test_devices_are_not_followed(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "a.png")
    os.mkfifo(tmp_path / "pipe")
    (root / "b.png").symlink_to(tmp_path / "pipe")
    (root / "c.png").symlink_to("/dev/zero")
    assert list(read(root)) == ["a.png"]


def test_folders_reached_by_links_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twice as many at each step, though none leads back.
    for step in range(6):
        make(tmp_path, f"{step}/x.png")
        for name in ("one", "two"):
            (tmp_path / f"{step}" / name).symlink_to(tmp_path / f"{step + 1}")
    make(tmp_path, "6/x.png")
    monkeypatch.setattr(folders, "MAX_LINKED_FOLDERS", 126)
    assert len(read(tmp_path / "0")) == 127
    monkeypatch.setattr(folders, "MAX_LINKED_FOLDERS", 125)
    assert "lead to more than 125 folders" in refused(tmp_path / "0")


def test_depth_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_DEPTH", 3)
    assert list(read(make(tmp_path / "a", "1/2/3/x.png"))) == ["1/2/3/x.png"]
    assert "lies more than 3 folders deep" in refused(make(tmp_path / "b", "1/2/3/4/x.png"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "a/x.png")
    (root / "a").chmod(0)
    assert f"cannot read {root / 'a'}: Permission denied" in refused(root)
