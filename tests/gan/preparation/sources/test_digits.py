from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from gan.config import DataConfig
from gan.data.prepared import open_prepared
from gan.errors import UserError
from gan.preparation.prepare import prepare
from gan.preparation.split import in_test

load_digits = pytest.importorskip("sklearn.datasets").load_digits


def test_levels_labels_and_split(tmp_path: Path) -> None:
    prepare(DataConfig(name="digits", size=8), tmp_path, progress=False)
    opened = open_prepared(tmp_path)
    digits = load_digits()
    held_out = np.array([in_test(f"digits/{index:05d}", 0.2) for index in range(1797)])
    for split, chosen in (("train", ~held_out), ("test", held_out)):
        expected = np.round(digits.images[chosen] * 255 / 16)
        np.testing.assert_array_equal(opened.images(split)[:, 0], expected)  # type: ignore[arg-type]
        np.testing.assert_array_equal(opened.labels(split), digits.target[chosen])  # type: ignore[arg-type]
    # 0 … 16 become 17 levels of 0 … 255.
    levels = np.unique(opened.images("train"))
    assert levels.tolist() == [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223,
                               239, 255]  # fmt: skip
    assert opened.manifest.label_names == [str(digit) for digit in range(10)]
    assert {split: part.count for split, part in opened.manifest.splits.items()} == {
        "train": 1461,
        "test": 336,
    }


@pytest.mark.parametrize("size", [16, 32])
def test_larger_digits_keep_their_shape(tmp_path: Path, size: int) -> None:
    prepare(DataConfig(name="digits", size=8), tmp_path / "8", progress=False)
    prepare(DataConfig(name="digits", size=size), tmp_path / "n", progress=False)  # type: ignore[arg-type]
    small = open_prepared(tmp_path / "8").images("train").astype(float)
    large = open_prepared(tmp_path / "n").images("train").astype(float)
    step = size // 8
    averaged = large.reshape(len(large), 1, 8, step, 8, step).mean((3, 5))
    assert np.abs(averaged - small).mean() < 12
    # Bicubic: no echoes of a stroke in the black around it.
    assert np.median(large[:, :, :, 0]) == 0


def test_pad(tmp_path: Path) -> None:
    prepare(DataConfig(name="digits", size=16, fit="pad"), tmp_path, progress=False)
    images = open_prepared(tmp_path).images("train")[:, 0]
    assert images[:, 4:12, 4:12].max() == 255
    assert images.sum() == images[:, 4:12, 4:12].sum()


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    one = prepare(DataConfig(size=16), tmp_path / "one", progress=False)
    two = prepare(DataConfig(size=16), tmp_path / "two", workers=3, progress=False)
    assert one == two
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_without_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"scikit-learn.*extra `pipeline`"):
        prepare(DataConfig(), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
