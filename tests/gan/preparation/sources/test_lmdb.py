from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from PIL import Image

from gan.config import DataConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError
from gan.preparation.prepare import prepare
from gan.preparation.split import in_test


def pixels(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)


def webp(index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(index)).save(file, "WEBP", lossless=True)
    return file.getvalue()


def key(index: int) -> bytes:
    return f"{index:040x}".encode()


def write(path: Path, indices: range, subdir: bool = True, **more: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        lmdb.open(str(path), subdir=subdir, map_size=1 << 26) as environment,
        environment.begin(write=True) as transaction,
    ):
        for index in indices:
            transaction.put(key(index), webp(index))
        for name, value in more.items():
            transaction.put(name.encode(), value)
    return path


def run(path: Path, workers: int = 0, **options: Any) -> Prepared:
    config = DataConfig(
        name="lmdb", path=str(path), **{"size": 8, "channels": 3, "test_fraction": 0.3} | options
    )
    prepare(config, path.parent / "out", workers=workers, progress=False)
    return open_prepared(path.parent / "out")


def assert_images(opened: Prepared, split: str, indices: list[int]) -> None:
    expected = np.stack([pixels(index).transpose(2, 0, 1) for index in indices])
    assert np.array_equal(opened.images(split), expected)


@pytest.mark.parametrize("subdir", [True, False])
def test_one_environment(tmp_path: Path, subdir: bool) -> None:
    path = write(tmp_path / "set", range(150), subdir)
    before = sorted(tmp_path.rglob("*"))
    opened = run(path, workers=2)
    held_out = [in_test(f"lmdb/{key(index).decode()}", 0.3) for index in range(150)]
    assert_images(opened, "train", [index for index in range(150) if not held_out[index]])
    assert_images(opened, "test", [index for index in range(150) if held_out[index]])
    assert opened.label_names == []
    assert [each for each in sorted(tmp_path.rglob("*")) if "out" not in each.parts] == before


def test_the_names_of_lsun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "lsun"
    write(path / "bedroom_train_lmdb", range(5))
    write(path / "bedroom_val_lmdb", range(5, 7))
    write(path / "church_outdoor_train_lmdb", range(10, 13))
    write(path / "church_outdoor_val_lmdb", range(13, 14))
    opened = run(path)
    assert opened.label_names == ["bedroom", "church_outdoor"]
    assert_images(opened, "train", [*range(5), *range(10, 13)])
    assert_images(opened, "test", [5, 6, 13])
    assert opened.labels("train").tolist() == [0] * 5 + [1] * 3
    write(path / "bedroom_test_lmdb", range(20, 22))
    with caplog.at_level(logging.WARNING):
        opened = run(path)
    assert_images(opened, "test", [20, 21])
    assert "left out bedroom_val_lmdb, church_outdoor_val_lmdb" in caplog.text
    assert opened.manifest.passed_over == {"bedroom_val_lmdb/": 1, "church_outdoor_val_lmdb/": 1}


def test_one_environment_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "lsun/bedroom_train_lmdb", range(30))
    opened = run(tmp_path / "lsun")
    assert len(opened.images("train")) + len(opened.images("test")) == 30
    assert opened.label_names == []


def test_values_that_are_no_images(tmp_path: Path) -> None:
    path = write(tmp_path / "set", range(30), __len__=b"30")
    with pytest.raises(DataError, match=r"1 image in .*\n  lmdb: __len__: is not a"):
        run(path)
    opened = run(path, on_error="skip")
    assert len(opened.images("train")) + len(opened.images("test")) == 30


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist: expected an LMDB"):
        run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no LMDB"):
        run(tmp_path / "empty")
    (tmp_path / "text.mdb").write_text("no database")
    with pytest.raises(DataError, match=r"text\.mdb is no LMDB, or damaged"):
        run(tmp_path / "text.mdb")
    with pytest.raises(DataError, match="none is empty"):
        run(write(tmp_path / "none", range(0)))
    write(tmp_path / "two/one", range(3))
    write(tmp_path / "two/other", range(3))
    with pytest.raises(DataError, match="holds 2 LMDBs, among them one"):
        run(tmp_path / "two")
    write(tmp_path / "test/a_val_lmdb", range(3))
    with pytest.raises(DataError, match="split val and none of train"):
        run(tmp_path / "test")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "set", range(300))
    content = (path / "data.mdb").read_bytes()
    (path / "data.mdb").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"set(/data\.mdb is truncated| is no LMDB)"):
        run(path)


def test_damage_that_lmdb_dies_of(tmp_path: Path) -> None:
    path = write(tmp_path / "set", range(300))
    content = bytearray((path / "data.mdb").read_bytes())
    # Every page but the two that describe the file: where its entries are.
    for page in range(2 * 4096, len(content), 4096):
        content[page + 16 : page + 64] = bytes([255]) * 48
    (path / "data.mdb").write_bytes(content)
    with pytest.raises(DataError, match="set is damaged"):
        run(path)
