"""Pictures of predictions: what is drawn, the same bytes each time, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.config import DataConfig
from gan.data import Prepared, open_prepared
from gan.errors import UserError
from gan.figures import labels as figures
from gan.figures import of_kind
from gan.figures.images import image_grid
from gan.preparation.prepare import prepare
from gan.training.snapshots import Snapshot

NAMES = ("cat", "dog", "a name much too long")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1])
RIGHT = np.eye(3, dtype=np.float32)[LABELS]


def red(path: Path) -> int:
    """Pixels of about the colour of frames."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((np.abs(pixels - (0xD1, 0x49, 0x5B)).sum(-1) < 30).sum())


def test_errors_are_framed_and_nothing_else(tmp_path: Path):
    figures.predictions(IMAGES, RIGHT, LABELS, NAMES, tmp_path / "right.png", columns=3)
    assert red(tmp_path / "right.png") == 0
    sizes = []
    for wrong in (1, 2):
        found = RIGHT.copy()
        found[:wrong] = [0, 0.2, 0.8]
        path = tmp_path / f"{wrong}.png"
        figures.predictions(IMAGES, found, LABELS, NAMES, path, columns=3)
        sizes.append(red(path))
    assert sizes[0] > 300
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.1)


def test_colour_images_and_a_short_last_row(tmp_path: Path):
    colour = np.repeat(IMAGES, 3, 1)
    figures.predictions(colour, RIGHT, LABELS, NAMES, tmp_path / "a.png", columns=2)
    figures.predictions(colour, RIGHT, LABELS, NAMES, tmp_path / "b.png", columns=9)
    (_, tall), (_, flat) = (Image.open(tmp_path / name).size for name in ("a.png", "b.png"))
    assert tall > 2 * flat


def test_the_same_content_is_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        figures.predictions(IMAGES, RIGHT, LABELS, NAMES, tmp_path / f"{name}.png", columns=3)
        figures.confusion(np.diag([3, 2, 0]), NAMES, tmp_path / f"{name}c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "ac.png").read_bytes() == (tmp_path / "bc.png").read_bytes()


@pytest.mark.parametrize("classes", [2, 10, 60])
def test_confusion_is_dark_where_the_counts_are(tmp_path: Path, classes: int):
    names = [f"class {index}" for index in range(classes)]
    figures.confusion(7 * np.eye(classes, dtype=np.int64), names, tmp_path / "diagonal.png")
    figures.confusion(np.zeros((classes, classes), np.int64), names, tmp_path / "none.png")
    dark = [
        (np.asarray(Image.open(tmp_path / name).convert("RGB"))[..., 0] < 40).mean()
        for name in ("diagonal.png", "none.png")
    ]
    assert dark[0] - dark[1] > 0.2 / classes


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="5 images, 4 predictions and 5 labels"):
        figures.predictions(IMAGES, RIGHT[:4], LABELS, NAMES, tmp_path / "a.png", columns=3)
    with pytest.raises(UserError, match="no images to draw"):
        figures.predictions(IMAGES[:0], RIGHT[:0], LABELS[:0], NAMES, tmp_path / "a.png", columns=3)
    with pytest.raises(UserError, match=r"counts are \[2, 2\]: expected \[3, 3\]"):
        figures.confusion(np.zeros((2, 2), np.int64), NAMES, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("labels")
    prepare(DataConfig(size=8), folder, progress=False)
    return open_prepared(folder)


def test_everything_there_is_to_draw_of_labels(prepared: Prepared, tmp_path: Path):
    kind, names = of_kind("labels"), prepared.label_names
    probabilities = np.random.default_rng(0).dirichlet([1] * 10, 20).astype(np.float32)
    folder, expected = tmp_path / "drawn", tmp_path / "expected"
    snapshot = Snapshot(7, "labels", probabilities[:9])
    kind.real(prepared, folder, 3)
    kind.moment(snapshot, prepared, folder / "step.png", 3)
    kind.course([snapshot], prepared, folder)
    kind.grid(probabilities, prepared, folder, 3)
    kind.evaluation({"confusion": np.eye(10, dtype=np.int64)}, probabilities, prepared, folder)
    image_grid(np.array(prepared.images("train")[:9]), 3, expected / "real.png")
    for name, split in (("step.png", "train"), ("grid.png", "test")):
        images, labels = prepared.images(split)[:9], prepared.labels(split)[:9]
        path = expected / name
        figures.predictions(images, probabilities[:9], labels, names, path, columns=3)
    figures.confusion(np.eye(10, dtype=np.int64), names, expected / "confusion.png")
    found, wanted = (
        {path.name: path.read_bytes() for path in where.iterdir()} for where in (folder, expected)
    )
    assert found == wanted
