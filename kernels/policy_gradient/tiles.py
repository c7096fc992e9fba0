"""How a call is split over programs, and over positions and categories within one."""

from typing import NamedTuple

from torch import Tensor

# Numbers of a tile: [positions, categories] of which a thread holds up to TILE / (32·WARPS).
TILE = 1024
# Up to so many categories a tile has all of a position. Of more it has some of these positions: so
# neighbours are read together whether positions or categories lie next to each other.
MOST_IN_A_TILE = 256
WIDE_TILE, WIDE_POSITIONS = 512, 8
BERNOULLI_BLOCK = 256
WARPS = 4
# Programs that fill any GPU a few times over; with more, none pays for splitting the samples.
ENOUGH_PROGRAMS = 1024


class Tiling(NamedTuple):
    """Positions and categories of a tile; both powers of two."""

    positions: int
    categories: int


def tiling(positions: int, categories: int) -> Tiling:
    """The tile for V categories and P positions a row."""
    if is_wide(categories):
        rows = min(WIDE_POSITIONS, _power_of_two(positions))
        return Tiling(rows, WIDE_TILE // rows)
    columns = max(_power_of_two(categories), 2)
    return Tiling(max(min(TILE // columns, _power_of_two(positions)), 1), columns)


def is_wide(categories: int) -> bool:
    """Whether a position has more categories than a tile."""
    return categories > MOST_IN_A_TILE


def bernoulli_block(positions: int) -> int:
    """Positions of a Bernoulli program, a power of two."""
    return min(BERNOULLI_BLOCK, max(_power_of_two(positions), 32))


class Plan(NamedTuple):
    """How a call is split: over tiles of positions, and over samples."""

    grid: tuple[int, int]
    tiles: int
    samples_each: int
    block: tuple[int, ...]


def plan_of(logits: Tensor, samples: int, multiple: int) -> Plan:
    """The split of a call whose programs treat a multiple of `multiple` samples."""
    rows, positions = logits.shape[:2]
    if logits.dim() == 2:
        block: tuple[int, ...] = (bernoulli_block(positions),)
    else:
        block = tiling(positions, logits.shape[2])
    tiles = -(-positions // block[0])
    programs = rows * tiles
    groups = -(-samples // multiple)
    chunks = min(groups, max(ENOUGH_PROGRAMS // max(programs, 1), 1))
    groups_each = -(-groups // chunks)
    return Plan((programs, -(-groups // groups_each)), tiles, groups_each * multiple, tuple(block))


def _power_of_two(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << max(number - 1, 0).bit_length()
