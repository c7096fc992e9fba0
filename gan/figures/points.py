"""PNGs of points: where the data are, where the samples are, and what the discriminator thinks.

In one dimension curves of both densities and of the discriminator, as figure 1 of Goodfellow et
al. 2014; in two the samples over the data's density and contours of the discriminator. As
`gan.figures`: the same content gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor

from gan.data.meaning import toy_of
from gan.data.prepared import Prepared
from gan.errors import UserError
from gan.figures import clouds
from gan.figures.canvas import COLOURS, PathLike, new_figure, plain, save_figure
from gan.figures.images import class_shares
from gan.metrics.divergences import make_boxes
from gan.pixels import Points
from gan.toys import Toy
from gan.training.snapshots import Snapshot, lattice, surroundings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Contours away from the middle: of D close together around ½, where it matters most, of a critic
# evenly spaced over its range.
CONTOURS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.48)
CRITIC_CONTOURS = (0.07, 0.14, 0.21, 0.28, 0.35, 0.42, 0.49)
MAX_PANELS = 6
POINTS_SHOWN = 2000
HISTOGRAM_BINS = 80
DATA, SAMPLES, DISCRIMINATOR = COLOURS[5], COLOURS[2], COLOURS[0]
BELOW, MIDDLE, ABOVE = COLOURS[0], "#222222", COLOURS[1]


def game(snapshots: Sequence[Snapshot], toy: Toy, path: PathLike) -> None:
    """Write the game over training as panels, one a snapshot, at most six.

    With more snapshots the first and the last are shown and others evenly between them.

    Args:
        snapshots: of points, in the order of their steps. Where σ(logit) is the probability that a
            point is real, that is drawn; a critic's value, a Wasserstein game's for example, is
            drawn as it is.
        toy: the data.
        path: PNG to write.

    Raises:
        UserError: no snapshots, or not of points, or the file cannot be written.
    """
    if not snapshots:
        raise UserError("there are no snapshots of the game to draw")
    count = min(MAX_PANELS, len(snapshots))
    chosen = [
        snapshots[round(index * (len(snapshots) - 1) / max(1, count - 1))] for index in range(count)
    ]
    across = 2 if count == 4 else min(3, count)
    down = math.ceil(count / across)
    flat = toy.dimensions == 1
    figure = new_figure(3.7 * across, (2.7 if flat else 3.6) * down + 0.45)
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    for axis in axes.flat[max(0, count - across) : count]:
        axis.tick_params(labelbottom=True)  # the lowest of its column, where five leave a gap
    draw = _curves_panel if flat else _plane_panel
    for axis, snapshot in zip(axes.flat, chosen, strict=False):
        draw(axis, toy, snapshot)
        axis.set_title(f"step {snapshot.step}", fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, fontsize=8, loc="outside lower center",
        ncols=len(labels) if across > 1 else 3, handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip
    save_figure(figure, path)


def samples(points: Points, path: PathLike, toy: Toy | None = None) -> None:
    """Write samples as a histogram (one dimension) or a scatter plot (two).

    Args:
        points: fp32 `[N, D]`, D 1 or 2; in two dimensions the first 2,000 are drawn.
        path: PNG to write.
        toy: the data, whose density is drawn behind them.

    Raises:
        UserError: no points, another number of dimensions, or the file cannot be written.
    """
    _check_points(points)
    figure = new_figure(4.6, 3.2 if points.shape[1] == 1 else 4.6)
    axis = figure.subplots()
    if points.shape[1] == 1:
        _histogram(axis, torch.from_numpy(points), toy)
        axis.set(xlabel="x", ylabel="density", ylim=(0, None))
    else:
        if toy is not None:
            _density_image(axis, toy)
        axis.scatter(points[:POINTS_SHOWN, 0], points[:POINTS_SHOWN, 1], **_dots(SAMPLES))
        axis.set_aspect("equal", adjustable="datalim")
    if toy is not None:
        axis.legend(frameon=False, fontsize=8, loc="upper right")
    plain(axis)
    save_figure(figure, path)


def paths(points: Points, path: PathLike) -> None:
    """Write the images of paths through the latent space.

    Args:
        points: fp32 `[R, steps, D]`, D 1 or 2.
        path: PNG to write.

    Raises:
        UserError: another shape, or the file cannot be written.
    """
    if points.ndim != 3:
        raise UserError(f"points are {list(points.shape)}: expected [R, steps, D]")
    _check_points(rearrange(points, "r steps d -> (r steps) d"))
    flat = points.shape[2] == 1
    figure = new_figure(4.6, 3.2 if flat else 4.6)
    axis = figure.subplots()
    for index, row in enumerate(points):
        colour = COLOURS[index % len(COLOURS)]
        style: dict[str, Any] = {
            "color": colour,
            "linewidth": 1.0,
            "marker": "o",
            "markersize": 2.5,
        }
        if flat:
            axis.plot(torch.linspace(0, 1, len(row)), row[:, 0], **style)
        else:
            axis.plot(row[:, 0], row[:, 1], **style)
    if flat:
        axis.set(xlabel="way between two latent vectors", ylabel="x")
    else:
        axis.set_aspect("equal", adjustable="datalim")
    plain(axis)
    save_figure(figure, path)


def _curves_panel(axis: Axes, toy: Toy, snapshot: Snapshot) -> None:
    probabilities = snapshot.probabilities
    _histogram(axis, torch.from_numpy(snapshot.samples), toy)
    (extent,) = surroundings(toy)
    x = lattice(toy)[:, 0]
    value = _verdicts(snapshot)
    height = 1.5 * float(toy.log_density(lattice(toy)).exp().max())
    axis.set(xlim=extent, ylim=(0, height), yticks=[])
    right = axis.twinx()
    label = "discriminator" if probabilities else "critic"
    style: dict[str, Any] = {"color": DISCRIMINATOR, "linestyle": "--", "linewidth": 1.4}
    right.plot(x, value, **style)
    if probabilities:
        right.set(ylim=(0, 1))
    right.tick_params(labelsize=7, colors=DISCRIMINATOR)
    right.spines[["top"]].set_visible(False)
    # For the legend, which asks this axis.
    axis.plot([], [], label=label, **style)
    plain(axis)


def _plane_panel(axis: Axes, toy: Toy, snapshot: Snapshot) -> None:
    probabilities = snapshot.probabilities
    (left, right), (low, high) = surroundings(toy)
    value = _verdicts(snapshot)
    grid = lattice(toy).reshape(*value.shape, 2)
    _density_image(axis, toy)
    shown = snapshot.samples[:POINTS_SHOWN]
    axis.scatter(shown[:, 0], shown[:, 1], **_dots(SAMPLES))
    lowest, highest = float(value.min()), float(value.max())
    middle = 0.5 if probabilities else (lowest + highest) / 2
    reach = 1.0 if probabilities else max(highest - lowest, 1e-12)
    away = CONTOURS if probabilities else CRITIC_CONTOURS
    for sign, colour in ((-1, BELOW), (0, MIDDLE), (1, ABOVE)):
        steps = [0.0] if sign == 0 else sorted(sign * step for step in away)
        levels = [middle + reach * step for step in steps]
        levels = [level for level in levels if lowest < level < highest]
        if levels:
            # Dashes would say once more what the colour says.
            axis.contour(
                grid[..., 0], grid[..., 1], value, levels=levels, colors=colour, linewidths=0.7,
                linestyles="solid", alpha=0.75,
            )  # fmt: skip
    names = ("D < ½", "D = ½", "D > ½") if probabilities else ("critic low", "middle", "high")
    for name, colour in zip(names, (BELOW, MIDDLE, ABOVE), strict=True):
        axis.plot([], [], color=colour, linewidth=0.9, label=name)
    axis.set(xlim=(left, right), ylim=(low, high), aspect="equal")
    plain(axis)


def _verdicts(snapshot: Snapshot) -> Tensor:
    """What the discriminator says on the lattice: probabilities, or a critic's values."""
    if snapshot.logits is None:
        raise UserError(
            f"the snapshot of step {snapshot.step} is of {snapshot.kind}, not of points"
        )
    return snapshot.logits.sigmoid() if snapshot.probabilities else snapshot.logits


def _histogram(axis: Axes, points: Tensor, toy: Toy | None) -> None:
    """The samples' density as an outline, and the data's as a curve where it is known."""
    column = points[:, 0].double()
    if toy is None:
        low, high = float(column.min()), float(column.max())
        high = high if high > low else low + 1.0
    else:
        ((low, high),) = surroundings(toy)
        x = torch.linspace(low, high, 1001, dtype=torch.float64)
        density = toy.log_density(x[:, None]).exp()
        axis.plot(x, density, color=DATA, linestyle=":", linewidth=1.6, label="data")
    bins = HISTOGRAM_BINS if toy is None else min(240, round(2 * (high - low) / toy.deviation))
    bins = max(bins, HISTOGRAM_BINS)
    counts = torch.histc(column, bins, low, high)
    width = (high - low) / bins
    edges = torch.linspace(low, high, bins + 1)
    axis.stairs(
        counts / (len(column) * width), edges, color=SAMPLES, linewidth=1.2, label="samples"
    )


def _density_image(axis: Axes, toy: Toy) -> None:
    """The data's density as grey: a root of box masses, the fourth where modes are narrow."""
    boxes = make_boxes(toy)
    rows, columns = (len(edges) - 3 for edges in boxes.edges)
    mass = boxes.log_mass.reshape(rows + 2, columns + 2)[1:-1, 1:-1].exp()
    (left, right), (low, high) = ((float(edges[1]), float(edges[-2])) for edges in boxes.edges)
    axis.imshow(
        (mass / mass.max()).pow(0.25 if toy.modes else 0.6).T.numpy(),
        origin="lower", extent=(left, right, low, high), cmap="Greys", vmin=0, vmax=2.0,
        interpolation="nearest", aspect="equal", zorder=0,
    )  # fmt: skip
    if toy.modes:
        # A mode may be a pixel wide, and samples lie on top of it.
        axis.scatter(
            toy.means[:, 0], toy.means[:, 1], s=26, facecolors="none", edgecolors=DATA,
            linewidths=1.1, zorder=3, label="data",
        )  # fmt: skip
    else:
        axis.scatter([], [], color=DATA, s=14, marker="s", alpha=0.6, label="data")


def _dots(colour: str) -> dict[str, Any]:
    return {"s": 2.5, "color": colour, "linewidths": 0, "alpha": 0.7, "label": "samples"}


def _check_points(points: Points) -> None:
    if points.ndim != 2 or points.shape[1] not in (1, 2):
        raise UserError(
            f"points are {points.dtype} {list(points.shape)}: expected [N, D] with D 1 or 2"
        )
    if not len(points):
        raise UserError("there are no points to draw")


def real(prepared: Prepared, folder: Path, columns: int) -> None:
    """See `gan.figures.FigureKind`; as all below. What is of no toy is drawn by `clouds`."""
    if prepared.manifest.toy is None:
        clouds.real(prepared, folder)
    else:
        samples(prepared.points("train"), folder / "real.png", toy_of(prepared))


def moment(snapshot: Snapshot, prepared: Prepared, path: Path, columns: int) -> None:
    """The game at a step."""
    if prepared.manifest.toy is None:
        clouds.moment(snapshot, prepared, path)
    else:
        game([snapshot], toy_of(prepared), path)


def course(snapshots: Sequence[Snapshot], prepared: Prepared, folder: Path) -> None:
    """The game over training, as `game.png`, where the density is known."""
    if prepared.manifest.toy is not None:
        game(snapshots, toy_of(prepared), folder / "game.png")


def grid(points: npt.NDArray[Any], prepared: Prepared, folder: Path, columns: int) -> None:
    """The first samples."""
    if prepared.manifest.toy is None:
        clouds.grid(points, prepared, folder)
    else:
        samples(points[:POINTS_SHOWN], folder / "grid.png")


def between(path: npt.NDArray[Any], prepared: Prepared, folder: Path) -> None:
    """A line a pair of latent vectors."""
    if prepared.manifest.toy is None:
        clouds.between(path, prepared, folder)
    else:
        paths(path, folder / "interpolation.png")


def evaluation(
    shown: Mapping[str, npt.NDArray[Any]],
    points: npt.NDArray[Any],
    prepared: Prepared,
    folder: Path,
) -> None:
    """Samples over the data's density, and the shares of modes where there are several."""
    if prepared.manifest.toy is None:
        clouds.evaluation(points, prepared, folder)
    else:
        samples(points, folder / "density.png", toy_of(prepared))
        class_shares(shown, prepared, folder)
