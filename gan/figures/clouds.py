"""PNGs of points of no known density: samples over the data, in the units of their table.

One column is drawn as a histogram, two as a scatter plot, more as one plot a pair of neighbouring
columns, at most six. As `gan.figures`; the points of a toy are drawn by `gan.figures.points`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gan.data.manifest import Column
from gan.data.meaning import columns_of, in_units
from gan.data.prepared import Prepared
from gan.errors import UserError, shown
from gan.figures.canvas import COLOURS, colour, new_figure, plain, save_figure
from gan.training.snapshots import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PANELS = 6
POINTS_SHOWN = 2000
HISTOGRAM_BINS = 80
DATA, SAMPLES = COLOURS[5], COLOURS[2]
# Of the data's extent, on every side: where it is drawn; a stray sample may be far away.
MARGIN = 0.2

Values = npt.NDArray[np.float64]


def real(prepared: Prepared, folder: Path) -> None:
    """Training points, as `real.png`."""
    _draw(prepared, {"data": _data(prepared)}, folder / "real.png")


def moment(snapshot: Snapshot, prepared: Prepared, path: Path) -> None:
    """Samples of a step over the data."""
    _draw(prepared, {"data": _data(prepared), "samples": snapshot.samples}, path, snapshot.step)


def grid(points: npt.NDArray[Any], prepared: Prepared, folder: Path) -> None:
    """Samples, as `grid.png`."""
    _draw(prepared, {"samples": points}, folder / "grid.png")


def between(path: npt.NDArray[Any], prepared: Prepared, folder: Path) -> None:
    """A line a pair of latent vectors, as `interpolation.png`."""
    columns = columns_of(prepared)
    _check(path.reshape(-1, path.shape[-1]), columns)
    values = in_units(path, columns)
    figure, axes = _panels(columns)
    for axis, (first, second) in zip(axes, _pairs(columns), strict=True):
        for index, row in enumerate(values):
            style: dict[str, Any] = {
                "color": colour(index), "linewidth": 1.0, "marker": "o", "markersize": 2.5,
            }  # fmt: skip
            across = np.linspace(0, 1, len(row)) if second is None else row[:, first]
            axis.plot(across, row[:, first if second is None else second], **style)
        if second is None:
            axis.set(xlabel="way between two latent vectors", ylabel=_label(columns[first]))
        plain(axis)
    save_figure(figure, folder / "interpolation.png")


def evaluation(points: npt.NDArray[Any], prepared: Prepared, folder: Path) -> None:
    """Samples over the data, as `density.png`."""
    together = {"data": _data(prepared), "samples": points}
    _draw(prepared, together, folder / "density.png")


def _data(prepared: Prepared) -> npt.NDArray[Any]:
    # All of them for a histogram's sake: of one column, or of the first some that are drawn.
    points = prepared.points("train")
    return points if points.shape[1] == 1 else points[:POINTS_SHOWN]


def _draw(
    prepared: Prepared, clouds: dict[str, npt.NDArray[Any]], path: Path, step: int | None = None
) -> None:
    columns = columns_of(prepared)
    for points in clouds.values():
        _check(points, columns)
    values = {name: in_units(points, columns) for name, points in clouds.items()}
    # What is drawn is where the data are.
    frame = next(iter(values.values()))
    figure, axes = _panels(columns)
    colours = {"data": DATA, "samples": SAMPLES}
    for axis, (first, second) in zip(axes, _pairs(columns), strict=True):
        if second is None:
            low, high = _extent(frame[:, first])
            edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
            for name, points in values.items():
                counts, _ = np.histogram(points[:, first], edges)
                heights = counts / (len(points) * (edges[1] - edges[0]))
                axis.stairs(heights, edges, color=colours[name], linewidth=1.2, label=name)
            axis.set(ylabel="density", ylim=(0, None))
        else:
            for name, points in values.items():
                some = points[:POINTS_SHOWN]
                axis.scatter(
                    some[:, first], some[:, second], s=2.5, color=colours[name], linewidths=0,
                    alpha=0.7, label=name,
                )  # fmt: skip
            axis.set(xlim=_extent(frame[:, first]), ylim=_extent(frame[:, second]))
        plain(axis)
    if step is not None:
        figure.suptitle(f"step {step}", fontsize=9)
    if len(clouds) > 1:
        axes[0].legend(frameon=False, fontsize=8, loc="upper right")
    save_figure(figure, path)


def _panels(columns: Sequence[Column]) -> tuple[Any, list[Axes]]:
    """A figure with a panel a pair of columns, labelled."""
    pairs = _pairs(columns)
    across = min(3, len(pairs))
    down = -(-len(pairs) // across)
    figure = new_figure(4.0 * across + 0.6, (3.2 if len(columns) == 1 else 4.0) * down + 0.6)
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for axis in axes[len(pairs) :]:
        axis.set_axis_off()
    for axis, (first, second) in zip(axes, pairs, strict=False):
        axis.set(xlabel=_label(columns[first]))
        if second is not None:
            axis.set(ylabel=_label(columns[second]))
    return figure, axes[: len(pairs)]


def _pairs(columns: Sequence[Column]) -> list[tuple[int, int | None]]:
    """Which columns are drawn against each other; every one is, as far as there are panels."""
    count = len(columns)
    if count == 1:
        return [(0, None)]
    pairs: list[tuple[int, int | None]] = [(at, at + 1) for at in range(0, count - 1, 2)]
    if count % 2:
        pairs.append((count - 2, count - 1))
    return pairs[:MAX_PANELS]


def _extent(values: Values) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = MARGIN * (high - low) or 0.5
    return low - margin, high + margin


def _label(column: Column) -> str:
    # A dollar would begin a formula.
    return shown(column.name, 40).replace("$", r"\$")


def _check(points: npt.NDArray[Any], columns: Sequence[Column]) -> None:
    if points.ndim != 2 or points.shape[1] != len(columns) or not len(points):
        raise UserError(
            f"points are {points.dtype} {list(points.shape)}: expected some, [N, {len(columns)}]"
        )
