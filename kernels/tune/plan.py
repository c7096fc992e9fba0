"""What is measured: products of layers, and for each a few configurations that may win.

Which configurations is decided without a GPU: neighbours of the rule's, without those that cannot
fit into registers or shared memory, in the order in which a small model of the machine has them.
That the code of one really spills is seen when it is compiled, see `compilation`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from ..conv_transpose import tiles
from ..conv_transpose.tiles import TileConfig

# Channels B and A and side of the small image: DCGAN for 64 pixels and a width of 64.
LAYERS = ((512, 256, 4), (256, 128, 8), (128, 64, 16), (64, 3, 32))
BATCHES = (64, 512)
DTYPES: dict[tiles.Precision, torch.dtype] = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "tf32": torch.float32,
    "fp32": torch.float32,
}
# Candidates of a problem that are measured at most.
MOST = 6
# And of those that are compiled, so that some may spill.
SPARE = 2

# The machine of the model, an H100 or H200 in bf16: FLOP/s, bytes/s to all multiprocessors from
# L2 and from memory, seconds of a drained pipeline. Only the order that comes of it counts.
_PROCESSORS = 132
_PRODUCTS = {"bf16": 780e12, "fp16": 780e12, "tf32": 390e12, "fp32": 60e12}
_L2, _MEMORY, _DRAIN = 5.5e12, 4.3e12, 0.8e-6
# Registers of a thread, those that are no accumulator, and operands that are held beside it where
# tensor cores do not read them from shared memory.
_REGISTERS, _OTHERS = 255, 64
_SHARED = {80: 163, 90: 227, 100: 227, 103: 227}
_KIB = 1024


class Problem(NamedTuple):
    """One product of one layer at one batch size, with what is computed beside it."""

    op: tiles.Operation
    precision: tiles.Precision
    b: int
    a: int
    side: int
    batch: int
    epilogue: tiles.Epilogue = "plain"

    @property
    def positions(self) -> int:
        """N·h·w of the small image."""
        return self.batch * self.side**2

    def launched(self, config: TileConfig) -> TileConfig:
        """A configuration as it is launched: by pointers lighter where there is more to hold."""
        if self.epilogue == "plain" or config.tma:
            return config
        return tiles.lighter(config, self.precision)

    def config(self, architecture: int) -> TileConfig:
        """The configuration by rule."""
        shape = (self.op, self.precision, self.b, self.a, self.positions, architecture)
        return self.launched(tiles.rule(*shape, tma=self.epilogue != "folded"))


def epilogues(op: tiles.Operation, a: int) -> tuple[tiles.Epilogue, ...]:
    """What is measured of a product unless more is asked for.

    Images, the x of few channels, are not normalised; and folding loses by the number of its
    instructions, so that it is measured on request alone.
    """
    if op == "wgrad" or a <= tiles.PACKED_CHANNELS:
        return ("plain",)
    return ("plain", "statistics")


def problems(
    layers: Sequence[tuple[int, int, int]],
    batches: Sequence[int],
    precisions: Sequence[tiles.Precision],
    only: Sequence[tiles.Epilogue] = (),
) -> Iterator[Problem]:
    """Every product of every layer, precision and batch, with each of its epilogues.

    Args:
        layers: channels B and A and the small image's side.
        batches: numbers of images.
        precisions: keys of `DTYPES`.
        only: these epilogues alone, where the product has them; by default those of `epilogues`.
    """
    for precision, (b, a, side), batch in itertools.product(precisions, layers, batches):
        for op in tiles.OPERATIONS:
            wanted = [each for each in only if _has(op, each)] if only else epilogues(op, a)
            for epilogue in wanted:
                yield Problem(op, precision, b, a, side, batch, epilogue)


def _has(op: str, epilogue: str) -> bool:
    return op != "wgrad" or epilogue == "plain"


def candidates(
    problem: Problem, architecture: int, quick: bool = False, most: int = MOST
) -> list[TileConfig]:
    """Configurations worth trying, at most so many: the rule's first, then as the model has them.

    One of each of the best tiles, then other pipelines and loops of the very best.
    """
    base = problem.config(architecture)
    if quick:
        return [base]
    found = [problem.launched(each) for each in _neighbours(problem, base, architecture)]
    ranked = sorted(
        {each for each in found if fits(problem, each, architecture)},
        key=lambda each: (predicted(problem, each), not each.tma, -each.stages, each),
    )

    def tile(config: TileConfig) -> tuple[int, int, bool]:
        return config.block_m, config.block_n, config.tma

    best_of_tile: dict[tuple[int, int, bool], TileConfig] = {}
    for each in ranked:
        best_of_tile.setdefault(tile(each), each)
    leading = list(best_of_tile.values())[: max(1, most // 2)]
    variants = [each for each in ranked if leading and tile(each) == tile(leading[0])]
    return list(dict.fromkeys([base, *leading, *variants, *ranked]))[:most]


def _neighbours(problem: Problem, base: TileConfig, architecture: int) -> Iterator[TileConfig]:
    """The rule's configuration with other tiles, steps, warps, stages and loops; and boxes."""
    if base.tma:
        yield from _on_boxes(problem)
        shape = (problem.op, problem.precision, problem.b, problem.a, problem.positions)
        base = tiles.rule(*shape, architecture, tma=False)
    blocks = {
        (base.block_m, base.block_n),
        (64, base.block_n),
        (128, base.block_n),
        (256, base.block_n),
        (256, min(base.block_n, 64)),
        (128, min(2 * base.block_n, 256)),
    }
    if problem.op == "dgrad" and problem.a <= tiles.PACKED_CHANNELS:
        blocks = {(block_m, base.block_n) for block_m in (64, 128, 256)}
    loops = (True,) if problem.op == "wgrad" else (True, False)
    steps = {base.block_k, max(16, base.block_k // 2)}
    for (block_m, block_n), block_k, warps, stages, nested in itertools.product(
        sorted(blocks), sorted(steps), (4, 8), (1, 2, 3, 4), loops
    ):
        yield TileConfig(block_m, block_n, block_k, warps, stages, nested)


def _on_boxes(problem: Problem) -> Iterator[TileConfig]:
    """Configurations of boxes: one or two groups of four warps, as full as their registers are."""
    channels = problem.b if problem.op == "fprop" else problem.a
    for block_m, block_n, warps in ((256, 128, 8), (128, 128, 8), (128, 64, 4), (256, 64, 8)):
        if channels % block_n == 0:
            for stages in (3, 4):
                yield TileConfig(block_m, block_n, 64, warps, stages, tma=True)


def fits(problem: Problem, config: TileConfig, architecture: int) -> bool:
    """Whether a configuration can be expected to fit into registers and shared memory."""
    threads = 32 * config.warps
    accumulated = config.block_m * config.block_n // threads
    if accumulated > 128:
        return False
    # By pointers statistics need a second tile of registers; of boxes they are sums of rows.
    twice = problem.epilogue != "plain" and not config.tma
    registers = accumulated * (2 if twice else 1) + _OTHERS
    bytes_each = 2 if problem.precision in ("bf16", "fp16") else 4
    operands = (config.block_m + config.block_n) * config.block_k * bytes_each
    if architecture not in tiles.WGMMA or problem.precision == "fp32":
        registers += operands // 4 // threads
    shared = _SHARED.get(architecture, 99) * _KIB
    return registers <= _REGISTERS and operands * config.stages <= shared


def predicted(problem: Problem, config: TileConfig) -> float:
    """Seconds that the model gives: the largest of products, traffic and memory, and drains.

    Every tile reads its operands from L2 once; a pipeline that is not in one loop drains at each
    tap; fewer programs than the machine has room for leave some of it idle.
    """
    b, a, positions = problem.b, problem.a, problem.positions
    packed = problem.op == "dgrad" and a <= tiles.PACKED_CHANNELS
    narrow = problem.op != "dgrad" and a <= tiles.NARROW_CHANNELS
    if problem.op == "wgrad":
        rows, columns, repeats = b, 16 * a if narrow else a, 1 if narrow else 16
        taps, length = 1, positions
    elif problem.op == "dgrad":
        rows, columns, repeats = positions, 16 if packed else a, 1 if packed else 4
        taps, length = 9 if packed else 4, b
    else:
        rows, columns, repeats = positions, b, 1
        taps, length = (1, 16 * a) if narrow else (16, a)
    programs = repeats * math.ceil(rows / config.block_m) * math.ceil(columns / config.block_n)
    steps = taps * math.ceil(length / config.block_k)
    if problem.op == "wgrad":  # the sum is split until the machine is full
        splits = max(1, min(math.ceil(2 * _PROCESSORS / programs), steps // 8))
        programs, steps = programs * splits, math.ceil(steps / splits)
    together = max(1, 8 // config.warps)  # programs that share a multiprocessor
    waves = max(1.0, programs / (_PROCESSORS * together))
    bytes_each = 2 if problem.precision in ("bf16", "fp16") else 4
    tile = config.block_m * config.block_n * config.block_k
    loaded = (config.block_m + config.block_n) * config.block_k * bytes_each
    a_wave = steps * _PROCESSORS * together
    products = 2.0 * tile * a_wave * waves / _PRODUCTS[problem.precision]
    traffic = loaded * a_wave * waves / (taps if packed else 1) / _L2
    touched = bytes_each * (positions * (b + 4.0 * a) + 16.0 * a * b)
    drained = taps if config.nested and not config.tma and steps > taps else 1
    hidden = 1 if config.stages > 1 else steps  # without a pipeline every step waits
    return max(products, traffic, touched / _MEMORY) + _DRAIN * waves * max(drained, hidden)
