from __future__ import annotations

import io
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet as pq

from gan.config import DataConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError, UserError
from gan.preparation.prepare import prepare
from gan.preparation.sources import parquet
from gan.preparation.split import in_test

NAMES = ["cat", "dog"]
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def pixels(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)


def png(index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(index)).save(file, "PNG")
    return file.getvalue()


def described(names: list[str] | None = None, column: str = "label") -> dict[bytes, bytes]:
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if names is not None:
        features[column] = {"names": names, "_type": "ClassLabel"}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def write(
    path: Path,
    indices: range,
    *,
    names: list[str] | None = None,
    columns: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """A file as Hugging Face writes it: the images `indices`, each labelled by its index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": png(index), "path": f"{index}.png"} for index in indices]
    content = {
        "image": pa.array(images, IMAGE),
        "label": pa.array([index % 2 for index in indices], pa.int64()),
        **(columns or {}),
    }
    content = {name: column for name, column in content.items() if column is not None}
    table = pa.table(content).replace_schema_metadata(described(names))
    pq.write_table(table, path, **options)
    return path


def run(path: Path, workers: int = 0, **options: Any) -> Prepared:
    config = DataConfig(
        name="parquet", path=str(path), **{"size": 8, "channels": 3, "test_fraction": 0.3} | options
    )
    prepare(config, path.parent / "out", workers=workers, progress=False)
    return open_prepared(path.parent / "out")


def assert_images(opened: Prepared, split: str, indices: list[int]) -> None:
    expected = np.stack([pixels(index).transpose(2, 0, 1) for index in indices])
    assert np.array_equal(opened.images(split), expected)
    assert opened.labels(split).tolist() == [index % 2 for index in indices]


def test_splits_by_the_names_of_files(tmp_path: Path) -> None:
    path = tmp_path / "set"
    write(path / "data/train-00000-of-00002.parquet", range(10), names=NAMES, row_group_size=3)
    write(path / "data/train-00001-of-00002.parquet", range(10, 13), names=NAMES)
    write(path / "data/test-00000-of-00001.parquet", range(20, 25), names=NAMES)
    opened = run(path)
    assert opened.manifest.source == "parquet"
    assert opened.label_names == NAMES
    assert_images(opened, "train", [*range(13)])
    assert_images(opened, "test", [*range(20, 25)])


def test_splits_by_folders_and_one_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "set"
    for number, split in enumerate(("train", "test", "validation")):
        write(path / split / "0000.parquet", range(9 * number, 9 * number + 5), names=NAMES)
    with caplog.at_level(logging.WARNING):
        opened = run(path)
    assert_images(opened, "test", [*range(9, 14)])
    assert "left out validation/0000.parquet" in caplog.text
    (path / "test/0000.parquet").unlink()
    assert_images(run(path), "test", [*range(18, 23)])


def test_without_a_test_split_rows_are_held_out(tmp_path: Path) -> None:
    path = write(tmp_path / "train-00000-of-00001.parquet", range(150), names=NAMES)
    held_out = [in_test(f"parquet/{path.name}/{row:05d}", 0.3) for row in range(150)]
    opened = run(path, workers=2)
    assert_images(opened, "test", [row for row in range(150) if held_out[row]])
    assert_images(opened, "train", [row for row in range(150) if not held_out[row]])


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (pa.array([10, 9, 10, 9, 2]), ["2", "9", "10"]),
        (pa.array(["b", "ä", "b", "a", "a"]), ["a", "b", "ä"]),
        (pa.array(["b", "a", "b", "a", "a"]).dictionary_encode(), ["a", "b"]),
    ],
)
def test_labels_without_names_are_the_values_that_occur(
    tmp_path: Path, column: Any, names: list[str]
) -> None:
    values = column.to_pylist()
    write(tmp_path / "set/train.parquet", range(5), columns={"label": column})
    write(tmp_path / "set/test.parquet", range(5), columns={"label": column})
    opened = run(tmp_path / "set")
    assert opened.label_names == names
    expected = [names.index(str(value)) for value in values]
    assert opened.labels("test").tolist() == expected


def test_columns_of_other_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    coarse = pa.array([0, 0, 0, 0, 0])
    columns = {
        "label": None, "image": None, "img": pa.array([png(index) for index in range(5)]),
        "coarse_label": coarse, "fine_label": pa.array([0, 1, 0, 1, 0]),
    }  # fmt: skip
    for split in ("train", "test"):
        write(tmp_path / f"set/{split}.parquet", range(5), columns=columns)
    opened = run(tmp_path / "set")
    assert opened.label_names == ["0", "1"]
    assert_images(opened, "train", [*range(5)])
    for split in ("train", "test"):
        write(tmp_path / f"set/{split}.parquet", range(5), columns={"label": None})
    with caplog.at_level(logging.WARNING):
        opened = run(tmp_path / "set")
    assert opened.label_names == []
    assert "no column of labels was found" in caplog.text


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"bytes": None, "path": "/data/cat.png"}, "names the file /data/cat.png, but does not"),
        ({"bytes": None, "path": None}, "has no image"),
        (None, "has no image"),
        ({"bytes": b"nonsense", "path": None}, "is not a"),
    ],
)
def test_images_that_cannot_be_read(tmp_path: Path, image: Any, reason: str) -> None:
    images = [{"bytes": png(index), "path": None} for index in range(40)]
    images[7] = image
    columns = {"image": pa.array(images, IMAGE)}
    path = write(tmp_path / "a.parquet", range(40), names=NAMES, columns=columns)
    with pytest.raises(DataError, match=rf"1 image in .*\n  a\.parquet row 7: {reason}"):
        run(path)
    opened = run(path, on_error="skip")
    assert opened.manifest.skipped.names == ["a.parquet row 7"]
    assert len(opened.images("train")) + len(opened.images("test")) == 39


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": None}, "has no column of images, of the columns label"),
        ({"image": pa.array(["a"] * 5)}, "has no column of images"),
        ({"image": None, "data": pa.array([b"a"] * 5)}, "has no column of images"),
        ({"img": pa.array([None] * 5, IMAGE)}, "has several columns of images"),
        ({"label": pa.array([0, 1, 2, 0, 1])}, "row 2 has the label 2: expected 0 to 1"),
        ({"label": pa.array([0, -1, 1, 0, 1])}, "row 1 has the label -1: expected 0 to 1"),
        ({"label": pa.array([0, None, 1, 0, 1])}, "row 1 has the label None: expected 0 to 1"),
    ],
)
def test_what_is_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "a.parquet", range(5), names=NAMES, columns=columns)
    with pytest.raises(DataError, match=message) as caught:
        run(path)
    assert "a.parquet" in str(caught.value)


def test_files_that_do_not_go_together(tmp_path: Path) -> None:
    path = tmp_path / "set"
    write(path / "train-0.parquet", range(5), names=NAMES)
    write(path / "test-0.parquet", range(5), names=NAMES[::-1])
    with pytest.raises(DataError, match=r"train-0\.parquet has other columns than .*test-0"):
        run(path)
    write(path / "extra.parquet", range(5), names=NAMES)
    with pytest.raises(DataError, match="some are of the split test, train and some of none"):
        run(path)
    (path / "extra.parquet").unlink()
    (path / "train-0.parquet").unlink()
    with pytest.raises(DataError, match="split test and none of train"):
        run(path)
    (path / "test-0.parquet").unlink()
    with pytest.raises(DataError, match=r"holds no \.parquet files"):
        run(path)
    with pytest.raises(DataError, match="does not exist"):
        run(tmp_path / "nowhere")


def test_labels_that_are_names_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_LABELS", 3)
    path = write(tmp_path / "a.parquet", range(5), columns={"label": pa.array([*"abcde"])})
    with pytest.raises(DataError, match="more than 3 different values of label"):
        run(path)
    path = write(
        tmp_path / "a.parquet", range(5), columns={"label": pa.array(["a", None] * 2 + ["b"])}
    )
    with pytest.raises(DataError, match="rows without a label"):
        run(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.parquet"
    if not path.exists():
        write(path, range(8), names=NAMES)
        (tmp_path / "whole").write_bytes(path.read_bytes())
    content = bytearray((tmp_path / "whole").read_bytes())
    # The description at the end is what decides how the rest is read.
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(
            st.integers(0, len(content) - 1) | st.integers(len(content) - 900, len(content) - 1)
        )
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        run(path, test_fraction=0.5)
    except UserError as error:
        assert "parquet" in str(error)  # noqa: PT017


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        images = pa.array([{"bytes": png(0) + bytes(5000), "path": None}] * count, IMAGE)
        columns = {"image": images, "label": pa.array([0] * count)}
        path = write(tmp_path / f"{count}.parquet", range(0), names=NAMES, columns=columns,
                     row_group_size=100, use_dictionary=False, compression="none")  # fmt: skip
        del images, columns
        pool = pa.default_memory_pool()
        before, highest = pool.bytes_allocated(), 0
        config = DataConfig(name="parquet", path=str(path), size=8, channels=3)
        for _ in parquet.open_source(config).batches:
            highest = max(highest, pool.bytes_allocated() - before)
        return highest

    assert peak(4000) < peak(1000) + 500_000


def test_pipes_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.parquet")
    for path in (tmp_path / "a.parquet", tmp_path):
        with pytest.raises(DataError, match=r"a\.parquet: it is no plain file"):
            parquet.open_source(DataConfig(name="parquet", path=str(path), size=8))


def test_labels_of_two_kinds_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "set/test.parquet", range(5))
    write(tmp_path / "set/train.parquet", range(5), columns={"label": pa.array([*"abcde"])})
    with pytest.raises(DataError, match=r"label \(whole numbers\), found image and label \(text"):
        run(tmp_path / "set")


def test_lists_are_no_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", range(40), columns={"label": pa.array([["a"]] * 40)})
    assert run(path).label_names == []


def test_names_of_labels_that_come_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", range(40), names=["a", "a", "b"])
    with pytest.raises(DataError, match="'a' more than once, at the places 0, 1"):
        run(path)


def test_capital_endings_and_other_files(tmp_path: Path) -> None:
    write(tmp_path / "set/A.PARQUET", range(40), names=NAMES)
    (tmp_path / "set/readme.md").write_text("")
    assert run(tmp_path / "set").manifest.passed_over == {".md": 1}
