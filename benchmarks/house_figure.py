"""Figure of `benchmarks.house`: the rooms of a package on their floors, and who imports whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.house_plan import Arrow, Plan, reach
from gan.figures.canvas import COLOURS, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# All in inches, which is what the axes count in.
STOREY = 1.15  # from floor to floor
HEIGHT = 0.42  # of a box
LETTER = 0.079
LONG = 11  # letters that stay on one line
GAP = 0.3  # between boxes, at least
CLEAR = 0.06  # between a box and an arrow that passes it
TITLE = 0.6
WIDTH = 10  # of the figure, at least: the legend's
MARGIN = 0.75  # left of the boxes, for the floors' names
SWEEPS = 12  # up and down, to put rooms above what they import

DIRECT, IMPLIED, CIRCLE = COLOURS[0], "#d3d7dd", COLOURS[1]
LEGEND = (
    ("imports", DIRECT, "-"),
    ("imports what it also reaches through others", IMPLIED, "-"),
    ("for types alone", COLOURS[5], "--"),
    ("part of a circle", CIRCLE, "-"),
)

Point = tuple[float, float]
Places = dict[str, Point]  # room to the middle of its box


def draw(houses: Mapping[str, Plan], path: Path) -> None:
    """Write the houses side by side.

    Args:
        houses: title to plan.
        path: PNG to write.
    """
    longest = max(_length(row) for plan in houses.values() for row in _rows(plan))
    width = max(2 * MARGIN + longest, WIDTH / len(houses))
    height = STOREY * max(len(_rows(plan)) for plan in houses.values()) + TITLE
    figure = new_figure(width * len(houses), height + 0.6)
    panels = figure.subplots(1, len(houses), squeeze=False)[0]
    for axis, (title, plan) in zip(panels, houses.items(), strict=True):
        axis.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        axis.set_axis_off()
        caption = f"{title}\n{_caption(plan)}"
        axis.text(width / 2, height, caption, size=13, ha="center", va="top")
        _house(axis, plan, width)
    lines = [
        panels[0].plot([], [], color=colour, linestyle=style, label=label)[0]
        for label, colour, style in LEGEND
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False)
    save_figure(figure, path)


def _caption(plan: Plan) -> str:
    top = max(plan.floors.values(), default=0)
    counts = f"rooms {len(plan.floors)}, arrows {len(plan.arrows)}, floors {top}"
    return f"{counts}, circles {len(plan.circles)} ({len(plan.typed_circles)} by types alone)"


def _house(axis: Axes, plan: Plan, width: float) -> None:
    from matplotlib.patches import Rectangle

    for floor in sorted(set(plan.floors.values())):
        axis.text(0.05, _middle(floor), f"floor {floor}", size=9, va="center", color=COLOURS[5])
    places = _places(plan, width)
    _arrows(axis, plan, places, width)
    together = frozenset[str]().union(*plan.circles)
    for room, (x, y) in places.items():
        axis.text(x, y, _label(room), size=9, ha="center", va="center", linespacing=1.1, zorder=4)
        corner = (x - _width(room) / 2, y - HEIGHT / 2)
        edge = CIRCLE if room in together else "black"
        axis.add_patch(
            Rectangle(
                corner, _width(room), HEIGHT, facecolor="white", edgecolor=edge, zorder=3
            )
        )  # fmt: skip


def _arrows(axis: Axes, plan: Plan, places: Places, width: float) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    ways = _ways(plan, places, width)
    for arrow, at_run_time in plan.arrows.items():
        if arrow in ways:
            implied = _reaches(arrow, plan.arrows)
            colour = IMPLIED if implied else DIRECT if at_run_time else COLOURS[5]
            weight = 0.7 if implied else 1.0
            points = ways[arrow]
        else:
            points, colour, weight, implied = _beside(places, arrow), CIRCLE, 1.6, False
        curve = Curve(points, [Curve.MOVETO, *[Curve.CURVE4] * (len(points) - 1)])
        axis.add_patch(
            FancyArrowPatch(
                path=curve, arrowstyle="-|>", mutation_scale=7, color=colour, linewidth=weight,
                linestyle="-" if at_run_time else "--", zorder=1 if implied else 2,
                shrinkA=0, shrinkB=0,
            )
        )  # fmt: skip


def _beside(places: Places, arrow: Arrow) -> list[Point]:
    """A curve on one floor, in a circle: one way above the boxes, the other way below them."""
    source, target = (places[room] for room in arrow)
    side = 1 if source[0] < target[0] else -1
    ends = [(x, y + side * HEIGHT / 2) for x, y in (source, target)]
    return [ends[0], *((x, y + side * 0.3) for x, y in ends), ends[1]]


def _ways(plan: Plan, places: Places, width: float) -> dict[Arrow, list[Point]]:
    """Curves from floor to floor, down between the boxes of the floors that they pass."""
    down = [(a, b) for a, b in plan.arrows if plan.floors[a] > plan.floors[b]]
    leaves, arrives = _spread(down, 0, places), _spread(down, 1, places)
    between = {plan.floors[row[0]]: _between(row, places, width) for row in _rows(plan)}
    found = {}
    for arrow in down:
        top, bottom = (plan.floors[room] for room in arrow)
        x, end = leaves[arrow], arrives[arrow]
        points = [(x, _middle(top) - HEIGHT / 2)]
        for floor in range(top - 1, bottom, -1):
            ideal = x + (end - x) / (floor + 1 - bottom)
            fitting = (min(max(ideal, low), high) for low, high in between[floor])
            x = min(fitting, key=lambda each, ideal=ideal: abs(each - ideal))  # type: ignore[misc]
            _bend(points, (x, _middle(floor) + HEIGHT / 2))
            low = _middle(floor) - HEIGHT / 2
            points += [(x, low)] * 3  # straight down
        _bend(points, (end, _middle(bottom) + HEIGHT / 2))
        found[arrow] = points
    return found


def _bend(points: list[Point], end: Point) -> None:
    """Go on to `end`, upright at both ends."""
    x, y = points[-1]
    half = 0.5 * (y - end[1])
    points += [(x, y - half), (end[0], end[1] + half), end]


def _between(row: Sequence[str], places: Places, width: float) -> list[tuple[float, float]]:
    """From where to where there is no box on a floor."""
    sides = [MARGIN / 2 + CLEAR]
    for room in sorted(row, key=lambda room: places[room]):
        x = places[room][0]
        sides += [x - _width(room) / 2 - CLEAR, x + _width(room) / 2 + CLEAR]
    sides.append(width - CLEAR)
    return list(zip(sides[::2], sides[1::2], strict=True))


def _reaches(arrow: Arrow, arrows: Iterable[Arrow]) -> bool:
    """Whether the other arrows lead where this one does."""
    return arrow[1] in reach(arrow[0], [other for other in arrows if other != arrow])


def _spread(arrows: Iterable[Arrow], end: int, places: Places) -> dict[Arrow, float]:
    """Where along the box at one end every arrow is, sorted by the room at its other end."""
    found: dict[Arrow, float] = {}
    of_room: dict[str, list[Arrow]] = {}
    for arrow in arrows:
        of_room.setdefault(arrow[end], []).append(arrow)
    for room, beside in of_room.items():
        beside.sort(key=lambda arrow: places[arrow[1 - end]])
        room_for_each = _width(room) / len(beside)
        left = places[room][0] - _width(room) / 2
        found |= {arrow: left + (n + 0.5) * room_for_each for n, arrow in enumerate(beside)}
    return found


def _places(plan: Plan, width: float) -> Places:
    """Rooms above what they import, as far as there is space; those of a circle side by side."""
    rows = _rows(plan)
    places = {room: place for row in rows for room, place in _row(row, plan, width).items()}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            pulls = {room: _pull(room, plan, places) for room in row}
            places |= _row(sorted(row, key=lambda room: (pulls[room], room)), plan, width)
    return places


def _pull(room: str, plan: Plan, places: Places) -> float:
    """Where a room, with the others of its circle, would be closest to its neighbours."""
    circle = next((each for each in plan.circles if room in each), frozenset((room,)))
    across = [arrow for arrow in plan.arrows if (arrow[0] in circle) != (arrow[1] in circle)]
    neighbours = [places[b if a in circle else a][0] for a, b in across]
    return sum(neighbours) / len(neighbours) if neighbours else places[room][0]


def _row(row: list[str], plan: Plan, width: float) -> Places:
    """The rooms of a floor from left to right, with the same gap between them."""
    spare = (width - 2 * MARGIN - _length(row)) / (len(row) + 1)
    places = {}
    x = MARGIN + GAP / 2 + spare
    for room in row:
        places[room] = (x + _width(room) / 2, _middle(plan.floors[room]))
        x += _width(room) + GAP + spare
    return places


def _rows(plan: Plan) -> list[list[str]]:
    """The rooms of every floor, from the ground up."""
    rows: dict[int, list[str]] = {}
    for room, floor in sorted(plan.floors.items()):
        rows.setdefault(floor, []).append(room)
    return [rows[floor] for floor in sorted(rows)]


def _middle(floor: int) -> float:
    return (floor - 0.5) * STOREY


def _length(row: Iterable[str]) -> float:
    return sum(_width(room) + GAP for room in row)


def _width(room: str) -> float:
    return LETTER * max(map(len, _label(room).split("\n"))) + 0.16


def _label(room: str) -> str:
    return room.replace("_", "_\n", 1) if len(room) > LONG else room
