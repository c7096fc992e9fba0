"""What all figures are drawn on.

The same content gives the same bytes: no file carries a date or the version of a library. Drawing
needs Matplotlib (the extra `pipeline`) for charts; grids of images need only Pillow.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange

from gan.errors import UserError
from gan.files import write_bytes
from gan.pixels import Images

if TYPE_CHECKING:  # Matplotlib is an extra
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PathLike = str | os.PathLike[str]

COLOURS = ("#3b6fb6", "#d1495b", "#3d9970", "#e0a030", "#7a5ba6", "#5c5c5c")


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
    with warnings.catch_warnings():
        # A script that the font does not have is drawn as boxes, and one that is written from
        # right to left, or joined, letter by letter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def place_image(
    axis: Axes, image: Images, left: float, top: float, title: str, frame: str | None = None
) -> None:
    """Draw `image` 0.92 wide, a title above it, and a frame around it if `frame` is a colour."""
    pixels = image[0] if image.shape[0] == 1 else rearrange(image, "c h w -> h w c")
    extent = (left, left + 0.92, top + 0.92, top)
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=extent)
    if frame is not None:
        x, y = [left, left + 0.92, left + 0.92, left, left], [top, top, top + 0.92, top + 0.92, top]
        axis.plot(x, y, color=frame, linewidth=2)
    axis.text(left + 0.46, top - 0.04, title, size=7, ha="center", va="bottom")


def colour(index: int) -> str:
    """The colour of line or bar `index`; they come round again."""
    return COLOURS[index % len(COLOURS)]


def shortened(name: str) -> str:
    """`name`, a class for example, cut to a length that fits beside others, as it is drawn.

    Whatever it is, Matplotlib draws it as it stands: between two `$` it would see mathematics.
    """
    cut = name if len(name) <= 12 else name[:11] + "…"
    return "".join(c if c.isprintable() else "·" for c in cut).replace("$", r"\$")
