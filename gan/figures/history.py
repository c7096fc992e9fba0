"""The course of a run as curves.

As all figures: the same content gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gan.errors import UserError
from gan.figures.canvas import PathLike, colour, new_figure, plain, save_figure

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
                color=colour(index),
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
