import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.errors import UserError
from gan.figures import images as figures

HISTORY = {
    "step": [50, 100, 150],
    "images": [3200, 6400, 9600],
    "discriminator_loss": [1.2, 1.0, math.nan],
    "generator_loss": [0.7, 0.9, 1.1],
    "real_logit": [0.1, 0.5, 0.4],
    "generator_gradient_norm": [10.0, 1.0, 0.1],
    "images_per_second": [900, 1000, 950],
}


def noise(count: int, shape: tuple[int, int, int] = (1, 8, 8)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def draw_nearest(path: Path, count: int = 7) -> None:
    neighbours = noise(count * 3).reshape(count, 3, 1, 8, 8)
    figures.nearest_images(noise(count), neighbours, np.full((count, 3), 0.1234), path)


def draw_histogram(path: Path, classes: int = 10) -> None:
    share = [1 / classes] * classes
    names = [f"a long class name {index}" for index in range(classes)]
    figures.class_histogram(names, {"samples": share, "training": share}, path)


DRAWINGS = {
    "image_grid": lambda path: figures.image_grid(noise(7), 3, path),
    "nearest_images": draw_nearest,
    "class_histogram": draw_histogram,
    "curves": lambda path: figures.curves(HISTORY, path),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_the_same_content_gives_the_same_bytes_without_a_date_or_software(draw, tmp_path: Path):
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "PNG"
    assert set(picture.info) <= {"dpi"}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_every_pixel_in_its_place(channels: int, tmp_path: Path):
    images = noise(5, (channels, 8, 8))
    figures.image_grid(images, 3, tmp_path / "grid.png", scale=2, padding=1)
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape[:2] == ((2 * 9 + 1) * 2, (3 * 9 + 1) * 2)
    fourth = grid[2 * 10 : 2 * 18, 2 * 1 : 2 * 9]  # second row, first column
    expected = images[3].transpose(1, 2, 0).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(fourth, expected[..., 0] if channels == 1 else expected)
    assert (grid[2 * 10 :, 2 * 19 :] == 255).all()  # no sixth image
    assert (grid[:2] == 255).all()


def test_small_images_are_enlarged_and_large_ones_are_not(tmp_path: Path):
    figures.image_grid(noise(100, (1, 16, 16)), 10, tmp_path / "small.png")
    assert Image.open(tmp_path / "small.png").size == (171 * 4, 171 * 4)
    figures.image_grid(noise(64, (1, 128, 128)), 8, tmp_path / "large.png")
    assert Image.open(tmp_path / "large.png").size == (1033, 1033)
    figures.image_grid(noise(2), 10, tmp_path / "few.png", scale=1)  # no empty columns
    assert Image.open(tmp_path / "few.png").size == (19, 10)


@pytest.mark.parametrize(
    ("images", "columns"),
    [
        (noise(0), 3),
        (noise(3, (2, 8, 8)), 3),
        (noise(3).astype(np.float32), 3),
        (noise(3)[0], 3),
        (noise(3), 0),
    ],
    ids=["none", "channels", "dtype", "no batch", "columns"],
)
def test_grids_that_cannot_be_drawn_are_refused(images, columns: int, tmp_path: Path):
    with pytest.raises(UserError):
        figures.image_grid(images, columns, tmp_path / "grid.png")
    assert not list(tmp_path.iterdir())


def test_columns_that_belong_together_share_a_chart():
    names = [name for name in HISTORY if name not in figures.AXES]
    assert figures._groups(names) == [
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
        figures.curves({**steps, **more}, tmp_path / name)
    charts = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert charts["zero"] == charts["loss"]
    assert Image.open(tmp_path / "nan").width > Image.open(tmp_path / "loss").width
    # All of them, where there is nothing else.
    figures.curves({"step": [1, 2], "loss": [0.0, 0.0]}, tmp_path / "flat")
    assert Image.open(tmp_path / "flat").size == Image.open(tmp_path / "loss").size


@pytest.mark.parametrize(
    "history",
    [{}, {"step": [1]}, {"loss": [1.0]}, {"step": [1, 2], "loss": [1.0]}],
    ids=["nothing", "only step", "no step", "lengths"],
)
def test_histories_that_cannot_be_drawn_are_refused(history, tmp_path: Path):
    with pytest.raises(UserError, match="history"):
        figures.curves(history, tmp_path / "curves.png")


def test_a_history_without_a_finite_value_or_with_one_row_is_drawn(tmp_path: Path):
    figures.curves({"step": [1], "loss": [2.0]}, tmp_path / "row.png")
    values = [math.nan, math.inf]
    figures.curves({"step": [1, 2], "gradient_norm": values}, tmp_path / "nan.png")
    assert Image.open(tmp_path / "nan.png").width > 100


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="do not fit"):
        figures.nearest_images(
            noise(2), noise(6).reshape(2, 3, 1, 8, 8), np.zeros((2, 2)), tmp_path / "a.png"
        )
    with pytest.raises(UserError, match="has 1 shares"):
        figures.class_histogram(["a", "b"], {"samples": [1.0]}, tmp_path / "a.png")


@pytest.mark.parametrize("count", [1, 4, 32])
def test_any_number_of_samples_beside_their_neighbours(count: int, tmp_path: Path):
    draw_nearest(tmp_path / "nearest.png", count)
    assert Image.open(tmp_path / "nearest.png").height < 3000
