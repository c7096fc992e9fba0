import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan.config import DataConfig
from gan.data import Prepared, open_prepared
from gan.errors import UserError
from gan.figures import of_kind
from gan.figures import points as figures
from gan.preparation.prepare import prepare
from gan.toys import Toy, make_toy
from gan.training.snapshots import Snapshot, ask_around


def near_a_mode(points: torch.Tensor) -> torch.Tensor:
    """A discriminator that takes what is near the first coordinate's mean for real."""
    return 1 - points.square().sum(1)


def snapshots(toy: Toy, count: int = 1, *, probabilities: bool = True) -> list[Snapshot]:
    return [
        Snapshot(
            100 * (index + 1),
            "points",
            toy.sample(500, torch.Generator().manual_seed(index))[0].float().numpy(),
            ask_around(near_a_mode, toy),
            probabilities,
        )
        for index in range(count)
    ]


def points(dimensions: int, count: int = 300) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, dimensions)).astype(np.float32)


DRAWINGS: dict[str, Callable[[Path], None]] = {
    "curves": lambda path: figures.game(snapshots(make_toy("normal"), 2), make_toy("normal"), path),
    "plane": lambda path: figures.game(snapshots(make_toy("ring")), make_toy("ring"), path),
    "critic": lambda path: figures.game(
        snapshots(make_toy("spirals"), probabilities=False), make_toy("spirals"), path
    ),
    "critic on a line": lambda path: figures.game(
        snapshots(make_toy("line"), 2, probabilities=False), make_toy("line"), path
    ),
    "samples on a line": lambda path: figures.samples(points(1), path, make_toy("line")),
    "samples in a plane": lambda path: figures.samples(points(2), path, make_toy("grid")),
    "samples alone": lambda path: figures.samples(points(1), path),
    "paths on a line": lambda path: figures.paths(points(1).reshape(10, 30, 1), path),
    "paths in a plane": lambda path: figures.paths(points(2).reshape(10, 30, 2), path),
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
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 20


def test_panels_are_chosen_from_first_to_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn: list[int] = []
    monkeypatch.setattr(figures, "_curves_panel", lambda axis, toy, shot: drawn.append(shot.step))
    toy = make_toy("normal")
    figures.game(snapshots(toy, 11), toy, tmp_path / "game.png")
    assert len(drawn) == 6
    assert (drawn[0], drawn[-1]) == (100, 1100)
    assert drawn == sorted(drawn)
    drawn.clear()
    figures.game(snapshots(toy, 4), toy, tmp_path / "game.png")
    assert drawn == [100, 200, 300, 400]


def test_a_discriminator_that_says_the_same_everywhere_is_drawn(tmp_path: Path):
    toy = make_toy("ring")
    logits = ask_around(lambda x: torch.zeros(len(x)), toy)
    for probabilities in (True, False):
        flat = Snapshot(1, "points", np.zeros((5, 2), np.float32), logits, probabilities)
        figures.game([flat], toy, tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").width > 300


def test_samples_that_are_all_the_same_are_drawn(tmp_path: Path):
    figures.samples(np.full((10, 1), 3.0, np.float32), tmp_path / "a.png")
    figures.samples(np.full((10, 2), 3.0, np.float32), tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").width > 300


def test_what_cannot_be_drawn_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no snapshots"):
        figures.game([], make_toy("ring"), tmp_path / "a.png")
    images = Snapshot(7, "images", np.zeros((4, 1, 8, 8), np.uint8))
    with pytest.raises(UserError, match="snapshot of step 7 is of images, not of points"):
        figures.game([images], make_toy("ring"), tmp_path / "a.png")
    with pytest.raises(UserError, match=r"float32 \[5, 3\]: expected \[N, D\] with D 1 or 2"):
        figures.samples(np.zeros((5, 3), np.float32), tmp_path / "a.png")
    with pytest.raises(UserError, match="no points"):
        figures.samples(np.zeros((0, 2), np.float32), tmp_path / "a.png")
    with pytest.raises(UserError, match=r"expected \[R, steps, D\]"):
        figures.paths(np.zeros((5, 2), np.float32), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module", params=["normal", "ring"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("points")
    prepare(DataConfig(name="toy", toy=request.param, toy_points=200), folder, progress=False)
    return open_prepared(folder)


def test_everything_there_is_to_draw_of_points(prepared: Prepared, tmp_path: Path):
    toy, kind = make_toy(str(prepared.manifest.toy)), of_kind("points")
    shots, shape = snapshots(toy, 3), (toy.dimensions,)
    folder = tmp_path / "drawn"
    folder.mkdir()
    kind.real(prepared, folder, 3)
    kind.moment(shots[0], prepared, folder / "step.png", 3)
    kind.course(shots, prepared, folder)
    kind.grid(points(*shape, 5000), prepared, folder, 3)
    kind.between(points(*shape, 30).reshape(3, 10, *shape), prepared, folder)
    shown = {}
    if toy.group_names is not None:
        shown = {f"shares.{name}": np.full(8, 1 / 8) for name in ("samples", "data")}
    kind.evaluation(shown, points(*shape), prepared, folder)
    expected = tmp_path / "expected"
    figures.samples(prepared.points("train"), expected / "real.png", toy)
    figures.game(shots[:1], toy, expected / "step.png")
    figures.game(shots, toy, expected / "game.png")
    figures.samples(points(*shape, 5000)[:2000], expected / "grid.png")
    figures.paths(points(*shape, 30).reshape(3, 10, *shape), expected / "interpolation.png")
    figures.samples(points(*shape), expected / "density.png", toy)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert ("classes.png" in found) == bool(shown)
    found.pop("classes.png", None)
    assert found == {path.name: path.read_bytes() for path in expected.iterdir()}
