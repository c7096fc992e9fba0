from pathlib import Path

import numpy as np
import pytest

from gan.config import DataConfig
from gan.data.meaning import toy_of
from gan.data.prepared import open_prepared
from gan.errors import DataError
from gan.preparation.prepare import prepare
from gan.toys import make_toy


def write(folder: Path, toy: str = "ring", **changes: object) -> Path:
    config = DataConfig(name="toy", toy=toy, toy_points=2000, **changes)
    prepare(config, folder, progress=False)
    return folder


@pytest.mark.parametrize("name", ["normal", "line", "ring", "grid", "spirals"])
def test_points_labels_and_manifest(tmp_path: Path, name: str):
    opened = open_prepared(write(tmp_path, name))
    opened.verify()
    toy, manifest = make_toy(name), opened.manifest
    assert (manifest.source, manifest.toy) == ("toy", name)
    assert (manifest.kind, manifest.dtype) == ("points", "float32")
    assert manifest.shape == [toy.dimensions]
    train, test = opened.points("train"), opened.points("test")
    assert train.dtype == np.float32
    assert len(train) + len(test) == 2000
    assert 0.17 < len(test) / 2000 < 0.23
    assert toy_of(opened).name == name
    labels = opened.labels("train")
    if toy.group_names is None:
        assert labels is None
    else:
        assert manifest.label_names == list(toy.group_names)
        assert labels is not None
        assert set(labels.tolist()) == set(range(len(toy.group_names)))
        if toy.modes:
            distance = np.linalg.norm(train - toy.means.numpy()[labels], axis=1)
            assert distance.max() < 6 * toy.deviation


def test_the_same_bytes_every_time_and_a_larger_test_split_only_adds(tmp_path: Path):
    one, two = write(tmp_path / "one"), write(tmp_path / "two")
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    more = open_prepared(write(tmp_path / "more", test_fraction=0.5)).points("test")
    few = {tuple(row) for row in open_prepared(one).points("test").tolist()}
    assert few < {tuple(row) for row in more.tolist()}


def test_points_are_no_images(tmp_path: Path):
    with pytest.raises(DataError, match="holds points: expected images"):
        open_prepared(write(tmp_path)).images("train")
