import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan.errors import StateError, UserError
from gan.figures import points as toy_figures
from gan.toys import Toy, make_toy


def near_a_mode(points: torch.Tensor) -> torch.Tensor:
    """A discriminator that takes what is near the first coordinate's mean for real."""
    return 1 - points.square().sum(1)


def snapshots(toy: Toy, count: int = 1) -> list[toy_figures.Snapshot]:
    return [
        toy_figures.take_snapshot(
            100 * (index + 1),
            toy.sample(500, torch.Generator().manual_seed(index))[0],
            near_a_mode,
            toy,
        )
        for index in range(count)
    ]


def points(dimensions: int, count: int = 300) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, dimensions)).astype(np.float32)


DRAWINGS: dict[str, Callable[[Path], None]] = {
    "curves": lambda path: toy_figures.game(
        snapshots(make_toy("normal"), 2), make_toy("normal"), path
    ),
    "plane": lambda path: toy_figures.game(snapshots(make_toy("ring")), make_toy("ring"), path),
    "critic": lambda path: toy_figures.game(
        snapshots(make_toy("spirals")), make_toy("spirals"), path, probabilities=False
    ),
    "samples on a line": lambda path: toy_figures.samples(points(1), path, make_toy("line")),
    "samples in a plane": lambda path: toy_figures.samples(points(2), path, make_toy("grid")),
    "samples alone": lambda path: toy_figures.samples(points(1), path),
    "paths on a line": lambda path: toy_figures.paths(points(1).reshape(10, 30, 1), path),
    "paths in a plane": lambda path: toy_figures.paths(points(2).reshape(10, 30, 2), path),
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


@pytest.mark.parametrize(("name", "size"), [("normal", 401), ("grid", 121)])
def test_the_lattice_surrounds_the_data(name: str, size: int):
    toy = make_toy(name)
    places = toy_figures.lattice(toy)
    assert places.shape == (size**toy.dimensions, toy.dimensions)
    assert places.dtype == torch.float32
    assert (places.min(0).values.double() < toy.means.min(0).values).all()
    assert (places.max(0).values.double() > toy.means.max(0).values).all()
    if toy.dimensions == 2:  # the first coordinate varies slowest
        assert places[0, 0] == places[1, 0]
        assert places[0, 1] < places[1, 1]


def test_a_snapshot_holds_the_game_and_comes_back(tmp_path: Path):
    toy = make_toy("ring")
    (snapshot,) = snapshots(toy)
    grid = toy_figures.lattice(toy).reshape(121, 121, 2)
    torch.testing.assert_close(snapshot.logits[7, 50], 1 - grid[7, 50].square().sum())
    path = toy_figures.snapshot_path(tmp_path, 100)
    toy_figures.save_snapshot(snapshot, path)
    loaded = toy_figures.load_snapshot(path)
    assert loaded.step == 100
    assert torch.equal(loaded.samples, snapshot.samples)
    assert torch.equal(loaded.logits, snapshot.logits)
    path.write_bytes(b"x")
    with pytest.raises(StateError, match="not a snapshot"):
        toy_figures.load_snapshot(path)


def test_panels_are_chosen_from_first_to_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn: list[int] = []
    monkeypatch.setattr(
        toy_figures, "_curves_panel", lambda axis, toy, shot, p: drawn.append(shot.step)
    )
    toy = make_toy("normal")
    toy_figures.game(snapshots(toy, 11), toy, tmp_path / "game.png")
    assert len(drawn) == 6
    assert (drawn[0], drawn[-1]) == (100, 1100)
    assert drawn == sorted(drawn)
    drawn.clear()
    toy_figures.game(snapshots(toy, 4), toy, tmp_path / "game.png")
    assert drawn == [100, 200, 300, 400]


def test_a_discriminator_that_says_the_same_everywhere_is_drawn(tmp_path: Path):
    toy = make_toy("ring")
    samples = torch.zeros(5, 2)
    flat = toy_figures.take_snapshot(1, samples, lambda x: torch.zeros(len(x)), toy)
    for probabilities in (True, False):
        toy_figures.game([flat], toy, tmp_path / "a.png", probabilities=probabilities)
    assert Image.open(tmp_path / "a.png").width > 300


def test_samples_that_are_all_the_same_are_drawn(tmp_path: Path):
    toy_figures.samples(np.full((10, 1), 3.0, np.float32), tmp_path / "a.png")
    toy_figures.samples(np.full((10, 2), 3.0, np.float32), tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").width > 300


def test_what_cannot_be_drawn_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no snapshots"):
        toy_figures.game([], make_toy("ring"), tmp_path / "a.png")
    with pytest.raises(UserError, match=r"float32 \[5, 3\]: expected \[N, D\] with D 1 or 2"):
        toy_figures.samples(np.zeros((5, 3), np.float32), tmp_path / "a.png")
    with pytest.raises(UserError, match="no points"):
        toy_figures.samples(np.zeros((0, 2), np.float32), tmp_path / "a.png")
    with pytest.raises(UserError, match=r"expected \[R, steps, D\]"):
        toy_figures.paths(np.zeros((5, 2), np.float32), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
