"""How many logits a program of the Triton kernels takes, and with how many warps."""

from typing import NamedTuple

ALONE = 16 * 1024
# Programs of one block each, until there would be more than these: then each takes several.
MOST_PROGRAMS = 4096
# Of each kernel: logits that it treats at a time, and warps. A program that is alone has to hide
# latency by itself; many take few registers each. All are free of spills on every architecture.
SMALL = 1024
SMALL_WARPS = 4
ALONE_BLOCK = 2048
ALONE_WARPS = 16
BLOCK = 2048
WARPS = 8
COMBINE_BLOCK = 1024
COMBINE_WARPS = 4
BACKWARD_BLOCK = 1024
BACKWARD_WARPS = 4


class ForwardTiles(NamedTuple):
    """How a forward launch is shared out.

    Attributes:
        alone: one program takes all logits, and there are no partial sums.
        block: logits of each side that a program treats at a time.
        warps: of a program.
        chunk: logits of each side that a program takes.
        programs: how many there are.
    """

    alone: bool
    block: int
    warps: int
    chunk: int
    programs: int


def forward_tiles(most: int) -> ForwardTiles:
    """The tiles for `most` logits, of real or of generated samples, whichever are more."""
    if most <= SMALL:
        return ForwardTiles(True, SMALL, SMALL_WARPS, ALONE, 1)
    if most <= ALONE:
        return ForwardTiles(True, ALONE_BLOCK, ALONE_WARPS, ALONE, 1)
    chunk = BLOCK * -(-most // (BLOCK * MOST_PROGRAMS))  # whole blocks
    return ForwardTiles(False, BLOCK, WARPS, chunk, -(-most // chunk))
