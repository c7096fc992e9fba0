"""Linking data into DVC's copies of a checkout, without DVC around it."""

import concurrent.futures
import json
import os
from pathlib import Path

import pytest

from gan.config import Config, DataConfig
from gan.errors import DataError
from pipeline import paths, source


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with data that neither Git nor DVC has: two folders of files, and an archive."""
    root = tmp_path / "checkout"
    for name in ("README.md", "photos/a/1.png", "photos/b/2.png", "faces.zip"):
        write(root / "data/raw" / name, name)
    return root.resolve()


@pytest.fixture
def copy(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What DVC makes of it for an experiment, as the working directory of a stage."""
    root = checkout / ".dvc/tmp/exps/standalone/tmpabc"
    write(root / "data/raw/README.md", "README.md")
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_ROOT", str(checkout))
    return root


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def run(path: str) -> None:
    source.main(Config(data=DataConfig(name="images", path=path)))


def seen(folder: Path) -> dict[str, str]:
    """Every file that DVC would hash: it follows no link to a folder below `folder`."""
    return {
        str(Path(root, name).relative_to(folder)): Path(root, name).read_text()
        for root, _, names in os.walk(folder)
        for name in names
    }


@pytest.mark.parametrize("path", ["data/raw/photos", "data/raw/faces.zip", "./data//raw/photos/"])
def test_what_is_missing_in_a_copy_is_one_link(checkout: Path, copy: Path, path: str):
    run(path)
    assert Path(path).is_symlink()
    assert Path(path).resolve() == checkout / path
    assert Path("data/raw").resolve() == copy / "data/raw"
    assert json.loads(paths.SOURCE.read_text()) == {"path": path}


def test_a_folder_that_both_have_is_completed_file_by_file(checkout: Path, copy: Path):
    write(checkout / "data/raw/photos/a/deep/er/3.png", "3")
    (copy / "data/raw/README.md").write_text("as committed")
    run("data/raw")
    wanted = {**seen(checkout / "data/raw"), "README.md": "as committed"}
    assert seen(copy / "data/raw") == wanted
    assert not any(path.is_symlink() for path in (copy / "data/raw").rglob("*"))
    assert (checkout / "data/raw/README.md").read_text() == "README.md"


def test_on_another_file_system_files_are_symbolic_links(
    checkout: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    run("data/raw")
    assert seen(copy / "data/raw") == seen(checkout / "data/raw")
    linked = copy / "data/raw/photos/a/1.png"
    assert linked.is_symlink()
    assert linked.resolve() == checkout / "data/raw/photos/a/1.png"


def test_links_lead_to_where_they_did(checkout: Path, copy: Path, tmp_path: Path):
    write(tmp_path / "elsewhere/9.png", "9")
    raw = checkout / "data/raw"
    (raw / "inside.png").symlink_to("photos/a/1.png")
    (raw / "outside.png").symlink_to("../../../elsewhere/9.png")
    (raw / "absolute").symlink_to(tmp_path / "elsewhere")
    (raw / "broken.png").symlink_to("nowhere.png")
    run("data/raw")
    found = copy / "data/raw"
    assert (found / "inside.png").readlink() == Path("photos/a/1.png")
    assert (found / "outside.png").read_text() == "9"
    assert (found / "absolute").resolve() == (tmp_path / "elsewhere").resolve()
    assert (found / "broken.png").is_symlink()
    assert not (found / "broken.png").exists()


@pytest.mark.parametrize("path", ["data/raw", "data/raw/photos", "data/raw/photos/a"])
def test_what_dvc_tracks_is_left_to_dvc(checkout: Path, copy: Path, path: str):
    """Here a file was added to the folder since, which the experiment does not have."""
    write(copy / "data/raw/photos.dvc", "outs: []")
    write(copy / "data/raw/photos/a/1.png", "as added")
    write(checkout / "data/raw/photos/a/later.png", "later")
    run(path)
    assert seen(copy / "data/raw/photos") == {"a/1.png": "as added"}
    assert (copy / "data/raw/faces.zip").exists() == (path == "data/raw")


def test_files_of_dvc_and_git_are_copied_since_dvc_writes_to_them(checkout: Path, copy: Path):
    for name in (".gitignore", "photos.dvc"):
        write(checkout / "data/raw" / name, name)
    run("data/raw")
    for name in (".gitignore", "photos.dvc"):
        (copy / "data/raw" / name).write_text("changed")
        assert (checkout / "data/raw" / name).read_text() == name


def test_data_beside_the_checkout_are_linked_beside_the_copy(
    checkout: Path, copy: Path, tmp_path: Path
):
    write(tmp_path / "album/1.png", "1")
    beside = copy.parent / "album"
    beside.symlink_to("nowhere")  # left by a run before
    for _ in range(2):
        run("../album")
        assert beside.is_symlink()
        assert beside.resolve() == (tmp_path / "album").resolve()
        assert seen(beside) == {"1.png": "1"}


def test_jobs_that_share_a_link_do_not_take_it_from_each_other(
    checkout: Path, copy: Path, tmp_path: Path
):
    write(tmp_path / "album/1.png", "1")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(source.bring, Path("../album"), checkout.resolve(), copy.resolve())
            for _ in range(200)
        ]
        for job in jobs:
            job.result()
    assert seen(copy.parent / "album") == {"1.png": "1"}


@pytest.mark.parametrize("path", ["../taken", "../../../../../taken", ".."])
def test_what_lies_beside_the_copy_is_not_taken_for_the_data(
    checkout: Path, copy: Path, tmp_path: Path, path: str
):
    """A queue has `cache` beside its copies, and enough dots lead into the checkout itself."""
    write((checkout / path).resolve() / "right.png", "right")
    if path != "..":
        write((copy / path).resolve() / "wrong.png", "wrong")
    with pytest.raises(DataError, match=r"expected a path without \.\., or /.*") as caught:
        run(path)
    assert f"data.path {path} leads to {os.path.normpath(copy / path)}" in str(caught.value)
    assert str((checkout / path).resolve()) in str(caught.value)
    assert not paths.SOURCE.exists()


def test_absolute_paths_are_as_they_are(checkout: Path, copy: Path):
    run(str(checkout / "data/raw/photos"))
    assert seen(copy / "data/raw") == {"README.md": "README.md"}


def test_the_checkout_itself_is_left_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(checkout)
    before = seen(checkout)
    for root in (str(checkout), None):
        monkeypatch.delenv("DVC_ROOT", raising=False)
        if root:
            monkeypatch.setenv("DVC_ROOT", root)
        run("data/raw/photos")
        assert seen(checkout) == {**before, str(paths.SOURCE): paths.SOURCE.read_text()}
        paths.SOURCE.unlink()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data/raw/nothing", "data.path data/raw/nothing does not exist: expected a folder"),
        ("data/raw/faces.zip/inside", "does not exist: expected a folder, an archive or a file"),
        ("n" * 300, "cannot be read: "),
        ("data/raw/\x1b[2J", r"data.path data/raw/\x1b[2J does not exist"),
    ],
)
def test_what_is_not_there_is_said_at_once(copy: Path, path: str, message: str):
    with pytest.raises(DataError) as caught:
        run(path)
    assert message in str(caught.value)
    assert not paths.SOURCE.exists()


def test_the_checkout_of_a_copy_is_known_under_every_version_of_dvc(
    checkout: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
):
    for root in (checkout, copy):  # the variable names the one or the other
        monkeypatch.setenv("DVC_ROOT", str(root))
        assert paths.main_checkout() == checkout
    monkeypatch.delenv("DVC_ROOT")
    assert paths.main_checkout() == Path()
