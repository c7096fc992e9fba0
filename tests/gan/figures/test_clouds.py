from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.config import DataConfig
from gan.data import Prepared, open_prepared
from gan.errors import UserError
from gan.figures import clouds, of_kind
from gan.figures.clouds import MAX_PANELS
from gan.preparation.prepare import prepare
from gan.training.snapshots import Snapshot

draw = of_kind("points")
Make = Callable[[int], Prepared]


@pytest.fixture
def table(tmp_path: Path) -> Make:
    def make(dimensions: int) -> Prepared:
        rows = np.random.default_rng(0).normal(50, 7, (100, dimensions)).tolist()
        header = ",".join(f"${column}_$10" for column in range(dimensions))
        body = "\n".join(",".join(map(str, row)) for row in rows)
        (tmp_path / "a.csv").write_text(f"{header}\n{body}\n")
        config = DataConfig(name="table", path=str(tmp_path / "a.csv"))
        prepare(config, tmp_path / "out", progress=False)
        return open_prepared(tmp_path / "out")

    return make


def samples(dimensions: int, count: int = 40) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, dimensions)).astype(np.float32)


@pytest.mark.parametrize("dimensions", [1, 2, 5, 30])
def test_every_picture_is_drawn_and_twice_to_the_same_bytes(
    dimensions: int, table: Make, tmp_path: Path
):
    prepared, snapshot = table(dimensions), Snapshot(7, "points", samples(dimensions))
    for folder in (tmp_path / "one", tmp_path / "two"):
        draw.real(prepared, folder, 8)
        draw.moment(snapshot, prepared, folder / "moment.png", 8)
        draw.course([snapshot], prepared, folder)
        draw.grid(samples(dimensions), prepared, folder, 8)
        draw.between(samples(dimensions).reshape(4, 10, dimensions), prepared, folder)
        draw.evaluation({}, samples(dimensions), prepared, folder)
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert set(drawn) == {
        "real.png", "moment.png", "grid.png", "interpolation.png", "density.png",
    }  # fmt: skip
    for name, content in drawn.items():
        assert (tmp_path / "two" / name).read_bytes() == content
        assert Image.open(tmp_path / "one" / name).width > 300


@pytest.mark.parametrize("dimensions", range(1, 20))
def test_every_column_is_in_a_panel(dimensions: int, table: Make):
    columns = table(dimensions).manifest.columns
    assert columns is not None
    pairs = clouds._pairs(columns)
    assert len(pairs) <= MAX_PANELS
    assert {at for pair in pairs for at in pair} >= set(range(min(dimensions, 2 * MAX_PANELS - 1)))


@pytest.mark.parametrize("points", [samples(3), samples(2, 0), samples(2).reshape(2, 20, 2)])
def test_points_that_cannot_be_drawn(points: np.ndarray, table: Make, tmp_path: Path):
    with pytest.raises(UserError, match=r"points are float32 .*: expected some, \[N, 2\]"):
        draw.evaluation({}, points, table(2), tmp_path)
