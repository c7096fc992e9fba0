from pathlib import Path

import numpy as np
import pytest

from gan.data.meaning import label_alphabet, labels_of, toy_of
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError
from gan.preparation.writer import PreparedWriter
from gan.symbols import Alphabet, ClassNames, Colours


def prepared(
    folder: Path, names: list[str] | None, kind: str = "images", alphabet: Alphabet | None = None
) -> Prepared:
    shape = (1, 8, 8) if kind == "images" else (8, 8)
    with PreparedWriter(
        folder, source="test", shape=shape, label_names=names, kind=kind, alphabet=alphabet
    ) as writer:
        for split in ("train", "test"):
            labels = None if names is None else np.arange(6) % len(names)
            writer.append(split, np.zeros((6, *shape), np.uint8), labels)
    return open_prepared(folder)


def test_the_classes_are_an_alphabet(tmp_path: Path):
    data = prepared(tmp_path / "data", ["a", "b", "c"])
    assert label_alphabet(data) == ClassNames(("a", "b", "c"))
    assert labels_of(data, "test").tolist() == [0, 1, 2, 0, 1, 2]


def test_data_without_labels_are_refused(tmp_path: Path):
    data = prepared(tmp_path / "data", None)
    with pytest.raises(DataError, match=r"images without labels \(test\).*expected a labelled"):
        label_alphabet(data)
    with pytest.raises(DataError, match="no labels of the train split"):
        labels_of(data, "train")


def test_other_data_and_other_counts_of_classes_are_refused(tmp_path: Path):
    symbols = prepared(tmp_path / "a", ["a", "b"], "symbol_images", Colours.levels(2))
    with pytest.raises(DataError, match=r"holds symbol_images.*expected images"):
        label_alphabet(symbols)
    with pytest.raises(DataError, match="has 1 classes: expected 2 to 256"):
        label_alphabet(prepared(tmp_path / "b", ["a"]))
    with pytest.raises(DataError, match="has 257 classes"):
        label_alphabet(prepared(tmp_path / "c", [str(index) for index in range(257)]))


@pytest.mark.parametrize(
    ("toy", "width", "message"),
    [
        ("moon", 2, "no toy 'moon'"),
        ("ring", 1, r"points of shape \[1\]: expected \[2\] for ring"),
    ],
)
def test_prepared_points_without_a_known_density_are_refused(
    tmp_path: Path, toy: str, width: int, message: str
):
    with PreparedWriter(tmp_path, source="toy", shape=(width,), kind="points", toy=toy) as writer:
        for split in ("train", "test"):
            writer.append(split, np.zeros((3, width), np.float32))
    with pytest.raises(DataError, match=message):
        toy_of(open_prepared(tmp_path))


def test_images_have_no_density(tmp_path: Path):
    with pytest.raises(DataError, match="holds images of test, which have no known density"):
        toy_of(prepared(tmp_path, None))
