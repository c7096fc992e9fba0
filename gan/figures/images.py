"""PNGs of images: grids, nearest neighbours, shares of classes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from einops import rearrange
from PIL import Image

from gan.data.prepared import Prepared
from gan.errors import UserError, shown
from gan.figures.canvas import (
    COLOURS,
    PathLike,
    check_images,
    colour,
    new_figure,
    place_image,
    plain,
    save_figure,
    shortened,
)
from gan.files import write_bytes
from gan.pixels import Images
from gan.training.snapshots import Snapshot

BACKGROUND = 255
# A grid is enlarged by the largest whole factor that keeps it within this width and height.
GRID_PIXELS = 800


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
        canvas[top : top + height, left : left + width] = rearrange(image, "c h w -> h w c")
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
            raise UserError(
                f"{label} has {len(values)} shares: expected one for each of {shown(list(names))}"
            )
    figure = new_figure(min(14.0, max(4.5, 0.45 * len(names) + 1.5)), 3.2)
    axis = figure.subplots()
    bar_width = 0.8 / max(1, len(shares))
    places = np.arange(len(names))
    for index, (label, values) in enumerate(shares.items()):
        offset = (index - (len(shares) - 1) / 2) * bar_width
        axis.bar(places + offset, values, bar_width, label=label, color=colour(index))
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


def real(prepared: Prepared, folder: Path, columns: int) -> None:
    """See `gan.figures.FigureKind`; as all below."""
    image_grid(np.asarray(prepared.images("train")[: columns**2]), columns, folder / "real.png")


def moment(snapshot: Snapshot, prepared: Prepared, path: Path, columns: int) -> None:
    """Samples of a step as a grid."""
    image_grid(snapshot.samples.astype(np.uint8, copy=False), columns, path)


def course(snapshots: Sequence[Snapshot], prepared: Prepared, folder: Path) -> None:
    """Nothing but the moments."""


def grid(samples: npt.NDArray[Any], prepared: Prepared, folder: Path, columns: int) -> None:
    """The first samples."""
    image_grid(np.asarray(samples[: columns**2]), columns, folder / "grid.png")


def between(path: npt.NDArray[Any], prepared: Prepared, folder: Path) -> None:
    """A row a pair of latent vectors."""
    images = rearrange(path, "r steps c h w -> (r steps) c h w")
    image_grid(images, path.shape[1], folder / "interpolation.png")


def evaluation(
    shown: Mapping[str, npt.NDArray[Any]],
    samples: npt.NDArray[Any],
    prepared: Prepared,
    folder: Path,
) -> None:
    """Nearest training images, and the shares of classes where there are any."""
    indices = shown["nearest.indices"]
    nearest_images(
        np.asarray(samples[: len(indices)]),
        np.asarray(prepared.images("train")[indices]),
        shown["nearest.distances"],
        folder / "nearest.png",
    )
    class_shares(shown, prepared, folder)


def class_shares(shown: Mapping[str, npt.NDArray[Any]], prepared: Prepared, folder: Path) -> None:
    """`classes.png`, where the arrays have shares of classes."""
    shares = {
        name.removeprefix("shares."): values.tolist()
        for name, values in shown.items()
        if name.startswith("shares.")
    }
    if shares:
        class_histogram(prepared.label_names, shares, folder / "classes.png")
