from __future__ import annotations

import io
import logging
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan.config import DataConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError, UserError
from gan.preparation import archives, decode
from gan.preparation.prepare import prepare
from gan.preparation.sources import images
from gan.preparation.split import in_test


def png(value: int, size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((size, size), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def pack(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of the kind that the name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return path
    mode = "w:gz" if path.suffix == ".gz" else "w"
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def run(path: Path, out: Path, *, workers: int = 0, **settings: Any) -> Prepared:
    config = DataConfig(name="images", path=str(path), **{"size": 8, **settings})
    prepare(config, out, workers=workers, progress=False)
    return open_prepared(out)


def refused(path: Path, out: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        run(path, out, **settings)
    assert not out.exists() or list(out.iterdir()) == []
    return str(caught.value)


@pytest.fixture
def files() -> dict[str, bytes]:
    """Forty images in two folders; the value of each is its place in sorted order."""
    names = sorted(f"{('cat', 'dog')[i % 2]}/{i // 2}/{i}.png" for i in range(40))
    return {name: png(value) for value, name in enumerate(names)}


def test_labels_order_and_split(tmp_path: Path, files: dict[str, bytes]) -> None:
    opened = run(write(tmp_path / "raw", files), tmp_path / "out")
    assert opened.manifest.label_names == ["cat", "dog"]
    names = sorted(files)
    for split in ("train", "test"):
        expected = [
            value for value, name in enumerate(names) if in_test(name, 0.2) == (split == "test")
        ]
        assert opened.images(split)[:, 0, 0, 0].tolist() == expected
        labels = opened.labels(split)
        assert labels is not None
        assert labels.tolist() == [int(names[value].startswith("dog")) for value in expected]


def test_folder_zip_and_tar_give_the_same_bytes_with_any_workers(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "CHUNK_IMAGES", 3)
    folder = write(tmp_path / "raw", files)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for name in reversed(files):
            packed.writestr(name, files[name])
    for path, mode in ((tmp_path / "a.tar", "w"), (tmp_path / "a.tar.gz", "w:gz")):
        with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
            for name in files if mode == "w:gz" else reversed(files):
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(files[name])
                tar.addfile(info, io.BytesIO(files[name]))
    run(folder, tmp_path / "expected", channels=3)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "expected").iterdir()}
    assert len(expected) == 5
    for name, workers in (("raw", 1), ("raw", 2), ("a.zip", 2), ("a.tar", 2), ("a.tar.gz", 2)):
        run(tmp_path / name, tmp_path / "out", workers=workers, channels=3)
        found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert found == expected, (name, workers)


def layout(tmp_path: Path, *patterns: str) -> Prepared:
    """Thirty images for each pattern."""
    files = {pattern.format(i): png(i) for pattern in patterns for i in range(30)}
    return run(write(tmp_path / "raw", files), tmp_path / "out")


class TestFolders:
    def test_flat(self, tmp_path: Path) -> None:
        assert layout(tmp_path, "{}.png").manifest.label_names is None

    def test_folders_around_everything_are_passed_through(self, tmp_path: Path) -> None:
        opened = layout(tmp_path, "pets/all/cat/{}.png", "pets/all/dog/x/{}.png")
        assert opened.manifest.label_names == ["cat", "dog"]

    def test_one_folder_is_no_label(self, tmp_path: Path) -> None:
        assert layout(tmp_path, "celeba/{}.png").manifest.label_names is None

    def test_a_common_start_of_names_is_no_folder(self, tmp_path: Path) -> None:
        assert layout(tmp_path, "cat1/{}.png", "cat2/{}.png").manifest.label_names == [
            "cat1",
            "cat2",
        ]

    def test_mixed_has_no_labels_and_says_so(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            opened = layout(tmp_path, "cat/{}.png", "dog/{}.png", "z{}.png")
        assert opened.manifest.label_names is None
        assert "images beside its folders, such as z0.png" in caplog.text

    @pytest.mark.parametrize("other", ["test", "val", "Valid", "validation"])
    def test_train_and_test_are_the_splits(self, tmp_path: Path, other: str) -> None:
        opened = layout(tmp_path, "x/train/cat/{}.png", f"x/{other}/dog/{{}}.png")
        assert opened.manifest.label_names == ["cat", "dog"]
        for split, label in (("train", 0), ("test", 1)):
            labels = opened.labels(split)  # type: ignore[arg-type]
            assert labels is not None
            assert labels.tolist() == [label] * 30

    def test_train_and_test_without_labels(self, tmp_path: Path) -> None:
        opened = layout(tmp_path, "Train/{}.png", "Test/{}.png")
        assert opened.manifest.label_names is None
        assert len(opened.images("test")) == 30

    def test_validation_is_left_out_beside_a_test_split_and_it_is_said(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        opened = layout(tmp_path, "train/{}.png", "test/{}.png", "Val/{}.png")
        assert len(opened.images("train")) == len(opened.images("test")) == 30
        assert opened.manifest.passed_over == {"Val/": 30}
        assert "30 images in the folder Val are left out" in caplog.text

    @pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
    def test_what_is_left_out_of_an_archive(self, tmp_path: Path, suffix: str) -> None:
        folders = ("test", "train", "val")
        files = {
            f"{folder}/{label}/{i}.png": png(100 * place + i)
            for place, folder in enumerate(folders)
            for label in "ab"
            for i in range(3)
        }
        opened = run(pack(tmp_path / f"a{suffix}", files), tmp_path / "out")
        assert opened.images("test")[:, 0, 0, 0].tolist() == [0, 1, 2] * 2
        assert opened.images("train")[:, 0, 0, 0].tolist() == [100, 101, 102] * 2
        labels = opened.labels("train")
        assert labels is not None
        assert labels.tolist() == [0, 0, 0, 1, 1, 1]

    def test_training_and_testing(self, tmp_path: Path) -> None:
        opened = layout(tmp_path, "mnist_png/training/7/{}.png", "mnist_png/testing/1/{}.png")
        assert opened.manifest.label_names == ["1", "7"]
        assert len(opened.images("test")) == 30

    @pytest.mark.parametrize(
        ("folders", "expected"),
        [
            (("train", "test", "extra"), "beside them extra/: expected nothing but images"),
            (("train", "test", ""), r"beside them /?0\.png: expected nothing but images"),
            (("train", "test", "testing"), "the folders test and testing, which mean the same"),
            (("train", "Train", "val"), "the folders Train and train, which mean the same"),
            (("train", "val", "valid"), "the folders val and valid, which mean the same"),
        ],
    )
    def test_divisions_that_are_none(
        self, tmp_path: Path, folders: tuple[str, ...], expected: str
    ) -> None:
        files = {f"{name}/{i}.png".lstrip("/"): png(0) for name in folders for i in range(3)}
        message = refused(write(tmp_path / "raw", files), tmp_path / "out")
        assert re.search(expected, message), message

    def test_train_among_other_labels_is_a_label(self, tmp_path: Path) -> None:
        opened = layout(tmp_path, "train/{}.png", "bus/{}.png")
        assert opened.manifest.label_names == ["bus", "train"]

    def test_names_that_are_no_valid_text(self, tmp_path: Path) -> None:
        files = {f"{folder}/{i}.png": png(0) for folder in ("caf\udce9", "tea") for i in range(30)}
        try:
            root = write(tmp_path / "raw", files)
        except (OSError, UnicodeError):
            pytest.skip("the file system allows no such names")
        assert run(root, tmp_path / "out").manifest.label_names == ["caf\\udce9", "tea"]


class TestBadInput:
    def test_missing(self, tmp_path: Path) -> None:
        assert "none does not exist" in refused(tmp_path / "none", tmp_path / "out")

    def test_empty_but_for_the_readme(self, tmp_path: Path) -> None:
        root = write(tmp_path / "raw", {"README.md": b"Put your data here."})
        message = refused(root, tmp_path / "out")
        assert f"data.path {root} holds no images: expected PNG, JPEG, WebP, BMP" in message
        assert message.endswith("; passed over: 1 .md")

    @pytest.mark.parametrize("workers", [0, 2])
    def test_stop_lists_all_by_name(
        self,
        tmp_path: Path,
        files: dict[str, bytes],
        monkeypatch: pytest.MonkeyPatch,
        workers: int,
    ) -> None:
        monkeypatch.setattr(images, "CHUNK_IMAGES", 4)
        names = list(files)
        files[names[3]] = b"no image"
        files[names[30]] = files[names[30]][:45]
        message = refused(write(tmp_path / "raw", files), tmp_path / "out", workers=workers)
        assert "2 images in" in message
        assert (
            f"{names[3]}: is not a PNG, JPEG, WebP, BMP, GIF, TIFF, AVIF or HEIC image" in message
        )
        assert f"{names[30]}: " in message

    @pytest.mark.parametrize("workers", [0, 2])
    def test_skip_keeps_labels_and_splits_of_the_others(
        self,
        tmp_path: Path,
        files: dict[str, bytes],
        monkeypatch: pytest.MonkeyPatch,
        workers: int,
    ) -> None:
        monkeypatch.setattr(images, "CHUNK_IMAGES", 4)
        names = list(files)
        damaged = {names[0], names[5], names[6], names[39]}
        broken = {name: b"" if name in damaged else files[name] for name in names}
        opened = run(
            write(tmp_path / "raw", broken), tmp_path / "out", workers=workers, on_error="skip"
        )
        assert opened.manifest.skipped.count == 4
        assert opened.manifest.skipped.names == sorted(damaged)
        expected = [
            (value, int(name.startswith("dog")))
            for value, name in enumerate(names)
            if name not in damaged and not in_test(name, 0.2)
        ]
        labels = opened.labels("train")
        assert labels is not None
        found = zip(opened.images("train")[:, 0, 0, 0].tolist(), labels.tolist(), strict=True)
        assert list(found) == expected

    def test_none_is_decoded_twice(
        self, tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counted = []
        real = decode.decode

        def count(content: bytes, form: decode.Form) -> Any:
            counted.append(content)
            return real(content, form)

        monkeypatch.setattr(decode, "decode", count)
        files[next(iter(files))] = b""
        run(write(tmp_path / "raw", files), tmp_path / "out", on_error="skip")
        assert sorted(counted) == sorted(files.values())

    def test_nothing_but_damage(self, tmp_path: Path) -> None:
        root = write(tmp_path / "raw", {"a.png": b"", "b.png": b""})
        message = refused(root, tmp_path / "out", on_error="skip")
        assert "no image of it can be used" in message

    def test_image_bombs_by_name(self, tmp_path: Path) -> None:
        root = write(tmp_path / "raw", {"a.png": png(1), "bomb.png": png(1, 129)})
        message = refused(root, tmp_path / "out", max_pixels=128 * 128)
        assert "bomb.png: has 129 x 129 pixels, more than the 16384 of data.max_pixels" in message

    @pytest.mark.parametrize("on_error", ["stop", "skip"])
    def test_pad_of_a_larger_image(self, tmp_path: Path, on_error: str) -> None:
        root = write(tmp_path / "raw", {"a.png": png(1), "b/large.png": png(1, 9)})
        message = refused(root, tmp_path / "out", fit="pad", on_error=on_error)
        assert "b/large.png: 9 x 9 is larger than data.size 8" in message

    def test_too_few_images(self, tmp_path: Path) -> None:
        root = write(tmp_path / "raw", {"a.png": png(1)})
        message = refused(root, tmp_path / "out", test_fraction=0.001)
        assert "of 1 images 1 are for training and 0 for testing" in message

    def test_refused_archives_come_before_any_writing(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.png", png(1))
            archive.writestr("../b.png", png(1))
        out = tmp_path / "out"
        assert "'../b.png'" in refused(tmp_path / "a.zip", out)
        assert not out.exists()

    def test_a_tar_damaged_on_the_way_keeps_what_was_there(
        self, tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        run(write(tmp_path / "raw", files), out)
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            tar.add(tmp_path / "raw", ".")
        monkeypatch.setattr(archives, "_opened_tar", _truncating(archives._opened_tar))
        with pytest.raises(DataError, match=r"a\.tar is damaged or foreign"):
            run(tmp_path / "a.tar", out)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def _truncating(opened: Any) -> Any:
    """Let the archive shrink between listing and reading."""
    calls = 0

    def truncated(path: Path) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            path.write_bytes(path.read_bytes()[:9000])
        return opened(path)

    return truncated


def test_chunks_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "CHUNK_BYTES", 100)
    files = [(f"{i}", bytes(40)) for i in range(10)]
    assert [len(chunk) for chunk in images._chunks(files, 64)] == [3, 3, 3, 1]
    assert [len(chunk) for chunk in images._chunks(files, 2)] == [2] * 5
