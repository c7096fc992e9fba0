import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.config import DataConfig
from gan.data import Prepared, open_prepared
from gan.errors import UserError
from gan.figures import of_kind
from gan.figures import text as text_figures
from gan.figures.text import divergences, page
from gan.preparation.prepare import prepare
from gan.training.snapshots import Snapshot


def ink(path: Path) -> np.ndarray:
    """Where a page is dark, bool `[H, W]`."""
    return np.asarray(Image.open(path).convert("L")) < 128


def test_a_page_holds_every_text_within_its_borders(tmp_path: Path):
    path = tmp_path / "page.png"
    page(["M" * 32] * 40, path, title="step 1")
    dark = ink(path)
    rows = dark.any(1)
    # As many runs of dark rows as there are lines in a column, and one of the title.
    runs = int(np.sum(rows[1:] & ~rows[:-1]))
    columns = math.ceil(40 / (runs - 1))
    assert columns >= 2
    assert math.ceil(40 / columns) == runs - 1
    assert not dark[-3:].any()
    assert not dark[:, -3:].any()
    assert not dark[:, :3].any()


def test_long_texts_have_one_column_and_widen_the_page(tmp_path: Path):
    page(["M" * 400] * 3, tmp_path / "page.png", title="long")
    dark = ink(tmp_path / "page.png")
    assert dark.shape[1] > 2000
    assert not dark[:, -3:].any()


def test_groups_are_apart(tmp_path: Path):
    texts = ["MMMM"] * 12
    page(texts, tmp_path / "together.png", title="t")
    page(texts, tmp_path / "apart.png", title="t", group=4)
    assert ink(tmp_path / "apart.png").shape != ink(tmp_path / "together.png").shape


@pytest.mark.parametrize("text", ["$x_1$ and \\frac{", "^{", "漢字 かな"])
def test_texts_are_drawn_as_they_are_and_warn_of_nothing(
    tmp_path: Path, text: str, recwarn: pytest.WarningsRecorder
):
    page([text], tmp_path / "page.png", title="t")
    assert ink(tmp_path / "page.png").any()
    assert not list(recwarn)


def test_no_texts_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="there are no texts to draw"):
        page([], tmp_path / "page.png", title="t")


def rows(scale: float) -> dict[str, np.ndarray]:
    n = np.arange(1, 5)
    return {"floor": 0.02 * n, "at_floor_count": scale * n, "shuffled": 0.17 * n}


def blue(path: Path) -> int:
    """Pixels of the samples' colour."""
    wanted = [int(text_figures.COLOURS[0][place : place + 2], 16) for place in (1, 3, 5)]
    return int((np.asarray(Image.open(path).convert("RGB")) == wanted).all(2).sum())


def test_bars_are_as_high_as_the_divergences(tmp_path: Path):
    divergences(rows(0.05), tmp_path / "low.png")
    divergences(rows(0.15), tmp_path / "high.png")
    assert blue(tmp_path / "high.png") > 2.5 * blue(tmp_path / "low.png")


def test_what_has_no_value_has_no_bar(tmp_path: Path):
    table = rows(0.1)
    divergences(table, tmp_path / "all.png")
    for values in table.values():
        values[3] = np.nan
    divergences(table, tmp_path / "bars.png")
    assert 0 < blue(tmp_path / "bars.png") < 0.8 * blue(tmp_path / "all.png")


def test_the_same_content_gives_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        page(["abc", "d"], tmp_path / f"{name}.png", title="t")
        divergences(rows(0.1), tmp_path / f"{name}-bars.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a-bars.png").read_bytes() == (tmp_path / "b-bars.png").read_bytes()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text(
        "\n".join(a + b + c for a in "abc" for b in "de" for c in "fg")
    )
    config = DataConfig(name="text", path=str(folder / "text.txt"), length=8)
    prepare(config, folder / "prepared", progress=False)
    return open_prepared(folder / "prepared")


def test_everything_there_is_to_draw_of_texts(prepared: Prepared, tmp_path: Path):
    alphabet, kind = prepared.characters, of_kind("text")
    symbols = np.random.default_rng(0).integers(0, alphabet.size, (12, 8), np.uint8)
    folder, expected = tmp_path / "drawn", tmp_path / "expected"
    snapshot = Snapshot(1000, "text", symbols[:4])
    kind.real(prepared, folder, 2)
    kind.moment(snapshot, prepared, folder / "step.png", 2)
    kind.course([snapshot], prepared, folder)
    kind.grid(symbols, prepared, folder, 2)
    kind.between(symbols.reshape(3, 4, 8), prepared, folder)
    kind.evaluation(rows(0.1), symbols, prepared, folder)
    real, texts = alphabet.decode(np.array(prepared.symbols("train")[:4])), alphabet.decode(symbols)
    page(real, expected / "real.png", title="training texts")
    page(texts[:4], expected / "step.png", title="step 1,000")
    page(texts[:4], expected / "grid.png", title="samples")
    title = "from one latent vector to another"
    page(texts, expected / "interpolation.png", title=title, group=4)
    divergences(rows(0.1), expected / "ngrams.png")
    found, wanted = (
        {path.name: path.read_bytes() for path in where.iterdir()} for where in (folder, expected)
    )
    assert found == wanted


def test_moments_of_many_characters(tmp_path: Path):
    (tmp_path / "text.txt").write_text("\n".join(chr(0x4E00 + n) * 8 for n in range(400)))
    config = DataConfig(name="text", path=str(tmp_path / "text.txt"), length=8, alphabet=500)
    prepare(config, tmp_path / "prepared", progress=False)
    data = open_prepared(tmp_path / "prepared")
    symbols = np.full((4, 8), 399, "<u2")
    text_figures.moment(Snapshot(10, "text", symbols), data, tmp_path / "step.png", 2)
    page(data.characters.decode(symbols), tmp_path / "expected.png", title="step 10")
    assert (tmp_path / "step.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_columns_of_wide_characters_do_not_touch(tmp_path: Path):
    page(["漢" * 16] * 40, tmp_path / "page.png", title="")
    dark = ink(tmp_path / "page.png")
    inked = np.flatnonzero(dark[40:].any(0))
    blank = np.diff(inked)
    # Three columns: two gaps, and nothing half as wide within a column.
    assert np.sum(blank > blank.max() / 2) == 2
    assert not dark[:, -3:].any()


@pytest.mark.parametrize("text", ["שלום", "سلام", "नमस्ते", "\U0001f600", "\ue000"])
def test_scripts_that_the_font_has_not_warn_of_nothing(
    tmp_path: Path, text: str, recwarn: pytest.WarningsRecorder
):
    page([text], tmp_path / "page.png", title="t")
    assert not list(recwarn)
