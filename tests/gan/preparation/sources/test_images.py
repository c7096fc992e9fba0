from __future__ import annotations

import io
import json
import logging
import re
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan.config import DataConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError, UserError
from gan.preparation import archives, decode, formats
from gan.preparation.prepare import prepare
from gan.preparation.sources import images
from gan.preparation.split import in_test


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if nothing were installed that a format takes beside Pillow."""
    formats.readable_formats.cache_clear()
    monkeypatch.setattr(formats, "is_available", lambda name: name not in formats.INSTALL)
    yield
    formats.readable_formats.cache_clear()


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


class TestTheSameImages:
    """However they are packed and whatever lies around them, the same are held out."""

    def held_out(self, path: Path, out: Path) -> list[int]:
        return sorted(run(path, out).images("test")[:, 0, 0, 0].tolist())

    @pytest.mark.parametrize("around", ["", "pets/", "a/b/pets/"])
    def test_folder_and_archive(self, tmp_path: Path, files: dict[str, bytes], around: str) -> None:
        expected = self.held_out(write(tmp_path / "raw", files), tmp_path / "out")
        assert len(expected) == sum(in_test(name, 0.2) for name in files) > 0
        packed = {f"{around}{name}": content for name, content in files.items()}
        for path in (
            write(tmp_path / "deeper", packed),
            *(pack(tmp_path / f"a{suffix}", packed) for suffix in (".zip", ".tar", ".tar.gz")),
        ):
            assert self.held_out(path, tmp_path / "out") == expected, path

    def test_letters_of_one_part_or_two(self, tmp_path: Path) -> None:
        names = [f"{folder}/é{i}.png" for folder in ("a", "ü") for i in range(20)]
        composed = {name: png(i) for i, name in enumerate(names)}
        parted = {unicodedata.normalize("NFD", name): composed[name] for name in names}
        assert parted.keys().isdisjoint(composed)
        one = run(pack(tmp_path / "a.zip", composed), tmp_path / "one")
        two = run(pack(tmp_path / "b.zip", parted), tmp_path / "two")
        for split in ("train", "test"):
            found = [
                sorted(each.images(split)[:, 0, 0, 0].tolist())  # type: ignore[arg-type]
                for each in (one, two)
            ]
            assert found[0] == found[1]
        assert one.manifest.label_names == two.manifest.label_names == ["a", "ü"]

    def test_links_instead_of_files(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        expected = run(write(tmp_path / "raw", files), tmp_path / "one").manifest
        for name in files:
            link = tmp_path / "links" / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(tmp_path / "raw" / name)
        assert run(tmp_path / "links", tmp_path / "two").manifest == expected
        message = refused(tmp_path / "links", tmp_path / "three", links="refuse")
        assert "is a link that leads out of data.path" in message


class TestLabelsBeside:
    def labels(self, opened: Prepared) -> dict[int, str]:
        """Label names by the values of images."""
        found: dict[int, str] = {}
        names = opened.manifest.label_names
        assert names is not None
        for split in ("train", "test"):
            labels = opened.labels(split)  # type: ignore[arg-type]
            assert labels is not None
            values = opened.images(split)[:, 0, 0, 0].tolist()  # type: ignore[arg-type]
            found.update(zip(values, (names[label] for label in labels), strict=True))
        return found

    @pytest.mark.parametrize("packed", ["", ".zip", ".tar", ".tar.gz"])
    def test_in_folders_and_archives(self, tmp_path: Path, packed: str) -> None:
        pictures = {f"{i // 10:05d}/img{i:08d}.png": png(i) for i in range(30)}
        expected = {i: str(i % 3) for i in range(30)}
        listed = json.dumps({"labels": [[name, i % 3] for i, name in enumerate(pictures)]})
        table = "name,other,class\n" + "".join(
            f"img{i:08d},x,{i % 3}\n" for i in reversed(range(30))
        )
        classes = {
            f"{name.removesuffix('.png')}.cls": b"%d" % (i % 3) for i, name in enumerate(pictures)
        }
        settings = {"labels": "meta/t.csv", "label_column": "class"}
        for place, (beside, options) in enumerate(
            (
                ({"dataset.json": listed.encode()}, {}),
                (classes, {}),
                ({"meta/t.csv": table.encode()}, settings),
            )
        ):
            root = tmp_path / str(place)
            files = dict(sorted({**pictures, **beside}.items()))
            path = pack(root.with_suffix(packed), files) if packed else write(root, files)
            opened = run(path, tmp_path / "out", **options)
            assert self.labels(opened) == expected
            assert opened.manifest.passed_over is None

    def test_without_labels_in_dataset_json(self, tmp_path: Path) -> None:
        files = {f"{i // 20}/{i}.png": png(i) for i in range(40)}
        files["dataset.json"] = b'{"labels": null}'
        opened = run(write(tmp_path / "raw", files), tmp_path / "out")
        assert opened.manifest.label_names is None

    def test_a_missing_table(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        message = refused(write(tmp_path / "raw", files), tmp_path / "out", labels="l.csv")
        assert "data.labels l.csv is no file in data.path" in message

    def test_of_what_is_left_out_nothing_is_asked(self, tmp_path: Path) -> None:
        files = {
            f"{folder}/{i}.png": png(i) for folder in ("train", "test", "val") for i in range(9)
        }
        rows = "".join(f"{folder}/{i},{i % 2}\n" for folder in ("train", "test") for i in range(9))
        files["l.csv"] = f"file,label\n{rows}".encode()
        opened = run(write(tmp_path / "raw", files), tmp_path / "out", labels="l.csv")
        assert opened.manifest.label_names == ["0", "1"]
        assert opened.manifest.passed_over == {"val/": 9}


class TestPassedOver:
    @pytest.mark.usefixtures("without")
    def test_counted_printed_and_in_the_manifest(
        self, tmp_path: Path, files: dict[str, bytes], caplog: pytest.LogCaptureFixture
    ) -> None:
        more = {f"cat/{i}.HEIC": b"" for i in range(6)} | {"dog/1.tga": b"", "dog/2.tga": b""}
        out = tmp_path / "out"
        opened = run(write(tmp_path / "raw", {**files, **more}), out)
        assert opened.manifest.passed_over == {".heic": 6, ".tga": 2}
        assert "raw: passed over: 6 .heic (install pillow-heif), 2 .tga" in caplog.text
        stored = json.loads((out / "manifest.json").read_bytes())
        assert stored["passed_over"] == {".heic": 6, ".tga": 2}

    def test_nothing_says_nothing(
        self, tmp_path: Path, files: dict[str, bytes], caplog: pytest.LogCaptureFixture
    ) -> None:
        run(write(tmp_path / "raw", files), tmp_path / "out")
        assert "passed_over" not in json.loads((tmp_path / "out/manifest.json").read_bytes())
        assert caplog.text == ""

    def test_symbols_say_it_too(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        root = write(tmp_path / "raw", {**files, "notes.txt": b""})
        assert run(root, tmp_path / "out", levels=2).manifest.passed_over == {".txt": 1}

    def test_every_ending_of_a_format(self, tmp_path: Path) -> None:
        endings = ("jpg", "jpeg", "jpe", "jfif", "mpo", "JPG", "tif", "tiff", "gif", "bmp", "dib")
        kinds = {"j": "JPEG", "m": "JPEG", "J": "JPEG", "t": "TIFF", "g": "GIF"}
        files = {}
        for place, ending in enumerate(endings):
            for i in range(9):
                file = io.BytesIO()
                Image.new("L", (8, 8), 20 * place).save(file, kinds.get(ending[0], "BMP"))
                files[f"{i}.{ending}"] = file.getvalue()
        opened = run(write(tmp_path / "raw", files), tmp_path / "out")
        found = [opened.images(split)[:, 0, 0, 0] for split in ("train", "test")]
        assert sorted({int(value) for value in np.concatenate(found)}) == [
            20 * place for place in range(len(endings))
        ]
        assert opened.manifest.passed_over is None


def test_names_from_outside_are_shown_on_one_line(tmp_path: Path) -> None:
    root = write(
        tmp_path / "raw", {"a.png": png(1), "b\n\x1b[31mc.png": b"", "d" * 200 + ".png": b""}
    )
    message = refused(root, tmp_path / "out")
    assert "  b\\n\\x1b[31mc.png: is not a" in message
    assert len(message.splitlines()) == 4
    assert max(map(len, message.splitlines())) < 300


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
