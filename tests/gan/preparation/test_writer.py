from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan import files
from gan.data.manifest import MAX_SKIPPED_NAMES, Column, Split
from gan.data.prepared import open_prepared
from gan.errors import DataError, UserError
from gan.preparation import writer as module
from gan.preparation.writer import PreparedWriter
from gan.symbols import Colours

SHAPE = (3, 8, 8)


def some_images(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def write(folder: Path, *, seed: int = 0, labelled: bool = True) -> None:
    names = ["cat", "dog"] if labelled else None
    with PreparedWriter(folder, source="images", shape=SHAPE, label_names=names) as writer:
        for split, count in (("train", 5), ("test", 2), ("train", 3)):
            labels = np.arange(count) % 2 if labelled else None
            writer.append(split, some_images(count, seed), labels)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "out")
    opened = open_prepared(tmp_path / "out")
    opened.verify()
    train = opened.images("train")
    assert isinstance(train, np.memmap)
    assert (train.dtype, train.shape) == (np.uint8, (8, *SHAPE))
    np.testing.assert_array_equal(train, np.concatenate([some_images(5), some_images(3)]))
    np.testing.assert_array_equal(opened.images("test"), some_images(2))
    labels = opened.labels("train")
    assert labels is not None
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1, 0, 1, 0, 0, 1, 0]
    manifest = opened.manifest
    assert (manifest.source, manifest.kind, manifest.dtype) == ("images", "images", "uint8")
    assert manifest.shape == list(SHAPE)
    assert manifest.label_names == ["cat", "dog"]
    assert {split: part.count for split, part in manifest.splits.items()} == {"train": 8, "test": 2}


def test_without_labels(tmp_path: Path) -> None:
    write(tmp_path, labelled=False)
    assert sorted(contents(tmp_path)) == ["manifest.json", "test.npy", "train.npy"]
    assert open_prepared(tmp_path).labels("train") is None


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    write(tmp_path / "two", seed=1)
    one, two = open_prepared(tmp_path / "one"), open_prepared(tmp_path / "two")
    assert one.manifest.checksum != two.manifest.checksum


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    parts=st.lists(st.tuples(st.sampled_from(["train", "test"]), st.integers(0, 7)), max_size=6),
)
def test_any_parts_in_any_order(
    tmp_path: Path, shape: list[int], parts: list[tuple[Split, int]]
) -> None:
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    rng = np.random.default_rng(0)
    expected: dict[Split, list[npt.NDArray[np.uint8]]] = {"train": [], "test": []}
    with PreparedWriter(tmp_path / "out", source="x", shape=shape) as writer:
        for split, count in parts:
            expected[split].append(rng.integers(0, 256, (count, *shape), dtype=np.uint8))
            writer.append(split, expected[split][-1])
    opened = open_prepared(tmp_path / "out")
    opened.verify()
    for split, arrays in expected.items():
        joined = np.concatenate([np.empty((0, *shape), np.uint8), *arrays])
        np.testing.assert_array_equal(np.load(tmp_path / "out" / f"{split}.npy"), joined)
        np.testing.assert_array_equal(opened.images(split), joined)


def test_skipped_names_are_bounded_and_counted(tmp_path: Path) -> None:
    with PreparedWriter(tmp_path, source="images", shape=SHAPE) as writer:
        for index in range(MAX_SKIPPED_NAMES + 5):
            writer.skip(f"{index}.png")
    skipped = writer.manifest().skipped
    assert skipped.count == MAX_SKIPPED_NAMES + 5
    assert len(skipped.names) == MAX_SKIPPED_NAMES
    assert skipped.names[-1] == f"{MAX_SKIPPED_NAMES - 1}.png"


def test_an_old_folder_is_replaced_whole_and_foreign_files_stay(tmp_path: Path) -> None:
    write(tmp_path, labelled=True)
    (tmp_path / "notes.txt").write_text("mine")
    # What a writer that was killed leaves behind.
    (tmp_path / ".train.npy.0badf00d.tmp").write_bytes(b"half")
    write(tmp_path, seed=1, labelled=False)
    assert sorted(contents(tmp_path)) == ["manifest.json", "notes.txt", "test.npy", "train.npy"]
    open_prepared(tmp_path).verify()


class TestWriterRefuses:
    def test_arguments_that_do_not_fit(self, tmp_path: Path) -> None:
        images = some_images(2)
        with (
            PreparedWriter(tmp_path, source="x", shape=SHAPE, label_names="ab") as writer,
        ):
            cases: list[tuple[Any, Any, str]] = [
                (images.astype(float), np.zeros(2, np.int64), "expected uint8"),
                (images[:, :1], np.zeros(2, np.int64), r"expected uint8 \['B', 3, 8, 8\]"),
                (images, None, "exactly when"),
                (images, np.zeros(3, np.int64), "expected int64"),
                (images, np.array([0, 2]), "from 0 to 2"),
                (images, np.array([-1, 0]), "from -1 to 0"),
            ]
            for wrong, labels, message in cases:
                with pytest.raises(ValueError, match=message):
                    writer.append("train", wrong, labels)
            with pytest.raises(RuntimeError, match="after the writer's block"):
                writer.manifest()
        assert writer.manifest().splits["train"].count == 0

    def test_labels_without_names(self, tmp_path: Path) -> None:
        with (
            PreparedWriter(tmp_path, source="x", shape=SHAPE) as writer,
            pytest.raises(ValueError, match="exactly when"),
        ):
            writer.append("train", some_images(1), np.zeros(1, np.int64))


class TestNothingHalfWritten:
    @pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("x"), RuntimeError("x")])
    def test_after_an_error(self, tmp_path: Path, error: BaseException) -> None:
        write(tmp_path)
        before = contents(tmp_path)
        with (
            pytest.raises(type(error)),
            PreparedWriter(tmp_path, source="x", shape=SHAPE) as writer,
        ):
            writer.append("train", some_images(1, seed=9))
            raise error
        assert contents(tmp_path) == before

    @pytest.mark.parametrize(
        ("name", "call"),
        [
            ("train.npy", "append"),
            ("test_labels.npy", "append"),
            ("train.npy", "header"),
            ("manifest.json", "append"),
        ],
    )
    def test_when_the_disk_is_full(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: str
    ) -> None:
        write(tmp_path)
        before = contents(tmp_path)

        def full(content: bytes) -> bool:
            if call == "header":
                return content[:1] == b"\x93"
            return any(memoryview(content).cast("B"))  # not the room left for the header

        _fail_writes_of(monkeypatch, name, full)
        with pytest.raises(UserError, match=rf"{name}: No space left on device; what was there"):
            write(tmp_path, seed=1)
        assert contents(tmp_path) == before

    def test_when_the_disk_is_full_in_a_new_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _fail_writes_of(monkeypatch, "test.npy", lambda content: True)
        with pytest.raises(UserError, match=r"test\.npy"):
            write(tmp_path / "new")
        assert contents(tmp_path / "new") == {}

    def test_when_the_folder_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("")
        with pytest.raises(UserError, match="out"):
            write(tmp_path / "out")


def _fail_writes_of(
    monkeypatch: pytest.MonkeyPatch, name: str, full: Callable[[bytes], bool]
) -> None:
    class FullDisk:
        def __init__(self, file: IO[bytes]) -> None:
            self._file = file

        def write(self, content: bytes) -> int:
            if full(content):
                raise OSError(errno.ENOSPC, "No space left on device")
            return self._file.write(content)

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self._file, attribute)

    real = files.atomic_write

    @contextlib.contextmanager
    def atomic_write(path: Path) -> Iterator[Any]:
        with real(path) as file:
            yield FullDisk(file) if path.name == name else file

    monkeypatch.setattr(module, "atomic_write", atomic_write)


def test_points_are_written_and_read(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    with PreparedWriter(tmp_path, source="toy", shape=(2,), kind="points", toy="ring") as writer:
        writer.append("train", points[:5])
        writer.append("test", points[5:])
    opened = open_prepared(tmp_path)
    opened.verify()
    assert (opened.manifest.kind, opened.manifest.dtype) == ("points", "float32")
    assert (opened.manifest.source, opened.manifest.toy) == ("toy", "ring")
    np.testing.assert_array_equal(opened.points("train"), points[:5])
    np.testing.assert_array_equal(opened.examples("test"), points[5:])
    with pytest.raises(DataError, match="holds points: expected images"):
        opened.images("train")


def test_points_of_another_dtype_or_width_are_refused(tmp_path: Path) -> None:
    with PreparedWriter(tmp_path, source="toy", shape=(2,), kind="points", toy="ring") as writer:
        with pytest.raises(ValueError, match=r"points are float64 \[3, 2\]: expected float32"):
            writer.append("train", np.zeros((3, 2)))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"expected float32 \['B', 2\]"):
            writer.append("train", np.zeros((3, 1), np.float32))


LEVELS = Colours.levels(3)


def write_symbols(folder: Path) -> npt.NDArray[np.uint8]:
    symbols = np.random.default_rng(0).integers(0, 3, (5, 8, 8), dtype=np.uint8)
    with PreparedWriter(
        folder, source="digits", shape=(8, 8), kind="symbol_images", alphabet=LEVELS
    ) as writer:
        writer.append("train", symbols[:3])
        writer.append("test", symbols[3:])
    return symbols


def test_symbols_are_written_and_read(tmp_path: Path) -> None:
    symbols = write_symbols(tmp_path / "one")
    prepared = open_prepared(tmp_path / "one")
    prepared.verify()
    assert prepared.manifest.alphabet == {"colours": [[0], [128], [255]]}
    assert (prepared.manifest.shape, prepared.manifest.dtype) == ([8, 8], "uint8")
    assert prepared.alphabet == LEVELS
    assert prepared.example_shape == (1, 8, 8)
    for found in (prepared.symbols("train"), prepared.examples("train")):
        assert isinstance(found, np.memmap)
        np.testing.assert_array_equal(found, symbols[:3])
    images = prepared.images("test")
    assert (images.shape, images.dtype) == ((2, 1, 8, 8), np.uint8)
    np.testing.assert_array_equal(images[:], np.array([0, 128, 255])[symbols[3:, None]])
    write_symbols(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_symbols_beyond_the_alphabet_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="symbols go up to 3: expected less than 3"),
        PreparedWriter(
            tmp_path, source="digits", shape=(8, 8), kind="symbol_images", alphabet=LEVELS
        ) as writer,
    ):
        writer.append("train", np.full((1, 8, 8), 3, np.uint8))
    assert list(tmp_path.iterdir()) == []


COLUMNS = [Column(name=name, mean=1.5, deviation=2.0) for name in "xy"]


@pytest.mark.parametrize(
    ("kind", "of", "message"),
    [
        ("points", {}, "points with neither toy nor columns"),
        ("points", {"toy": "ring", "columns": COLUMNS}, "points with toy and columns"),
        ("points", {"columns": COLUMNS[:1]}, r"1 columns of points of the shape \[2\]"),
        ("images", {"toy": "ring"}, "images with toy: points have one of the two"),
        ("images", {"columns": COLUMNS}, "images with columns: points have one of the two"),
    ],
)
def test_points_and_nothing_else_are_of_a_toy_or_a_table(
    tmp_path: Path, kind, of: dict[str, Any], message: str
) -> None:
    shape, dtype = ((2,), np.float32) if kind == "points" else (SHAPE, np.uint8)
    with (
        pytest.raises(ValueError, match=message),
        PreparedWriter(tmp_path, source="toy", shape=shape, kind=kind, **of) as writer,
    ):
        writer.append("train", np.zeros((3, *shape), dtype))
    assert list(tmp_path.iterdir()) == []


def test_manifests_without_symbols_stay_as_they_were(tmp_path: Path) -> None:
    # Computed before there were symbols: whatever was made from such data is still valid.
    write(tmp_path)
    text = (tmp_path / "manifest.json").read_text()
    assert "alphabet" not in text
    assert "toy" not in text
    assert "columns" not in text
    assert open_prepared(tmp_path).manifest.checksum == (
        "e1b4a10c1d401efd13dde0051eada7dcf2352899ae332ba8e5118ef8e6097403"
    )
