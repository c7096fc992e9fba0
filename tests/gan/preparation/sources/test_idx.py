from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan.config import DataConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError
from gan.preparation.prepare import prepare
from gan.preparation.sources import idx
from gan.preparation.split import in_test

TRAIN, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def images_file(images: npt.NDArray[np.uint8]) -> bytes:
    return struct.pack(">4I", 0x803, *images.shape) + images.tobytes()


def labels_file(labels: list[int]) -> bytes:
    return struct.pack(">2I", 0x801, len(labels)) + bytes(labels)


def some_images(count: int, height: int = 28, width: int = 28, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width), dtype=np.uint8)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        packed = gzip.compress(content) if name.endswith(".gz") else content
        (folder / name).write_bytes(packed)
    return folder


@pytest.fixture
def files() -> dict[str, bytes]:
    return {
        TRAIN: images_file(some_images(5)),
        TRAIN_LABELS: labels_file([3, 1, 4, 1, 7]),
        TEST: images_file(some_images(2, seed=1)),
        TEST_LABELS: labels_file([1, 3]),
    }


def run(folder: Path, **settings: Any) -> Prepared:
    config = DataConfig(name="idx", path=str(folder), **{"size": 32, **settings})
    prepare(config, folder / "out", progress=False)
    return open_prepared(folder / "out")


def refused(folder: Path, *parts: str, **settings: Any) -> None:
    with pytest.raises(DataError) as caught:
        run(folder, **settings)
    for part in parts:
        assert part in str(caught.value)
    out = folder / "out"
    assert not out.exists() or list(out.iterdir()) == []


def test_images_labels_and_padding(tmp_path: Path, files: dict[str, bytes]) -> None:
    opened = run(write(tmp_path, files))
    expected = np.zeros((5, 1, 32, 32), np.uint8)
    expected[:, 0, 2:30, 2:30] = some_images(5)
    np.testing.assert_array_equal(opened.images("train"), expected)
    np.testing.assert_array_equal(opened.images("test")[:, 0, 2:30, 2:30], some_images(2, seed=1))
    # A label is an index into the values that occur.
    assert opened.manifest.label_names == ["1", "3", "4", "7"]
    assert _labels(opened) == ([1, 0, 2, 0, 3], [0, 1])


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name + ".gz",
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("-idx", ".idx") + ".GZ",
        lambda name: name.replace("t10k", "test"),
        lambda name: "fashion-" + name,
    ],
)
def test_names_in_use(tmp_path: Path, files: dict[str, bytes], rename: Any) -> None:
    plain = run(write(tmp_path / "plain", files)).manifest
    renamed = write(tmp_path / "renamed", {rename(name): files[name] for name in files})
    assert run(renamed).manifest == plain


def test_gzip_is_told_by_content(tmp_path: Path, files: dict[str, bytes]) -> None:
    plain = run(write(tmp_path / "plain", files)).manifest
    odd = write(tmp_path / "odd", {name: gzip.compress(files[name]) for name in files})
    (odd / TEST).rename(odd / (TEST + ".gz"))
    assert run(odd).manifest == plain
    (odd / TRAIN).rename(odd / (TRAIN + ".gz"))
    (odd / (TRAIN + ".gz")).write_bytes(files[TRAIN])
    assert run(odd).manifest == plain


@pytest.mark.parametrize(
    "place",
    ["MNIST/raw/{}", "{}/{}", "archive/{}/{}"],
    ids=["torchvision", "kaggle", "kaggle in a folder"],
)
def test_files_that_lie_deeper(tmp_path: Path, files: dict[str, bytes], place: str) -> None:
    plain = run(write(tmp_path / "plain", files)).manifest
    nested = tmp_path / "nested"
    for name, content in files.items():
        path = nested / place.format(name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (nested / "MNIST" / "processed").mkdir(parents=True)
    (nested / "MNIST" / "processed" / "training.pt").write_bytes(b"")
    manifest = run(nested).manifest
    assert manifest.splits == plain.splits
    assert manifest.passed_over == {".pt": 1}


def test_files_on_top_come_before_those_that_lie_deeper(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    plain = run(write(tmp_path / "plain", files)).manifest
    # As an archive of Kaggle has them, once more in folders of their own names.
    root = write(tmp_path / "root", {name.replace("-idx", ".idx"): files[name] for name in files})
    for name in files:
        write(root / name, {name: b"not even read"})
    assert run(root).manifest == plain


def test_two_sets_in_folders_of_their_own(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name in ("MNIST", "FashionMNIST"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "raw", files)
    refused(
        tmp_path,
        "holds 2 data sets (FashionMNIST/raw/train-*, t10k-*, MNIST/raw/train-*, t10k-*)",
    )
    assert run(tmp_path / "MNIST").manifest.splits["train"].count == 5


def rows_file(labels: list[int], columns: int = 8) -> bytes:
    rows = np.zeros((len(labels), columns), ">i4")
    rows[:, 0], rows[:, 1:] = labels, 70_000
    return struct.pack(">3I", 0xC02, *rows.shape) + rows.tobytes()


class TestQmnist:
    """Its labels are rows of numbers: the class, the writer and so on."""

    @pytest.fixture
    def qmnist(self, files: dict[str, bytes]) -> dict[str, bytes]:
        return {
            "qmnist-train-images-idx3-ubyte": files[TRAIN],
            "qmnist-train-labels-idx2-int": rows_file([3, 1, 4, 1, 7]),
            "qmnist-test-images-idx3-ubyte.gz": files[TEST],
            "qmnist-test-labels-idx2-int.gz": rows_file([1, 3]),
            "xnist-images-idx3-ubyte.xz": b"",
        }

    def test_the_first_column_is_the_class(
        self, tmp_path: Path, files: dict[str, bytes], qmnist: dict[str, bytes]
    ) -> None:
        plain = run(write(tmp_path / "plain", files)).manifest
        found = run(write(tmp_path / "qmnist", qmnist)).manifest
        assert found.splits == plain.splits
        assert found.passed_over == {".xz": 1}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (rows_file([3, 1, 4, 1]), "has 4 labels, but qmnist-train-images"),
            (rows_file([3, 1, 4, 1, 256]), "has classes from 1 to 256: expected 0 to 255"),
            (rows_file([3, 1, 4, 1, -1]), "has classes from -1 to 4: expected 0 to 255"),
            (rows_file([3, 1, 4, 1, 7])[:-33], "says 5 labels, but it holds 3"),
            (rows_file([3, 1, 4, 1, 7]) + b"x", "goes on after the 5 labels"),
            (struct.pack(">3I", 0xC02, 5, 0), "has rows of 0 numbers: expected 1 to 64"),
            (struct.pack(">3I", 0xC02, 5, 1 << 31), "has rows of 2147483648 numbers"),
            (labels_file([3, 1, 4, 1, 7]), "expected 0x00000c02, an IDX file of numbers in 2"),
            (b"\0\0\x0c\x02\0", "is truncated: it ends within its header"),
        ],
    )
    def test_damage(
        self, tmp_path: Path, qmnist: dict[str, bytes], content: bytes, message: str
    ) -> None:
        qmnist["qmnist-train-labels-idx2-int"] = content
        refused(write(tmp_path, qmnist), "qmnist-train-labels-idx2-int", message)


def test_a_path_that_is_too_long_for_the_system(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*: File name too long"):
        idx.open_source(DataConfig(name="idx", path=str(tmp_path / ("x" * 300))))


def test_packed_beside_unpacked_counts_once(tmp_path: Path, files: dict[str, bytes]) -> None:
    plain = run(write(tmp_path / "plain", files)).manifest
    both = files | {f"{name}.gz": content for name, content in files.items()}
    assert run(write(tmp_path / "both", both)).manifest == plain


@pytest.mark.parametrize("extra", ["._train-images-idx3-ubyte", "README.md"])
def test_other_files_are_passed_over(tmp_path: Path, files: dict[str, bytes], extra: str) -> None:
    run(write(tmp_path, {**files, extra: b"?"}))


def test_emnist_is_transposed_and_starts_at_1(tmp_path: Path) -> None:
    images = some_images(3, 28, 20)
    prefix = "emnist-letters-"
    files = {
        f"{prefix}train-images-idx3-ubyte.gz": images_file(images),
        f"{prefix}train-labels-idx1-ubyte.gz": labels_file([26, 1, 2]),
        f"{prefix}test-images-idx3-ubyte.gz": images_file(images[:1]),
        f"{prefix}test-labels-idx1-ubyte.gz": labels_file([2]),
    }
    opened = run(write(tmp_path, files))
    upright = images.transpose(0, 2, 1)  # 20 rows, 28 columns
    np.testing.assert_array_equal(opened.images("train")[:, 0, 6:26, 2:30], upright)
    assert opened.images("train")[:, 0, :6].max() == 0
    assert opened.manifest.label_names == ["1", "2", "26"]
    assert _labels(opened) == ([2, 0, 1], [1])


def test_resize(tmp_path: Path, files: dict[str, bytes]) -> None:
    opened = run(write(tmp_path, files), size=16, fit="resize")
    assert opened.images("train").shape == (5, 1, 16, 16)
    assert abs(opened.images("train").mean() - some_images(5).mean()) < 3


def test_without_a_test_split_one_is_held_out(tmp_path: Path) -> None:
    images = some_images(200, 4, 4)
    files = {TRAIN: images_file(images), TRAIN_LABELS: labels_file([i % 10 for i in range(200)])}
    opened = run(write(tmp_path, files), size=8)
    held_out = np.array([in_test(f"idx/{index:05d}", 0.2) for index in range(200)])
    np.testing.assert_array_equal(opened.images("test")[:, 0, 2:6, 2:6], images[held_out])
    np.testing.assert_array_equal(opened.images("train")[:, 0, 2:6, 2:6], images[~held_out])


def test_without_labels(tmp_path: Path, files: dict[str, bytes]) -> None:
    opened = run(write(tmp_path, {TRAIN: files[TRAIN], TEST: files[TEST]}))
    assert opened.manifest.label_names is None
    assert opened.labels("train") is None


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    counts=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    height=st.integers(1, 8),
    width=st.integers(1, 8),
    packed=st.booleans(),
    block=st.integers(1, 300),
)
def test_any_shape_comes_back(
    tmp_path: Path, counts: tuple[int, int], height: int, width: int, packed: bool, block: int
) -> None:
    suffix = ".gz" if packed else ""
    train, test = (some_images(count, height, width, seed=count) for count in counts)
    folder = tmp_path / f"{packed}"
    write(folder, {TRAIN + suffix: images_file(train), TEST + suffix: images_file(test)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idx, "_BLOCK_BYTES", block)
        opened = run(folder, size=8)
    top, left = (8 - height) // 2, (8 - width) // 2
    for split, images in (("train", train), ("test", test)):
        inner = opened.images(split)[:, 0, top : top + height, left : left + width]  # type: ignore[arg-type]
        np.testing.assert_array_equal(inner, images)


class TestBadInput:
    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"none does not exist: expected a folder with train-"):
            idx.open_source(DataConfig(name="idx", path=str(tmp_path / "none")))

    def test_a_file_for_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match="file is a file: expected a folder"):
            idx.open_source(DataConfig(name="idx", path=str(tmp_path / "file")))

    def test_a_folder_with_nothing_but_a_readme(self, tmp_path: Path) -> None:
        refused(write(tmp_path, {"README.md": b""}), str(tmp_path), "holds no IDX files")

    def test_no_training_images(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        refused(write(tmp_path, {TEST: files[TEST]}), TEST, "no training images")

    def test_labels_of_one_split_only(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        del files[TEST_LABELS]
        refused(write(tmp_path, files), TEST, f"expected {TEST_LABELS}")

    def test_labels_without_images(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        del files[TEST]
        refused(write(tmp_path, files), TEST_LABELS, "no images beside it")

    def test_several_data_sets(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        more = {f"emnist-digits-{name}": content for name, content in files.items()}
        refused(write(tmp_path, {**files, **more}), "2 data sets (emnist-digits-*, train-*, t10k-*")

    def test_two_test_splits(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        files["test-images-idx3-ubyte"] = files[TEST]
        refused(write(tmp_path, files), "both t10k-images-idx3-ubyte and test-images-idx3-ubyte")

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize("name", [TRAIN, TRAIN_LABELS, TEST, TEST_LABELS])
    def test_damage(self, tmp_path: Path, files: dict[str, bytes], name: str, suffix: str) -> None:
        whole = {key + suffix: content for key, content in files.items()}
        name += suffix
        cases = {
            "starts with the number 0x00000d03": b"\0\0\x0d\x03" + whole[name][4:],
            "truncated": whole[name][:-1],
            "ends within its header": whole[name][:6],
            "is truncated: it ends": b"",
            "goes on after": whole[name] + b"\0",
        }
        for message, content in cases.items():
            refused(write(tmp_path, {**whole, name: content}), name, message)

    @pytest.mark.parametrize("name", [TRAIN, TEST_LABELS])
    def test_damaged_gzip(self, tmp_path: Path, files: dict[str, bytes], name: str) -> None:
        packed = gzip.compress(files[name])
        for content in (
            packed[:-9],
            packed[: len(packed) // 2],
            packed[:-5] + bytes([packed[-5] ^ 1]) + packed[-4:],
            packed + b"more",
            packed[:15] + bytes([packed[15] ^ 0xFF]) + packed[16:],
        ):
            refused(write(tmp_path, {**files, name: content}), name)

    def test_counts_that_disagree(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        files[TRAIN_LABELS] = labels_file([1, 2])
        refused(write(tmp_path, files), TRAIN_LABELS, "has 2 labels", "has 5 images")

    @pytest.mark.parametrize(
        "shape", [(0, 28, 28), (5, 0, 28), (5, 28, 5000), (2**32 - 1, 28, 28), (5, 2**31, 2**31)]
    )
    def test_sizes_beyond_sense(
        self, tmp_path: Path, files: dict[str, bytes], shape: tuple[int, int, int]
    ) -> None:
        files[TRAIN] = struct.pack(">4I", 0x803, *shape) + bytes(100)
        refused(write(tmp_path, files), TRAIN, f"holds {shape[0]} images of {shape[1]} rows")

    def test_splits_of_two_shapes(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        files[TEST] = images_file(some_images(2, 20, 28))
        refused(write(tmp_path, files), TEST, "has 20 rows", TRAIN)

    def test_larger_than_the_size(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        refused(write(tmp_path, files), TRAIN, "28 x 28 is larger", "resize", size=16)

    def test_too_few_to_hold_any_out(self, tmp_path: Path) -> None:
        folder = write(tmp_path, {TRAIN: images_file(some_images(1))})
        refused(folder, "1 are for training and 0 for testing", "data.test_fraction (now 0.001)",
                test_fraction=0.001)  # fmt: skip


def _labels(opened: Prepared) -> tuple[list[int], list[int]]:
    train, test = opened.labels("train"), opened.labels("test")
    assert train is not None
    assert test is not None
    return train.tolist(), test.tolist()
