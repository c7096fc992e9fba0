import pytest

from gan.preparation.named_splits import choose, split_of


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training", "train"), ("test-00000-of-00001.parquet", "test"),
        ("testing_1", "test"), ("val", "val"), ("valid.x", "val"), ("validation-00000", "val"),
        ("dev", "val"), ("train2", "train"), ("trainable", None), ("testament", None),
        ("latest", None), ("data", None), ("", None),
    ],
)  # fmt: skip
def test_names(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({None}, (None, None, [])),
        ({"train"}, ("train", None, [])),
        ({"train", "test"}, ("train", "test", [])),
        ({"train", "val"}, ("train", "val", [])),
        ({"train", "val", "test"}, ("train", "test", ["val"])),
    ],
)
def test_what_is_used(found: set[str | None], chosen: tuple[object, ...]) -> None:
    assert choose(found) == chosen


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"test"}, "some are of the split test and none of train"),
        ({"train", None}, "some are of the split train and some of none"),
    ],
)
def test_what_does_not_go_together(found: set[str | None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(found)
