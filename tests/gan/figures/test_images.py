import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.config import DataConfig
from gan.data import Prepared, open_prepared
from gan.errors import UserError
from gan.figures import images as figures
from gan.figures import of_kind
from gan.preparation.prepare import prepare
from gan.training.snapshots import Snapshot


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


@pytest.fixture(scope="module", params=[0, 2], ids=["grey", "symbols"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("images")
    prepare(DataConfig(size=8, levels=request.param), folder, progress=False)
    return open_prepared(folder)


def grid_of(images: np.ndarray, columns: int, folder: Path) -> bytes:
    figures.image_grid(images, columns, folder / "expected.png")
    return (folder / "expected.png").read_bytes()


def test_of_images_everything_but_the_evaluation_is_a_grid(prepared: Prepared, tmp_path: Path):
    kind = of_kind("images")
    folder = tmp_path / "drawn"
    kind.real(prepared, folder, 3)
    kind.moment(Snapshot(7, "images", noise(9)), prepared, folder / "step.png", 3)
    kind.course([Snapshot(7, "images", noise(9))], prepared, folder)
    kind.grid(noise(20), prepared, folder, 3)
    kind.between(noise(8).reshape(2, 4, 1, 8, 8), prepared, folder)
    expected = {
        "real.png": (np.asarray(prepared.images("train")[:9]), 3),
        "step.png": (noise(9), 3),
        "grid.png": (noise(20)[:9], 3),
        "interpolation.png": (noise(8), 4),
    }
    assert {path.name for path in folder.iterdir()} == set(expected)
    for name, (images, columns) in expected.items():
        assert (folder / name).read_bytes() == grid_of(images, columns, tmp_path), name


def test_the_evaluation_of_images(prepared: Prepared, tmp_path: Path):
    shown = {
        "nearest.indices": np.array([[3, 1], [0, 2]]),
        "nearest.distances": np.array([[0.1, 0.2], [0.3, 0.4]]),
    }
    of_kind("images").evaluation(shown, noise(5), prepared, tmp_path / "without")
    assert [path.name for path in (tmp_path / "without").iterdir()] == ["nearest.png"]
    shares = {"shares.samples": np.full(10, 0.1), "shares.training": np.full(10, 0.1)}
    of_kind("images").evaluation(shown | shares, noise(5), prepared, tmp_path / "with")
    names = sorted(path.name for path in (tmp_path / "with").iterdir())
    assert names == ["classes.png", "nearest.png"]
    assert all(Image.open(tmp_path / "with" / name).width > 100 for name in names)
    figures.nearest_images(
        noise(5)[:2],
        np.asarray(prepared.images("train")[np.array([[3, 1], [0, 2]])]),
        shown["nearest.distances"],
        tmp_path / "expected.png",
    )
    found = (tmp_path / "without" / "nearest.png").read_bytes()
    assert found == (tmp_path / "expected.png").read_bytes()
