"""Names from outside are drawn as they stand."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.cbook import is_math_text

from gan.figures.canvas import shortened
from gan.figures.images import class_histogram
from gan.figures.labels import confusion, predictions

NAMES = ("$5_$10", "$\\frac$", "猫", "a\nb\t\x1b[31m", "\\$", "$$", "$x^")


def drawn(name: str) -> str:
    """What Matplotlib makes of a text that is no mathematics."""
    return name.replace(r"\$", "$")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("$5_$10", "$5_$10"),
        ("a\\$b$c", "a\\$b$c"),
        ("a\nb\x1b", "a·b·"),
        ("twelve chars", "twelve chars"),
        ("thirteen char", "thirteen ch…"),
        ("$" * 13, "$" * 11 + "…"),
    ],
)
def test_names_are_cut_and_drawn_as_they_stand(name: str, expected: str):
    assert drawn(shortened(name)) == expected


@given(st.text(alphabet="$\\_^{}a\n", max_size=20))
def test_no_name_is_mathematics(name: str):
    assert not is_math_text(shortened(name))
    assert len(drawn(shortened(name))) <= 12


def test_all_charts_with_names_of_classes(tmp_path: Path):
    count = len(NAMES)
    images = np.zeros((count, 1, 8, 8), np.uint8)
    sure = np.eye(count, dtype=np.float32)
    labels = np.arange(count)[::-1].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        class_histogram(NAMES, {"samples": [0.1] * count}, tmp_path / "shares.png")
        confusion(np.eye(count, dtype=np.int64), NAMES, tmp_path / "confusion.png")
        predictions(images, sure, labels, NAMES, tmp_path / "predictions.png", columns=3)
    assert {path.name for path in tmp_path.iterdir()} == {
        "shares.png", "confusion.png", "predictions.png",
    }  # fmt: skip
