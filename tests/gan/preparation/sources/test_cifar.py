from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gan.config import DataConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError
from gan.preparation.prepare import prepare

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
HUNDRED = [f"class {number}" for number in range(100)]

Images = npt.NDArray[np.uint8]


def some(count: int, classes: int, seed: int) -> tuple[Images, list[int]]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3072), np.uint8)
    return images, rng.integers(0, classes, count).tolist()


BATCHES_10 = {
    **{f"data_batch_{number}": some(4, 10, number) for number in range(1, 6)},
    "test_batch": some(3, 10, 6),
}
BATCHES_100 = {"train": some(5, 100, 0), "test": some(2, 100, 1)}


def binary_10() -> dict[str, bytes]:
    files = {
        f"{name}.bin": b"".join(
            bytes([label]) + image.tobytes() for image, label in zip(*batch, strict=True)
        )
        for name, batch in BATCHES_10.items()
    }
    return {**files, "batches.meta.txt": ("\n".join(TEN) + "\n\n").encode(), "readme.html": b"<"}


def python_10() -> dict[str, bytes]:
    files = {
        name: pickle.dumps(
            {b"batch_label": b"x", b"labels": labels, b"data": images, b"filenames": [b"a"]}, 2
        )
        for name, (images, labels) in BATCHES_10.items()
    }
    meta = {b"num_cases_per_batch": 10000, b"label_names": [name.encode() for name in TEN]}
    return {**files, "batches.meta": pickle.dumps(meta, 2)}


def binary_100() -> dict[str, bytes]:
    files = {
        f"{name}.bin": b"".join(
            bytes([7, label]) + image.tobytes() for image, label in zip(*batch, strict=True)
        )
        for name, batch in BATCHES_100.items()
    }
    return {**files, "fine_label_names.txt": "\n".join(HUNDRED).encode(),
            "coarse_label_names.txt": b"x"}  # fmt: skip


def python_100() -> dict[str, bytes]:
    files = {
        name: pickle.dumps({"fine_labels": labels, "coarse_labels": [1], "data": images}, 4)
        for name, (images, labels) in BATCHES_100.items()
    }
    return {**files, "meta": pickle.dumps({"fine_label_names": HUNDRED}, 4)}


VERSIONS = {
    "binary 10": binary_10, "python 10": python_10, "binary 100": binary_100,
    "python 100": python_100,
}  # fmt: skip


def folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def tar_gz(path: Path, files: dict[str, bytes]) -> Path:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in sorted(files, reverse=True):  # not the order in which they are wanted
            info = tarfile.TarInfo(f"cifar-batches/{name}")
            info.size = len(files[name])
            archive.addfile(info, io.BytesIO(files[name]))
    path = path.with_suffix(".tar.gz")
    path.write_bytes(gzip.compress(packed.getvalue()))
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    path = path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"cifar/{name}", content)
    return path


def run(path: Path, **settings: Any) -> Prepared:
    config = DataConfig(name="cifar", path=str(path), **{"size": 32, "channels": 3} | settings)
    prepare(config, path.parent / "out", progress=False)
    return open_prepared(path.parent / "out")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("form", [folder, tar_gz, zipped])
def test_images_labels_and_splits(
    tmp_path: Path, version: str, form: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    opened = run(form(tmp_path / "set", VERSIONS[version]()))
    batches, names = (BATCHES_10, TEN) if version[-2:] == "10" else (BATCHES_100, HUNDRED)
    assert opened.label_names == names
    for split in ("train", "test"):
        chosen = [
            batch for name, batch in batches.items() if name.startswith("test") is (split == "test")
        ]
        expected = np.concatenate([images for images, _ in chosen]).reshape(-1, 3, 32, 32)
        assert np.array_equal(opened.images(split), expected)
        assert opened.labels(split).tolist() == [label for _, each in chosen for label in each]


def only(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.endswith(".html")}


def test_other_files_are_counted(tmp_path: Path) -> None:
    manifest = run(folder(tmp_path / "set", binary_10())).manifest
    assert manifest.passed_over == {".html": 1}


def test_both_versions_and_forms_give_the_same_bytes(tmp_path: Path) -> None:
    checksums = set()
    for number, version in enumerate((binary_10, python_10)):
        for form in (folder, tar_gz):
            checksums.add(run(form(tmp_path / str(number), only(version()))).manifest.checksum)
    assert len(checksums) == 1


def test_grey_and_another_size(tmp_path: Path) -> None:
    opened = run(folder(tmp_path / "set", binary_10()), size=16, channels=1)
    assert opened.manifest.shape == [1, 16, 16]


def test_without_names_of_classes_they_are_numbers(tmp_path: Path) -> None:
    files = python_10()
    del files["batches.meta"]
    assert run(folder(tmp_path / "set", files)).label_names == [str(each) for each in range(10)]


def changed(files: dict[str, bytes], **changes: bytes | None) -> dict[str, bytes]:
    together = {**files, **{name.replace("__", "."): each for name, each in changes.items()}}
    return {name: each for name, each in together.items() if each is not None}


class Runs:
    def __reduce__(self) -> Any:
        return exec, ("open('ran', 'w')",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"photo.txt": b""}, "holds no CIFAR: expected the files of"),
        ({**binary_10(), **python_10()},
         "holds CIFAR-10, binary version and CIFAR-10, python version: expected one"),
        (changed(binary_10(), data_batch_3__bin=None, test_batch__bin=None),
         "holds CIFAR-10, binary version, but data_batch_3.bin, test_batch.bin are missing"),
        (changed(binary_10(), data_batch_2__bin=bytes(3074)),
         "data_batch_2.bin has 3074 bytes: expected a multiple of 3073"),
        (changed(binary_10(), data_batch_2__bin=b""), "data_batch_2.bin has 0 bytes"),
        (changed(binary_10(), test_batch__bin=b"\x0a" + bytes(3072)), "labels from 10 to 10"),
        (changed(binary_10(), batches__meta__txt=b"cat\ndog"), "has 2 names: expected 10"),
        (changed(binary_10(), batches__meta__txt=b"\xff"), "batches.meta.txt is damaged"),
        (changed(binary_100(), test__bin=bytes(3073)), "test.bin has 3073 bytes"),
        (changed(python_10(), data_batch_1=pickle.dumps(Runs())),
         "data_batch_1 is refused: it asks for builtins.exec"),
        (changed(python_10(), data_batch_1=pickle.dumps([])), "holds a list: expected a dict"),
        (changed(python_10(), data_batch_1=pickle.dumps({})), "data_batch_1 is damaged or foreign"),
        (changed(python_10(), data_batch_1=pickle.dumps(
            {"data": np.zeros((2, 3072), np.uint8), "labels": [1]})), "expected as many labels"),
        (changed(python_10(), data_batch_1=pickle.dumps(
            {"data": np.zeros((1, 3072), np.uint8), "labels": ["1"]})), "are no class numbers"),
        (changed(python_10(), data_batch_1=pickle.dumps(
            {"data": np.zeros((1, 3072), np.uint8), "labels": [-1]})), "labels from -1 to -1"),
        (changed(python_10(), data_batch_1=pickle.dumps(
            {"data": np.zeros((2, 3071), np.uint8), "labels": [1, 2]})), r"shape \(2, 3071\)"),
        (changed(python_10(), batches__meta=b"\x80\x02"), "batches.meta is damaged"),
    ],
)  # fmt: skip
def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        run(folder(tmp_path / "set", files))
    assert str(tmp_path / "set") in str(caught.value)
    assert {each.name for each in tmp_path.iterdir()} <= {"set", "out"}


def test_the_same_file_twice(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", binary_10())
    folder(path / "again", binary_10())
    with pytest.raises(DataError, match=r"holds both .*again/data_batch_1\.bin"):
        run(path)


def test_pad(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", binary_10())
    with pytest.raises(DataError, match=r"32 x 32 is larger than data\.size 16"):
        run(path, size=16, fit="pad")
