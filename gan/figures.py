"""PNGs of what a run made: grids of images, nearest neighbours, histograms, curves.

The same content gives the same bytes: no file carries a date or the version of a library. Drawing
needs Matplotlib (the extra `pipeline`) for charts; grids of images need only Pillow.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from gan.errors import UserError
from gan.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Images = npt.NDArray[np.uint8]
PathLike = str | os.PathLike[str]

BACKGROUND = 255
# A grid is enlarged by the largest whole factor that keeps it within this width and height.
GRID_PIXELS = 800

# Columns of a history that belong on one chart: what their names contain, title, logarithmic.
PANELS = (
    ("loss", "losses", False),
    ("logit", "mean logits", False),
    ("accuracy", "accuracies", False),
    ("gradient_ratio", "minimax gradient over the non-saturating one", True),
    ("gradient", "gradient norms", True),
)
# Columns that only say where in the run a row belongs.
AXES = ("step", "images")
COLOURS = ("#3b6fb6", "#d1495b", "#3d9970", "#e0a030", "#7a5ba6", "#5c5c5c")


def image_grid(
    images: Images,
    columns: int,
    path: PathLike,
    *,
    scale: int | None = None,
    padding: int = 1,
) -> None:
    """Write `images` as a grid, row by row, and enlarge it without blurring.

    Args:
        images: uint8 `[N, C, H, W]`, C 1 or 3.
        columns: images in a row; the last row may be shorter.
        path: PNG to write.
        scale: whole factor that every pixel is enlarged by; by default the largest that keeps the
            grid within 800 × 800 pixels, at least 1.
        padding: pixels between images and around them, before enlarging.

    Raises:
        UserError: no images, another shape or dtype, or the file cannot be written.
    """
    check_images(images)
    if columns < 1:
        raise UserError(f"columns is {columns}: expected at least 1")
    count, _, height, width = images.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    cell_height, cell_width = height + padding, width + padding
    canvas = np.full(
        (rows * cell_height + padding, columns * cell_width + padding, images.shape[1]),
        BACKGROUND,
        np.uint8,
    )
    for index, image in enumerate(images):
        top = padding + index // columns * cell_height
        left = padding + index % columns * cell_width
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    if scale is None:
        scale = max(1, GRID_PIXELS // max(canvas.shape[:2]))
    canvas = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
    picture = Image.fromarray(canvas[..., 0] if canvas.shape[2] == 1 else canvas)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    write_bytes(path, buffer.getvalue())


def nearest_images(
    samples: Images,
    neighbours: Images,
    distances: npt.NDArray[np.floating],
    path: PathLike,
) -> None:
    """Write each sample beside its nearest training images, with their distances.

    Args:
        samples: uint8 `[N, C, H, W]`.
        neighbours: uint8 `[N, K, C, H, W]`, nearest first.
        distances: `[N, K]`, as `gan.metrics.memorisation.nearest_images` gives them.
        path: PNG to write.

    Raises:
        UserError: the shapes do not fit each other, or the file cannot be written.
    """
    check_images(samples)
    count, nearest = distances.shape
    if neighbours.shape != (count, nearest, *samples.shape[1:]) or len(samples) != count:
        raise UserError(
            f"samples {list(samples.shape)}, neighbours {list(neighbours.shape)} and distances "
            f"{list(distances.shape)} do not fit: expected [N, C, H, W], [N, K, C, H, W], [N, K]"
        )
    # Two samples side by side, so that the figure is not a thin strip. All images share one axes,
    # in units of an image: one axes each would take seconds.
    halves = 2 if count > 3 else 1
    rows = math.ceil(count / halves)
    block = nearest + 1 + (0.6 if halves > 1 else 0)  # the sample, its neighbours, and a gap
    width, height = halves * block - (0.6 if halves > 1 else 0), rows * 1.22
    figure = new_figure(max(width * 0.9, 5.0), height * 0.9 + 0.4)
    axis = figure.subplots()
    for index in range(count):
        left, top = index // rows * block, index % rows * 1.22
        place_image(axis, samples[index], left, top, "sample", COLOURS[1])
        for place in range(nearest):
            title = f"{distances[index, place]:.3f}"
            place_image(axis, neighbours[index, place], left + 1 + place, top, title)
    axis.set(xlim=(-0.1, width), ylim=(height - 0.15, -0.25), aspect="equal")
    axis.set_axis_off()
    figure.suptitle("samples, their nearest training images, and how far (rms of pixels)", size=9)
    save_figure(figure, path)


def class_histogram(
    names: Sequence[str],
    shares: Mapping[str, Sequence[float]],
    path: PathLike,
) -> None:
    """Write the share of each class as bars, one colour for each series.

    Args:
        names: one a class.
        shares: label of a series to one share a class, `{"samples": …, "training": …}`.
        path: PNG to write.

    Raises:
        UserError: a series has another length than `names`, or the file cannot be written.
    """
    for label, values in shares.items():
        if len(values) != len(names):
            raise UserError(f"{label} has {len(values)} shares: expected one for each of {names}")
    figure = new_figure(min(14.0, max(4.5, 0.45 * len(names) + 1.5)), 3.2)
    axis = figure.subplots()
    bar_width = 0.8 / max(1, len(shares))
    places = np.arange(len(names))
    for index, (label, values) in enumerate(shares.items()):
        offset = (index - (len(shares) - 1) / 2) * bar_width
        axis.bar(places + offset, values, bar_width, label=label, color=_colour(index))
    # With many classes only some names fit.
    every = math.ceil(len(names) / 40)
    long = max((len(name) for name in names), default=0) > 3
    axis.set_xticks(
        places[::every],
        [shortened(name) for name in names[::every]],
        rotation=45 if long else 0,
        ha="right" if long else "center",
    )
    axis.yaxis.set_major_formatter(lambda value, _: f"{value * 100:g} %")
    axis.set_ylabel("share")
    axis.margins(x=0.02)
    axis.set_xlabel("class")
    axis.legend(frameon=False, ncols=max(1, len(shares)), loc="lower right", bbox_to_anchor=(1, 1))
    plain(axis)
    save_figure(figure, path)


def curves(history: Mapping[str, Sequence[float]], path: PathLike) -> None:
    """Write one chart for each group of columns that belong together, over `step`.

    Columns whose name contains `loss`, `logit`, `accuracy` or `gradient` share a chart; every other
    column has its own, apart from `images`, which runs along with `step`. A chart that would be
    zero throughout, of a penalty that nobody pays for example, is left out while others are left.
    Values that are not finite are left out of the line.

    Args:
        history: name of a column to its values, all of one length; `step` is the x axis.
        path: PNG to write.

    Raises:
        UserError: no `step`, no other column, columns of different lengths, or the file cannot be
            written.
    """
    steps = history.get("step")
    columns = {name: list(values) for name, values in history.items() if name not in AXES}
    if steps is None or not columns:
        raise UserError(f"the history has the columns {list(history)}: expected step and others")
    for name, values in columns.items():
        if len(values) != len(steps):
            raise UserError(f"history column {name} has {len(values)} rows: step has {len(steps)}")
    groups = _groups(list(columns))
    telling = [group for group in groups if any(any(columns[name]) for name in group[2])]
    groups = telling or groups
    across = 1 if len(groups) == 1 else 2
    down = math.ceil(len(groups) / across)
    figure = new_figure(5.2 * across, 2.7 * down)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(groups) :]:
        axis.set_axis_off()
    for axis, (title, logarithmic, members) in zip(axes.flat, groups, strict=False):
        for index, name in enumerate(members):
            column = np.asarray(columns[name], dtype=np.float64)
            # One recorded row is a point, not a line.
            marker = "o" if len(column) == 1 else None
            axis.plot(
                steps,
                np.where(np.isfinite(column), column, np.nan),
                label=name.replace("_", " "),
                color=_colour(index),
                linewidth=1.2,
                marker=marker,
            )
        if logarithmic and all(np.nanmin(columns[name], initial=np.inf) > 0 for name in members):
            axis.set_yscale("log")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step")
        axis.grid(alpha=0.25)
        if len(members) > 1:
            axis.legend(frameon=False, fontsize=7)
        plain(axis)
    save_figure(figure, path)


def _groups(names: Sequence[str]) -> list[tuple[str, bool, list[str]]]:
    groups: dict[str, tuple[str, bool, list[str]]] = {}
    for name in names:
        title, logarithmic = name.replace("_", " "), False
        for part, shared_title, shared_scale in PANELS:
            if part in name:
                title, logarithmic = shared_title, shared_scale
                break
        groups.setdefault(title, (title, logarithmic, []))[2].append(name)
    order = [title for _, title, _ in PANELS]
    return [
        # A chart with one line is named after it.
        (title if len(members) > 1 else members[0].replace("_", " "), logarithmic, members)
        for title, logarithmic, members in sorted(
            groups.values(), key=lambda group: (*order, group[0]).index(group[0])
        )
    ]


def check_images(images: Images) -> None:
    """Raise UserError unless there are images, uint8 `[N, C, H, W]` with C 1 or 3."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UserError(
            f"images are {images.dtype} {list(images.shape)}: expected uint8 [N, C, H, W] "
            "with C 1 or 3"
        )
    if not len(images):
        raise UserError("there are no images to draw")


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, without pyplot's global state; drawn by Agg, needs no display."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "charts need matplotlib, which is part of the extra: pip install 'fusedgan[pipeline]'"
        ) from error
    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def plain(axis: Axes) -> None:
    """Take away what says nothing: two of the four sides, and large numbers."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def save_figure(figure: Figure, path: PathLike) -> None:
    """Write `figure` as a PNG without a date or a version in it, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def place_image(
    axis: Axes, image: Images, left: float, top: float, title: str, frame: str | None = None
) -> None:
    """Draw `image` 0.92 wide, a title above it, and a frame around it if `frame` is a colour."""
    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    extent = (left, left + 0.92, top + 0.92, top)
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=extent)
    if frame is not None:
        x, y = [left, left + 0.92, left + 0.92, left, left], [top, top, top + 0.92, top + 0.92, top]
        axis.plot(x, y, color=frame, linewidth=2)
    axis.text(left + 0.46, top - 0.04, title, size=7, ha="center", va="bottom")


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def shortened(name: str) -> str:
    """`name`, cut to a length that fits beside others."""
    return name if len(name) <= 12 else name[:11] + "…"
