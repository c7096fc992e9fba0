from __future__ import annotations

import functools
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gan.config import DataConfig, parse
from gan.data.prepared import Prepared, open_prepared
from gan.errors import ConfigError, DataError
from gan.preparation.archives import open_collection
from gan.preparation.label_files import is_label_file
from gan.preparation.listing import Wanted
from gan.preparation.prepare import prepare
from gan.preparation.shards import MAX_SHARDS, expand, open_shards


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def tar(path: Path, files: dict[str, int]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, level in files.items():
            content = png(level)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def run(path: Path, shards: str, **options: Any) -> Prepared:
    config = DataConfig(
        name="images", path=str(path), shards=shards, **{"size": 8, "test_fraction": 0.3} | options
    )
    prepare(config, path / "out", progress=False)
    return open_prepared(path / "out")


def levels(opened: Prepared, split: str) -> list[int]:
    return opened.images(split)[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{0..2}.tar", ["0.tar", "1.tar", "2.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{8..010}", ["008", "009", "010"]),
        ("{b,a}-{1..2}", ["b-1", "b-2", "a-1", "a-2"]),
        ("x{7..7}y/{a,}z", ["x7y/az", "x7y/z"]),
    ],
)
def test_patterns(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


@given(st.integers(0, 3000), st.integers(0, 300), st.integers(4, 8))
def test_ranges(first: int, more: int, width: int) -> None:
    last = first + more
    numbers = range(first, last + 1)
    assert expand(f"{{{first}..{last}}}") == [str(number) for number in numbers]
    padded = f"{{{first:0{width}}..{last:0{width}}}}"
    if str(first) != f"{first:0{width}}":
        assert expand(padded) == [f"{number:0{width}}" for number in numbers]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{0..9.tar", "has a brace alone"),
        ("0..9}.tar", "has a brace alone"),
        ("{{0..9}}.tar", "has a brace alone"),
        ("{9..0}.tar", "runs backwards"),
        ("{a..c}.tar", r"has the range \{a..c\}"),
        ("{0..999999999}.tar", f"of more than {MAX_SHARDS} names"),
        ("{0..999}{0..999}.tar", "stands for 1000000 names"),
        ("{a,a}.tar", "stands for a name twice"),
        ("../{0..9}.tar", "leads out of data.path"),
        ("/{0..9}.tar", "leads out of data.path"),
    ],
)
def test_patterns_that_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        expand(pattern)


def test_shards_are_as_one_archive(tmp_path: Path) -> None:
    files = {f"{'cat' if level % 2 else 'dog'}/{level:03d}.png": level for level in range(40)}
    for shard in range(4):
        own = {name: level for name, level in files.items() if level // 10 == shard}
        tar(tmp_path / f"{shard:02d}.tar", own)
    tar(tmp_path / "all.tar", files)
    opened, whole = run(tmp_path, "{00..03}.tar"), run(tmp_path, "all.tar")
    assert opened.label_names == ["cat", "dog"]
    for split in ("train", "test"):
        assert sorted(levels(opened, split)) == sorted(levels(whole, split))
        labels = opened.labels(split)
        assert labels.tolist() == [1 - level % 2 for level in levels(opened, split)]


def test_names_that_several_shards_have(tmp_path: Path) -> None:
    for shard in range(3):
        tar(
            tmp_path / f"{shard}.tar", {f"a/{place}.png": 50 * shard + place for place in range(20)}
        )
    opened = run(tmp_path, "{0..2}.tar")
    together = sorted(levels(opened, "train") + levels(opened, "test"))
    assert together == [50 * shard + place for shard in range(3) for place in range(20)]
    assert opened.label_names == []


def test_labels_beside_the_images_of_each_shard(tmp_path: Path) -> None:
    for shard in range(2):
        files = {f"{place:03d}.png": 50 * shard + place for place in range(20)}
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as archive:
            for name, level in files.items():
                for own, content in (
                    (name, png(level)),
                    (name.replace(".png", ".cls"), str(level % 3).encode()),
                ):
                    info = tarfile.TarInfo(own)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    opened = run(tmp_path, "{0..1}.tar")
    assert opened.label_names == ["0", "1", "2"]
    for split in ("train", "test"):
        assert opened.labels(split).tolist() == [level % 3 for level in levels(opened, split)]


def test_shards_of_splits(tmp_path: Path) -> None:
    for number, name in enumerate(("train-0", "train-1", "val-0", "val-1")):
        tar(tmp_path / f"{name}.tar", {f"{label}/0.png": 10 * number + place
                                       for place, label in enumerate("ab")})  # fmt: skip
    opened = run(tmp_path, "{train,val}-{0..1}.tar")
    assert sorted(levels(opened, "train")) == [0, 1, 10, 11]
    assert sorted(levels(opened, "test")) == [20, 21, 30, 31]
    assert opened.label_names == ["a", "b"]


def test_shards_that_are_missing_or_damaged(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", {f"{place}.png": place for place in range(30)})
    with pytest.raises(
        DataError, match=r"names 4 archives in .*, of which 3 are missing: .* 1\.tar"
    ):
        run(tmp_path, "{0..3}.tar")
    (tmp_path / "1.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:2000])
    with pytest.raises(DataError, match=r"1\.tar is"):
        run(tmp_path, "{0..1}.tar")


def test_a_pattern_as_a_path_is_told_where_it_belongs() -> None:
    with pytest.raises(ConfigError, match=r"expected data\.path /data/set and data\.shards \{0"):
        parse(DataConfig, {"name": "images", "path": "/data/set/{000..999}.tar"}, "params.yaml")
    with pytest.raises(ConfigError, match=r"data\.shards is a\.tar, but data\.name is idx"):
        parse(DataConfig, {"name": "idx", "shards": "a.tar"}, "params.yaml")


def test_labels_for_all_in_several_archives_are_refused(tmp_path: Path) -> None:
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as archive:
            for name in (f"{shard}.png", "dataset.json"):
                info = tarfile.TarInfo(name)
                info.size = 2
                archive.addfile(info, io.BytesIO(b"{}"))
    wanted = Wanted(frozenset({".png"}), is_label_file(""))
    with pytest.raises(DataError, match=r"several archives have labels in dataset\.json"):
        open_shards(tmp_path, "{0,1}.tar", functools.partial(open_collection, wanted=wanted))


@pytest.mark.parametrize("within", [False, True])
def test_a_table_of_labels_for_all_shards(tmp_path: Path, within: bool) -> None:
    table = b"image,kind\n" + b"".join(
        f"{split}{place}.png,{'xy'[place % 2]}\n".encode() for split in "ab" for place in range(9)
    )
    for name, split in (("train", "a"), ("test", "b")):
        tar(tmp_path / f"{name}.tar", {f"{split}{place}.png": place for place in range(9)})
    (tmp_path / "t.csv").write_bytes(table)
    if within:
        with tarfile.open(tmp_path / "test.tar", "a") as archive:
            archive.add(tmp_path / "t.csv", "t.csv")
        with pytest.raises(DataError, match=r"t\.csv is in .* and in one of its archives"):
            run(tmp_path, "{train,test}.tar", labels="t.csv")
        (tmp_path / "t.csv").unlink()
    opened = run(tmp_path, "{train,test}.tar", labels="t.csv")
    assert opened.label_names == ["x", "y"]
    for split in ("train", "test"):
        assert opened.labels(split).tolist() == [level % 2 for level in levels(opened, split)]
