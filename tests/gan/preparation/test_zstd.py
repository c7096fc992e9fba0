from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard

from gan.config import DataConfig
from gan.data.prepared import open_prepared
from gan.errors import DataError, UserError
from gan.preparation.prepare import prepare
from gan.preparation.zstd import open_zstd
from tests.gan.preparation.test_shards import tar

CONTENT = np.random.default_rng(0).integers(0, 9, 1_000_000, np.uint8).tobytes()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    # In the order of their names, in which a tar that is not compressed is read.
    files = {f"{'ab'[level > 24]}/{level:03d}.png": level for level in range(50)}
    tar(tmp_path / "set.tar", files)
    return tmp_path / "set.tar"


def run(path: Path) -> str:
    config = DataConfig(name="images", path=str(path), size=8)
    prepare(config, path.parent / "out", progress=False)
    return open_prepared(path.parent / "out").manifest.checksum


@pytest.mark.parametrize("ending", [".tar.zst", ".tzst"])
def test_a_tar_unpacks_to_the_same(archive: Path, ending: str) -> None:
    packed = archive.with_name("packed" + ending)
    packed.write_bytes(zstandard.compress(archive.read_bytes()))
    assert run(packed) == run(archive)


def test_reading_and_seeking() -> None:
    half = len(CONTENT) // 2
    packed = zstandard.compress(CONTENT[:half]) + zstandard.compress(CONTENT[half:])
    with open_zstd(io.BytesIO(packed)) as file:
        assert file.read(10) == CONTENT[:10]
        assert file.seek(700_000) == 700_000
        assert file.read(1000) == CONTENT[700_000:701_000]
        assert file.seek(5) == 5
        assert file.read(5) == CONTENT[5:10]
        assert file.seek(100, io.SEEK_CUR) == 110
        assert file.tell() == 110
        assert file.read() == CONTENT[110:]
        assert file.seek(2_000_000) == len(CONTENT)


@pytest.mark.parametrize("place", [100, -100])
def test_damage(archive: Path, place: int) -> None:
    packed = archive.with_suffix(".tar.zst")
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    content = bytearray(compressor.compress(archive.read_bytes()))
    content[place] ^= 0x55
    packed.write_bytes(content)
    with pytest.raises(DataError, match=r"set\.tar\.zst is .*damaged"):
        run(packed)
    packed.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"set\.tar\.zst is .*damaged"):
        run(packed)


def test_without_the_package(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = archive.with_suffix(".tar.zst")
    packed.write_bytes(zstandard.compress(archive.read_bytes()))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UserError, match=r"install the extra `zstd` \(pip install 'fusedgan\[zstd"):
        run(packed)
