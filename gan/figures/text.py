"""Texts to read and their n-grams to see, as PNGs.

As `gan.figures`: the same content gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from einops import rearrange

from gan.data.prepared import Prepared
from gan.errors import UserError
from gan.figures.canvas import COLOURS, PathLike, new_figure, plain, save_figure
from gan.figures.glyphs import fonts_for
from gan.generators.lines import visible
from gan.symbols import Symbols, symbol_dtype
from gan.training.snapshots import Snapshot

# Where all samples are as text, beside them.
LINES = "results/samples/samples.txt"
FONT_SIZE = 8.0  # points
CHARACTER_WIDTH = 0.602 * FONT_SIZE / 72  # inches
LINE_SPACING = 1.25
LINE_HEIGHT = LINE_SPACING * FONT_SIZE / 72  # inches
PAGE_WIDTH = 9.0  # inches that columns share
GAP = 3  # characters between two columns


def page(texts: Sequence[str], path: PathLike, *, title: str, group: int = 0) -> None:
    """Write `texts` as a page, one a line, from top to bottom in as many columns as fit.

    Characters that no installed font has (`gan.figures.glyphs`) are boxes, and the page says so.

    Args:
        texts: what is to be read.
        path: PNG to write.
        title: stands above them.
        group: texts between two empty lines, in one column; 0: none.

    Raises:
        UserError: no texts, or the file cannot be written.
    """
    if not texts:
        raise UserError("there are no texts to draw")
    size = group or 1
    blocks = [
        [visible(text) for text in texts[start : start + size]] + ([""] if group else [])
        for start in range(0, len(texts), size)
    ]
    fonts = fonts_for(line for block in blocks for line in block)
    width = max(fonts.width(line) for block in blocks for line in block) + GAP
    if fonts.boxes:
        title += f" (no font here has {fonts.boxes} of their characters: boxes; see {LINES})"
    across = min(len(blocks), max(1, int(PAGE_WIDTH / (width * CHARACTER_WIDTH))))
    down = math.ceil(len(blocks) / across)
    columns = [
        [line for block in blocks[start : start + down] for line in block]
        for start in range(0, len(blocks), down)
    ]
    page_width = max(4.0, len(columns) * width * CHARACTER_WIDTH)
    height = len(columns[0]) * LINE_HEIGHT
    figure = new_figure(page_width + 0.2, height + 0.5)
    figure.set_layout_engine("none")
    for place, column in enumerate(columns):
        figure.text(
            (0.1 + place * width * CHARACTER_WIDTH) / (page_width + 0.2),
            (height + 0.1) / (height + 0.5),
            "\n".join(column),
            family=fonts.families,
            size=FONT_SIZE,
            linespacing=LINE_SPACING,
            va="top",
            parse_math=False,
        )
    figure.text(0.1 / (page_width + 0.2), 1 - 0.1 / (height + 0.5), title, size=9, va="top")
    save_figure(figure, path)


def divergences(rows: Mapping[str, npt.NDArray[Any]], path: PathLike) -> None:
    """Write the divergence of n-grams as bars: samples, beside real and shuffled texts.

    Args:
        rows: `floor`, `at_floor_count` and `shuffled`, each with a number for n = 1, 2 …; NaN where
            there is none.
        path: PNG to write.

    Raises:
        UserError: the file cannot be written.
    """
    series = {
        "real texts (floor)": ("floor", COLOURS[5]),
        "samples": ("at_floor_count", COLOURS[0]),
        "shuffled characters": ("shuffled", COLOURS[1]),
    }
    longest = len(rows["floor"])
    figure = new_figure(max(4.5, 1.3 * longest + 1.5), 3.4)
    axis = figure.subplots()
    places, bar_width = np.arange(longest), 0.8 / len(series)
    for index, (label, (key, colour)) in enumerate(series.items()):
        offset = (index - (len(series) - 1) / 2) * bar_width
        bars = axis.bar(places + offset, rows[key], bar_width, label=label, color=colour)
        axis.bar_label(bars, fmt="%.3f", fontsize=6, padding=1)
    axis.axhline(math.log(2), color="#222222", linewidth=0.8, linestyle=":")
    axis.text(longest - 0.55, math.log(2), "log 2: nothing in common", size=7, ha="right",
              va="bottom")  # fmt: skip
    axis.set_xticks(places, [f"n = {n}" for n in range(1, longest + 1)])
    axis.set_ylabel("Jensen–Shannon divergence\nfrom held-out n-grams (nats)", fontsize=8)
    axis.set_ylim(0, 0.75)
    axis.legend(frameon=False, fontsize=7, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    plain(axis)
    save_figure(figure, path)


def real(prepared: Prepared, folder: Path, columns: int) -> None:
    """See `gan.figures.FigureKind`; as all below."""
    texts = prepared.text_alphabet().decode(np.asarray(prepared.symbols("train")[: columns**2]))
    page(texts, folder / "real.png", title="training texts")


def moment(snapshot: Snapshot, prepared: Prepared, path: Path, columns: int) -> None:
    """Samples of a step as a page."""
    alphabet = prepared.text_alphabet()
    symbols = snapshot.samples.astype(symbol_dtype(alphabet.size), copy=False)
    texts = alphabet.decode(cast(Symbols, symbols))
    page(texts, path, title=f"step {snapshot.step:,}")


def course(snapshots: Sequence[Snapshot], prepared: Prepared, folder: Path) -> None:
    """Nothing but the moments."""


def grid(samples: npt.NDArray[Any], prepared: Prepared, folder: Path, columns: int) -> None:
    """The first samples as a page."""
    texts = prepared.text_alphabet().decode(np.asarray(samples[: columns**2]))
    page(texts, folder / "grid.png", title="samples")


def between(path: npt.NDArray[Any], prepared: Prepared, folder: Path) -> None:
    """A block of lines a pair of latent vectors."""
    page(
        prepared.text_alphabet().decode(rearrange(path, "r steps l -> (r steps) l")),
        folder / "interpolation.png",
        title="from one latent vector to another",
        group=path.shape[1],
    )


def evaluation(
    shown: Mapping[str, npt.NDArray[Any]],
    samples: npt.NDArray[Any],
    prepared: Prepared,
    folder: Path,
) -> None:
    """The divergences of n-grams."""
    divergences(shown, folder / "ngrams.png")
