"""Figures of `benchmarks.games`: samples of every game side by side, metrics with error bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gan.figures.canvas import COLOURS, new_figure, plain, save_figure
from gan.pixels import Examples, Images
from gan.toys import Toy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 6  # panels in a row
IMAGES = 6  # rows and columns of a panel of images
GAP = 1  # pixels between them
POINTS = 1000
EXTENT = 3.0  # deviations beyond the outermost modes


def samples(shown: Mapping[str, Examples], path: Path, toy: Toy | None) -> None:
    """Write one panel a game: a grid of images, or points with the density of `toy`.

    Args:
        shown: game to its samples, uint8 `[N, C, S, S]` or fp32 `[N, D]`.
        path: PNG to write.
        toy: where the samples are points.
    """
    across = min(ACROSS, len(shown))
    down = math.ceil(len(shown) / across)
    figure = new_figure(2.1 * across, 2.3 * down)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    for axis, (game, drawn) in zip(axes.flat, shown.items(), strict=False):
        axis.set_title(game, fontsize=9)
        if toy is None:
            axis.imshow(_tiled(drawn), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set_axis_off()
        elif toy.dimensions == 1:
            _histogram(axis, drawn, toy)
        else:
            _scatter(axis, drawn, toy)
    save_figure(figure, path)


def _histogram(axis: Axes, points: Examples, toy: Toy) -> None:
    low, high = toy.extent(EXTENT)[0]
    axis.hist(points[:, 0], 60, range=(low, high), density=True, color=COLOURS[2])
    places = torch.linspace(low, high, 200, dtype=torch.float64)
    axis.plot(places, toy.log_density(places[:, None]).exp(), color=COLOURS[5], linewidth=1)
    axis.set_yticks([])
    plain(axis)


def _scatter(axis: Axes, points: Examples, toy: Toy) -> None:
    (left, right), (low, high) = toy.extent(EXTENT)
    margin = 0.15 * max(right - left, high - low)
    x, y = toy.means.T
    axis.scatter(x, y, s=14, facecolors="none", edgecolors=COLOURS[5], linewidths=0.7)
    x, y = points[:POINTS].T
    axis.scatter(x, y, s=1.5, color=COLOURS[2], linewidths=0)
    axis.set(
        xlim=(left - margin, right + margin), ylim=(low - margin, high + margin),
        aspect="equal", xticks=[], yticks=[],
    )  # fmt: skip


def _tiled(images: Examples) -> Examples:
    """The first images as one, `[H, W]` or `[H, W, 3]`."""
    first = np.pad(images[: IMAGES**2], ((0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=255)
    side = min(IMAGES, math.isqrt(len(first)))
    _, channels, height, width = first.shape
    grid = first[: side**2].reshape(side, side, channels, height, width)
    tiled: Images = grid.transpose(0, 3, 1, 4, 2).reshape(side * height, side * width, channels)
    return tiled[..., 0] if channels == 1 else tiled


def metrics(rows: Sequence[Mapping[str, Any]], ranked: Mapping[str, bool], path: Path) -> None:
    """Write one chart a metric: mean over seeds and deviation of every game.

    Args:
        rows: of the CSV file.
        ranked: metric to whether more is better.
        path: PNG to write.
    """
    games = list(dict.fromkeys(row["game"] for row in rows))
    found = {
        name: {
            game: values
            for game in games
            if (
                values := [
                    row[name]
                    for row in rows
                    if row["game"] == game and isinstance(row.get(name), int | float)
                ]
            )
        }
        for name in ranked
    }
    found = {name: values for name, values in found.items() if values}
    if not found:
        return
    across = min(3, len(found))
    down = math.ceil(len(found) / across)
    figure = new_figure(4.2 * across, (0.22 * len(games) + 0.8) * down)
    axes = figure.subplots(down, across, squeeze=False, sharey=True)
    for axis in axes.flat[len(found) :]:
        axis.set_axis_off()
    for axis, (name, by_game) in zip(axes.flat, found.items(), strict=False):
        places = [games.index(game) for game in by_game]
        centre = [float(np.mean(each)) for each in by_game.values()]
        deviation = [float(np.std(each)) for each in by_game.values()]
        axis.errorbar(
            centre, places, xerr=deviation, fmt="o", markersize=4, color=COLOURS[0], capsize=2
        )
        axis.set_yticks(range(len(games)), games, fontsize=8)
        axis.set_ylim(len(games) - 0.5, -0.5)
        arrow = "→" if ranked[name] else "←"
        axis.set_title(f"{name.replace('_', ' ')} ({arrow} better)", fontsize=9)
        axis.grid(alpha=0.25)
        plain(axis)
    save_figure(figure, path)
