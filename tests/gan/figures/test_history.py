import io
import math
from pathlib import Path

import pytest
from PIL import Image

from gan.errors import UserError
from gan.figures import history

HISTORY = {
    "step": [50, 100, 150],
    "images": [3200, 6400, 9600],
    "discriminator_loss": [1.2, 1.0, math.nan],
    "generator_loss": [0.7, 0.9, 1.1],
    "real_logit": [0.1, 0.5, 0.4],
    "generator_gradient_norm": [10.0, 1.0, 0.1],
    "images_per_second": [900, 1000, 950],
}


def test_the_same_content_gives_the_same_bytes_without_a_date_or_software(tmp_path: Path):
    history.curves(HISTORY, tmp_path / "a.png")
    history.curves(HISTORY, tmp_path / "b.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "PNG"
    assert set(picture.info) <= {"dpi"}


def test_columns_that_belong_together_share_a_chart():
    names = [name for name in HISTORY if name not in history.AXES]
    assert history._groups(names) == [
        ("losses", False, ["discriminator_loss", "generator_loss"]),
        ("real logit", False, ["real_logit"]),
        ("generator gradient norm", True, ["generator_gradient_norm"]),
        ("images per second", False, ["images_per_second"]),
    ]


def test_columns_that_are_zero_throughout_have_no_chart(tmp_path: Path):
    steps = {"step": [1, 2], "loss": [2.0, 1.0]}
    for name, more in {
        "loss": {},
        "zero": {"penalty": [0.0, 0.0]},
        "nan": {"penalty": [0.0, math.nan]},
    }.items():
        history.curves({**steps, **more}, tmp_path / name)
    charts = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert charts["zero"] == charts["loss"]
    assert Image.open(tmp_path / "nan").width > Image.open(tmp_path / "loss").width
    # All of them, where there is nothing else.
    history.curves({"step": [1, 2], "loss": [0.0, 0.0]}, tmp_path / "flat")
    assert Image.open(tmp_path / "flat").size == Image.open(tmp_path / "loss").size


@pytest.mark.parametrize(
    "columns",
    [{}, {"step": [1]}, {"loss": [1.0]}, {"step": [1, 2], "loss": [1.0]}],
    ids=["nothing", "only step", "no step", "lengths"],
)
def test_histories_that_cannot_be_drawn_are_refused(columns, tmp_path: Path):
    with pytest.raises(UserError, match="history"):
        history.curves(columns, tmp_path / "curves.png")


def test_a_history_without_a_finite_value_or_with_one_row_is_drawn(tmp_path: Path):
    history.curves({"step": [1], "loss": [2.0]}, tmp_path / "row.png")
    values = [math.nan, math.inf]
    history.curves({"step": [1, 2], "gradient_norm": values}, tmp_path / "nan.png")
    assert Image.open(tmp_path / "nan.png").width > 100
