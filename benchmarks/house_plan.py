"""The rooms of a package and the imports between them, read from its files without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

Arrow = tuple[str, str]  # the room that imports, the room that is imported
Numbers = dict[tuple[str, str], int]  # what is measured, and which figure of it


@dataclass(frozen=True)
class Plan:
    """The rooms of a package.

    Attributes:
        floors: room to its floor, from 1; the rooms of a circle are on the same one.
        arrows: arrow to whether it is there at run time, and not for types alone.
        circles: groups of several rooms that all reach each other.
        typed_circles: those of them that are none at run time.
    """

    floors: dict[str, int]
    arrows: dict[Arrow, bool]
    circles: list[frozenset[str]]
    typed_circles: list[frozenset[str]]

    def numbers(self, package: str) -> Numbers:
        """All of it counted."""
        return {
            (package, "rooms"): len(self.floors),
            (package, "arrows"): len(self.arrows),
            (package, "arrows for types alone"): sum(not each for each in self.arrows.values()),
            (package, "floors"): max(self.floors.values(), default=0),
            (package, "circles"): len(self.circles),
            (package, "circles by types alone"): len(self.typed_circles),
            (package, "rooms in circles"): sum(map(len, self.circles)),
        }


def plan(root: Path, package: str) -> Plan:
    """Rooms of `root/package`, and the imports between them."""
    rooms = rooms_of(root / package)
    arrows: dict[Arrow, bool] = {}
    for room, files in rooms.items():
        for file in files:
            for name, at_run_time in imports(root, file):
                parent, _, rest = name.partition(".")
                target = rest.partition(".")[0]
                if parent == package and target in rooms and target != room:
                    arrow = (room, target)
                    arrows[arrow] = arrows.get(arrow, False) or at_run_time
    groups = connected(rooms, arrows)
    circles = [group for group in groups if len(group) > 1]
    lasting = connected(rooms, [arrow for arrow, at_run_time in arrows.items() if at_run_time])
    typed = [
        circle
        for circle in circles
        if not any(len(group) > 1 and group <= circle for group in lasting)
    ]
    return Plan(floors(groups, arrows), arrows, circles, typed)


def rooms_of(package: Path) -> dict[str, list[Path]]:
    """Room to its modules: the files and folders of the package that hold Python."""
    rooms: dict[str, list[Path]] = {}
    for entry in sorted(package.glob("*")):
        files = sorted(entry.rglob("*.py")) if entry.is_dir() else [entry]
        if files and (entry.is_dir() or entry.suffix == ".py"):
            rooms[entry.stem] = files
    return {name: files for name, files in rooms.items() if name not in ("__init__", "__main__")}


def imports(root: Path, file: Path) -> Iterator[tuple[str, bool]]:
    """Full names that a module imports anywhere, and whether at run time."""
    package = file.relative_to(root).parent.parts  # for a module as for a package's __init__
    tree = ast.parse(file.read_bytes())
    typed = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and called(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) not in typed


def connected(rooms: Iterable[str], arrows: Iterable[Arrow]) -> list[frozenset[str]]:
    """The rooms in groups: two are in the same one if each imports the other, in any steps."""
    reached = {room: reach(room, arrows) for room in rooms}
    groups = {
        room: frozenset({room, *(other for other in found if room in reached[other])})
        for room, found in reached.items()
    }
    return list(dict.fromkeys(groups.values()))


def reach(room: str, arrows: Iterable[Arrow]) -> set[str]:
    """What a room imports, in any number of steps."""
    beside: dict[str, list[str]] = {}
    for source, target in arrows:
        beside.setdefault(source, []).append(target)
    found: set[str] = set()
    waiting = [room]
    while waiting:
        new = [target for target in beside.get(waiting.pop(), ()) if target not in found]
        found.update(new)
        waiting += new
    return found


def floors(groups: Iterable[frozenset[str]], arrows: Iterable[Arrow]) -> dict[str, int]:
    """Room to its floor: one above the highest that it, or its circle, imports."""
    below = {group: {b for a, b in arrows if a in group and b not in group} for group in groups}
    found: dict[str, int] = {}
    while below:
        # There is no circle of groups: some group has all that it imports on a floor already.
        group = next(group for group, rooms in below.items() if rooms <= found.keys())
        level = 1 + max((found[room] for room in below.pop(group)), default=0)
        found.update(dict.fromkeys(sorted(group), level))
    return found


def called(node: ast.expr) -> str | None:
    """The name, or the last of several joined by dots."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None
