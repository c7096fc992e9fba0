"""Launching the Triton kernels. For shapes see `definitions`; the same functions as in `twin`."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..dispatch import launching_on
from .stream import WORDS, Stream, device_scalars
from .triton import (
    LAUNCH_OPTIONS,
    log_prob_bernoulli_kernel,
    log_prob_categorical_kernel,
    sample_bernoulli_kernel,
    sample_categorical_kernel,
    score_bernoulli_kernel,
    score_categorical_kernel,
)

# Numbers of a tile: [positions, categories] of which a thread holds up to TILE / (32·WARPS).
TILE = 1024
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
    columns = max(_power_of_two(categories), 2)
    return Tiling(max(min(TILE // columns, _power_of_two(positions)), 1), columns)


def bernoulli_block(positions: int) -> int:
    """Positions of a Bernoulli program, a power of two."""
    return min(BERNOULLI_BLOCK, max(_power_of_two(positions), 32))


def sample(logits: Tensor, samples: int, stream: Stream) -> tuple[Tensor, Tensor]:
    """`twin.sample`, in one launch and, for many positions, one that adds up."""
    rows, positions = logits.shape[:2]
    symbols = logits.new_empty((samples, rows, positions), dtype=torch.uint8)
    plan = _plan(logits, samples, WORDS)
    partials = _partials(plan, logits, samples)
    if plan.grid[0] > 0:
        arguments = (logits, symbols, partials, *device_scalars(stream))
        with launching_on(logits.device):
            kernel = sample_bernoulli_kernel if logits.dim() == 2 else sample_categorical_kernel
            kernel[plan.grid](
                *arguments,
                *logits.shape,
                samples,
                plan.tiles,
                plan.samples_each // WORDS,
                *logits.stride(),
                *plan.block,
                num_warps=WARPS,
                **LAUNCH_OPTIONS,
            )
    return symbols, _summed(partials)


def log_prob(logits: Tensor, symbols: Tensor) -> Tensor:
    """`twin.log_prob`, in one launch and, for many positions, one that adds up."""
    samples = symbols.shape[0]
    plan = _plan(logits, samples, 1)
    partials = _partials(plan, logits, samples)
    if plan.grid[0] > 0:
        bernoulli = logits.dim() == 2
        with launching_on(logits.device):
            kernel = log_prob_bernoulli_kernel if bernoulli else log_prob_categorical_kernel
            kernel[plan.grid](
                logits,
                symbols,
                partials,
                *logits.shape,
                samples,
                plan.tiles,
                plan.samples_each,
                *logits.stride(),
                *plan.block,
                num_warps=WARPS,
            )
    return _summed(partials)


def score(logits: Tensor, symbols: Tensor, incoming: Tensor) -> Tensor:
    """`twin.score`, in one launch."""
    gradient = torch.empty_like(logits)
    samples = symbols.shape[0]
    plan = _plan(logits, samples, samples)
    if plan.grid[0] > 0:
        with launching_on(logits.device):
            kernel = score_bernoulli_kernel if logits.dim() == 2 else score_categorical_kernel
            kernel[plan.grid[:1]](
                logits,
                symbols,
                incoming.float().contiguous(),
                gradient,
                *logits.shape,
                samples,
                plan.tiles,
                *logits.stride(),
                *gradient.stride(),
                *plan.block,
                num_warps=WARPS,
            )
    return gradient


class _Plan(NamedTuple):
    """How a call is split: over tiles of positions, and over samples."""

    grid: tuple[int, int]
    tiles: int
    samples_each: int
    block: tuple[int, ...]


def _plan(logits: Tensor, samples: int, multiple: int) -> _Plan:
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
    return _Plan((programs, -(-groups // groups_each)), tiles, groups_each * multiple, tuple(block))


def _partials(plan: _Plan, logits: Tensor, samples: int) -> Tensor:
    return logits.new_empty((plan.tiles, samples, logits.shape[0]), dtype=torch.float32)


def _summed(partials: Tensor) -> Tensor:
    return partials[0] if partials.shape[0] == 1 else partials.sum(0)


def _power_of_two(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << max(number - 1, 0).bit_length()
