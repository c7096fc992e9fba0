from __future__ import annotations

import logging
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan.config import DataConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError
from gan.preparation.prepare import prepare
from gan.preparation.sources import arrays
from gan.preparation.split import in_test

LABELS = np.array([3, 1, 4, 1, 5])


def images(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def folder_of(path: Path, content: dict[str, Any]) -> Path:
    path.mkdir()
    for name, array in content.items():
        np.save(path / f"{name}.npy", array)
    return path


def run(path: Path, **settings: Any) -> Prepared:
    config = DataConfig(
        name="arrays", path=str(path), **{"size": 8, "channels": 3, "test_fraction": 0.4} | settings
    )
    prepare(config, path.parent / "out", progress=False)
    return open_prepared(path.parent / "out")


@pytest.mark.parametrize("axes", ["HW", "HWC", "CHW"])
@pytest.mark.parametrize("channels", [1, 3])
def test_axes_and_channels(tmp_path: Path, axes: str, channels: int) -> None:
    count, path = 30, tmp_path / "some.npy"
    stored = images(count, 8, 8, 1 if axes == "HW" else 3)
    np.save(path, {"HW": stored[..., 0], "HWC": stored, "CHW": stored.transpose(0, 3, 1, 2)}[axes])
    opened = run(path, channels=channels)
    assert opened.manifest.source == "arrays"
    assert opened.label_names == []
    held_out = np.array([in_test(f"arrays/{index:05d}", 0.4) for index in range(count)])
    if channels == 1 and axes != "HW":
        expected = np.round(stored @ np.array([0.299, 0.587, 0.114]))[:, None]
        tolerance = 1
    else:
        expected = np.broadcast_to(stored, (count, 8, 8, channels)).transpose(0, 3, 1, 2)
        tolerance = 0
    for split, chosen in (("train", ~held_out), ("test", held_out)):
        found = opened.images(split).astype(int)
        assert np.abs(found - expected[chosen]).max() <= tolerance


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train", "train_labels", "test", "test_labels"),
        ("X_train", "Y_train", "X_val", "Y_val"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "npz", "compressed"])
def test_splits_and_labels(tmp_path: Path, names: tuple[str, ...], form: str) -> None:
    train, test = images(5, 8, 8), images(2, 8, 8, seed=1)
    content = dict(zip(names, (train, LABELS, test, np.array([[4], [9]])), strict=True))
    if form == "folder":
        path = folder_of(tmp_path / "set", content)
    else:
        path = tmp_path / "set.npz"
        (np.savez if form == "npz" else np.savez_compressed)(path, **content)
    opened = run(path, channels=1)
    assert opened.label_names == ["1", "3", "4", "5", "9"]
    assert np.array_equal(opened.images("train")[:, 0], train)
    assert np.array_equal(opened.images("test")[:, 0], test)
    assert opened.labels("train").tolist() == [1, 0, 2, 0, 3]
    assert opened.labels("test").tolist() == [2, 4]


def test_labels_may_be_text(tmp_path: Path) -> None:
    path = folder_of(
        tmp_path / "set",
        {"images": images(4, 8, 8), "labels": np.array(["cat", "über", "cat", "dog"])},
    )
    opened = run(path, test_fraction=0.5)
    assert opened.label_names == ["cat", "dog", "über"]
    found = sorted([*opened.labels("train").tolist(), *opened.labels("test").tolist()])
    assert found == [0, 0, 1, 2]
    np.save(path / "labels.npy", np.array(["cat", "über".encode(), b"\xff", "dog"], "S9"))
    assert run(path, test_fraction=0.5).label_names == ["\\xff", "cat", "dog", "über"]


def test_what_is_passed_over_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "medical.npz"
    content = {
        f"{split}_{what}": images(3, 8, 8) if what == "images" else LABELS[:3]
        for split in ("train", "val", "test")
        for what in ("images", "labels")
    }
    np.savez(path, **content, meta=np.zeros(3))
    with caplog.at_level(logging.WARNING):
        opened = run(path)
    assert len(opened.images("test")) == 3
    [message] = caplog.messages
    assert message.endswith("passed over: 1 meta, 1 val_images, 1 val_labels")
    assert opened.manifest.passed_over == {"meta": 1, "val_images": 1, "val_labels": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": images(3, 8, 8), "b": images(3, 8, 8)}, "has the arrays a, b: expected"),
        ({"x": images(3, 8, 8), "images": images(3, 8, 8)}, "are both images"),
        ({"x_test": images(3, 8, 8), "y_test": LABELS[:3]}, "split test and none of train"),
        ({"x": images(3, 8, 8), "x_test": images(3, 8, 8)}, "of the split test and some of none"),
        ({"x_train": images(3, 8, 8), "y_train": LABELS[:3], "x_test": images(3, 8, 8)},
         "labels of the split train alone"),
        ({"x": images(3, 8, 8), "y": LABELS}, r"shape \[5\]: expected \[3\], one label for each"),
        ({"x": images(3, 8, 8), "y": np.eye(3)}, "labels of dtype float64"),
        ({"x": images(3, 8, 8), "y": np.eye(3, dtype=int)}, r"shape \[3, 3\]"),
        ({"x_train": images(3, 8, 8), "y_train": LABELS[:3], "x_test": images(1, 8, 8),
          "y_test": np.array(["one"])}, "integers in one split, text in the other"),
        ({"x": images(3, 64)}, r"shape \[3, 64\]: expected \[N, H, W\]"),
        ({"x": images(3, 3, 8, 3)}, r"shape \[3, 3, 8, 3\]"),
        ({"x": images(3, 8, 8, 4)}, r"shape \[3, 8, 8, 4\]"),
        ({"x": images(3, 8, 8, 8)}, r"shape \[3, 8, 8, 8\]"),
        ({"x": np.zeros((3, 8, 8))}, "dtype float64: expected uint8"),
        ({"x": np.zeros((3, 8, 20_000), np.uint8)}, "images of 20000 x 8"),
        ({}, "holds no arrays"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        run(folder_of(tmp_path / "set", content))
    assert str(tmp_path / "set") in str(caught.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_pad_is_of_images_that_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images(20, 6, 7))
    opened = run(tmp_path / "x.npy", fit="pad", channels=1)
    assert (opened.images("train")[:, 0, 0] == 0).all()
    np.save(tmp_path / "x.npy", images(20, 9, 7))
    with pytest.raises(DataError, match=r"x\.npy: 7 x 9 is larger than data.size 8"):
        run(tmp_path / "x.npy", fit="pad")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        run(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("not an array")
    with pytest.raises(DataError, match=r"text\.npz is damaged .* does not begin as a \.npy"):
        run(tmp_path / "text.npz")
    np.savez_compressed(tmp_path / "x.npz", x=images(50, 8, 8))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[1000:1010] = bytes(10)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npz: x\.npy is damaged"):
        run(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00")
    with pytest.raises(DataError, match=r"y\.npz: x\.npy is damaged"):
        run(tmp_path / "y.npz")


@pytest.mark.parametrize("form", ["npy", "npz"])
def test_memory_does_not_grow_with_the_data(tmp_path: Path, form: str) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.{form}"
        array = np.zeros((count, 32, 32, 3), np.uint8)
        np.save(path, array) if form == "npy" else np.savez_compressed(path, x=array)
        del array
        tracemalloc.start()
        source = arrays.open_source(DataConfig(name="arrays", path=str(path), size=8, channels=3))
        for _ in source.batches:
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(5000)  # what is imported on the way
    assert peak(15_000) - peak(5000) < 1_000_000


def test_pipes_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npy")
    for path in (tmp_path / "x.npy", tmp_path):
        with pytest.raises(DataError, match=r"x\.npy: it is no plain file"):
            arrays.open_source(DataConfig(name="arrays", path=str(path), size=8))


def test_max_pixels_and_other_files(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "set", {"x": images(30, 150, 150)})
    (path / "readme.txt").write_text("")
    assert run(path, channels=1).manifest.passed_over == {".txt": 1}
    with pytest.raises(DataError, match="images of 150 x 150: expected at most 16384 pixels"):
        run(path, max_pixels=128 * 128)


@pytest.mark.parametrize(("label", "message"), [("", "an empty one, at the place 0")])
def test_names_of_labels_that_are_none(tmp_path: Path, label: str, message: str) -> None:
    labels = np.array([label, "x", "y"] * 10)
    path = folder_of(tmp_path / "set", {"x": images(30, 8, 8), "y": labels})
    with pytest.raises(DataError, match=message):
        run(path)
