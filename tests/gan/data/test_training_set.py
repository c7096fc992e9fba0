from pathlib import Path

import numpy as np
import pytest
import torch

from gan.config import DataConfig
from gan.data import TrainingSet, open_prepared, training_set
from gan.data.batches import Labelled
from gan.errors import DataError
from gan.preparation.prepare import prepare
from gan.symbols import Characters, ClassNames, Colours

CPU = torch.device("cpu")
NAMES = ClassNames(("even", "odd"))
IMAGES = np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(8, 2).repeat(8, 3)
LABELS = np.arange(6) % 2


def test_labels_and_their_names_come_together():
    with pytest.raises(ValueError, match="labels are missing, and the alphabet is of labels"):
        TrainingSet(IMAGES, NAMES)
    with pytest.raises(ValueError, match="labels are given, and the alphabet is none"):
        TrainingSet(IMAGES, labels=LABELS)
    with pytest.raises(ValueError, match="labels are given, and the alphabet is of colours"):
        TrainingSet(IMAGES[:, 0], Colours.levels(8), LABELS)


@pytest.mark.parametrize(
    ("examples", "alphabet", "shape"),
    [
        (IMAGES, None, (1, 8, 8)),
        (np.zeros((6, 2), np.float32), None, (2,)),
        (IMAGES[:, 0], Colours(((0, 0, 0), (9, 9, 9))), (3, 8, 8)),
        (np.zeros((6, 5), np.uint8), Characters(("a", "b")), (5,)),
    ],
)
def test_the_shape_is_that_of_what_the_networks_see(examples, alphabet, shape):
    assert TrainingSet(examples, alphabet).shape == shape


def test_labels_go_with_their_images():
    stream = TrainingSet(IMAGES, NAMES, LABELS).batches(2, seed=3, device=CPU)
    seen = []
    for _ in range(6):
        batch = stream.next()
        assert isinstance(batch, Labelled)
        numbers = batch.examples[:, 0, 0, 0]
        assert torch.equal(numbers % 2, batch.labels)
        seen += numbers.tolist()
    assert sorted(seen) == sorted([*range(6)] * 2)


def test_a_stream_goes_on_where_it_was():
    whole, first, second = (
        TrainingSet(IMAGES, NAMES, LABELS).batches(2, seed=3, device=CPU) for _ in range(3)
    )
    for _ in range(4):
        whole.next()
        first.next()
    second.load_state_dict(first.state_dict())
    expected, found = whole.next(), second.next()
    assert torch.equal(expected.examples, found.examples)
    assert torch.equal(expected.labels, found.labels)


def test_prepared_points_come_with_their_density(tmp_path: Path):
    prepare(DataConfig(name="toy", toy="ring", toy_points=200), tmp_path, progress=False)
    found = training_set(open_prepared(tmp_path))
    assert found.toy is not None
    assert found.toy.name == "ring"
    assert found.labels is None
    with pytest.raises(DataError, match=r"holds points, but model\.name classifier"):
        training_set(open_prepared(tmp_path), labelled=True)


def test_prepared_images_come_with_labels_where_they_are_asked_for(tmp_path: Path):
    prepare(DataConfig(size=8), tmp_path, progress=False)
    prepared = open_prepared(tmp_path)
    assert training_set(prepared).alphabet is None
    found = training_set(prepared, labelled=True)
    assert found.alphabet == ClassNames(tuple(map(str, range(10))))
    assert np.array_equal(found.labels, prepared.labels("train"))
