"""The tiles that Triton kernels are launched with, from a table or by rule, and the precision.

`kernels/tuning/sm_<architecture>.json` holds measured or proposed configurations; `python -m
kernels.tune` fills it. `config` answers for every shape, from the table where it has the shape,
else by rule. This module imports neither triton nor touches a device.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch

from ..dispatch import PACKAGE
from ..private import constant_while_tracing

Operation = Literal["dgrad", "fprop", "wgrad"]
Precision = Literal["bf16", "fp16", "tf32", "fp32", "fp64"]
# What a product is timed with, and against what. "statistics": those of its result and the
# normalisation after it, against torch's two operators. "folded": a prologue besides, forward and
# in the gradient of the weights, against a pass for it and both products without.
Epilogue = Literal["plain", "statistics", "folded"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
EPILOGUES: tuple[Epilogue, ...] = get_args(Epilogue)
PRECISIONS: dict[tuple[torch.dtype, str], Precision] = {
    (torch.bfloat16, "ieee"): "bf16",
    (torch.float16, "ieee"): "fp16",
    (torch.float32, "tf32"): "tf32",
    (torch.float32, "ieee"): "fp32",
    (torch.float64, "ieee"): "fp64",
}

# Up to this many channels of x, `dgrad` packs its four phases into one product.
PACKED_CHANNELS = 4
# Up to this many channels of x, taps and channels are one axis in `fprop` and `wgrad`.
NARROW_CHANNELS = 8


class TileConfig(NamedTuple):
    """One launch configuration.

    Attributes:
        block_m: rows of a tile: positions, or channels B in `wgrad`.
        block_n: columns of a tile: channels.
        block_k: length of a step along the sum.
        warps: of a program.
        stages: of the software pipeline.
        nested: loop over taps around a loop over channels, rather than one loop over both.
        tma: load boxes by TMA where the shape allows it, in one loop (`boxes.why_pointers`).
    """

    block_m: int
    block_n: int
    block_k: int
    warps: int
    stages: int
    nested: bool = True
    tma: bool = False


class Measurement(NamedTuple):
    """On what, and how, an entry was measured.

    Attributes:
        device: name of the GPU.
        versions: of torch, triton and cuDNN.
        how: what was timed, in words.
        batch: images.
        side: of the small image, in pixels.
        microseconds: of Triton's side, see `EPILOGUES`, median.
        other_microseconds: of the other side, median.
    """

    device: str
    versions: str
    how: str
    batch: int
    side: int
    microseconds: float
    other_microseconds: float


class TuningEntry(NamedTuple):
    """A row of a table: one configuration for one product from so many positions on.

    Attributes:
        op: "dgrad", "fprop" or "wgrad".
        precision: "bf16", "fp16", "tf32" or "fp32".
        b: channels of the small image.
        a: channels of the large image.
        positions: N·h·w of the small image from which on it holds.
        config: the configuration.
        verified: its results were compared with the reference, and it was timed, on a GPU of this
            architecture.
        predicted_ratio: time of torch's operator over time of this one, as expected, or None.
        measured_ratio: the same as measured, or None.
        epilogue: what was timed, one of `EPILOGUES`.
        measurement: on what and how, or None where nothing was measured.
    """

    op: Operation
    precision: Precision
    b: int
    a: int
    positions: int
    config: TileConfig
    verified: bool
    predicted_ratio: float | None
    measured_ratio: float | None
    epilogue: str = "plain"
    measurement: Measurement | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What it is an entry for: no two of a table have the same."""
        return (*self[:5], self.epilogue)


def config(
    op: Operation,
    precision: Precision,
    b: int,
    a: int,
    positions: int,
    architecture: int,
    epilogue: Epilogue = "plain",
) -> TileConfig:
    """The configuration to launch a product with.

    Args:
        op: "dgrad", "fprop" or "wgrad".
        precision: a value of `PRECISIONS`.
        b: channels of the small image y.
        a: channels of the large image x.
        positions: N·h·w of the small image.
        architecture: compute capability, 90 for 9.0.
        epilogue: one of `EPILOGUES`; where the table has none for it, that of "plain".
    """
    product = (op, precision, b, a, architecture)
    rows = entries(*product, epilogue) or entries(*product)
    if rows:
        # Nearer to a measured shape than any rule, also below the fewest positions.
        return (_last_within(rows, positions) or rows[0]).config
    return rule(op, precision, b, a, positions, architecture)


def why_torch(
    op: Operation,
    precision: Precision,
    b: int,
    a: int,
    positions: int,
    architecture: int,
    epilogue: Epilogue = "plain",
) -> str | None:
    """Why torch's operators are to be preferred, or None where the table says that Triton wins.

    Args: as of `config`.
    """
    entry = _last_within(entries(op, precision, b, a, architecture, epilogue), positions)
    product = op if epilogue == "plain" else f"{op} with statistics"
    shape = f"{product} in {precision} for {b} and {a} channels on sm_{architecture}"
    if entry is None or not entry.verified or entry.measured_ratio is None:
        return f"no launch configuration of {shape} is verified (python -m {PACKAGE}.tune)"
    if entry.measured_ratio < 1:
        return f"measured at {entry.measured_ratio:.2f} of torch's speed: {shape}"
    return None


def folds(
    op: Operation, precision: Precision, b: int, a: int, positions: int, architecture: int
) -> bool:
    """Whether the table says that a product had better normalise its operand while loading it.

    Only where that was measured: a prologue is computed again for every tap and tile, some 16 to
    32 times an element, where a pass of its own does it once.

    Args: as of `config`.
    """
    entry = _last_within(entries(op, precision, b, a, architecture, "folded"), positions)
    ratio = None if entry is None or not entry.verified else entry.measured_ratio
    return ratio is not None and ratio >= 1


def won(architecture: int) -> str:
    """In how many of its measured shapes each product was at least as fast as torch's operators."""
    measured: dict[str, list[bool]] = {}
    for row in table(architecture):
        if row.verified and row.measured_ratio is not None:
            name = row.op if row.epilogue == "plain" else f"{row.op} {row.epilogue}"
            measured.setdefault(name, []).append(row.measured_ratio >= 1)
    shares = [f"{name} {sum(found)} of {len(found)}" for name, found in sorted(measured.items())]
    return ", ".join(shares) or "nothing measured"


def _last_within(rows: tuple[TuningEntry, ...], positions: int) -> TuningEntry | None:
    """Of entries in order of positions, the last that asks for no more than there are."""
    found = None
    for row in rows:
        if row.positions <= positions:
            found = row
    return found


# Dynamo would trace the reading of a file, through functools.cache too.
@constant_while_tracing
def entries(
    op: Operation,
    precision: Precision,
    b: int,
    a: int,
    architecture: int,
    epilogue: Epilogue = "plain",
) -> tuple[TuningEntry, ...]:
    """The table's entries for one product of one precision and channels, by positions."""
    return _entries(op, precision, b, a, architecture, epilogue)


@functools.cache
def _entries(
    op: Operation, precision: Precision, b: int, a: int, architecture: int, epilogue: Epilogue
) -> tuple[TuningEntry, ...]:
    product = (op, precision, b, a, epilogue)
    rows = (row for row in table(architecture) if (*row[:4], row.epilogue) == product)
    return tuple(sorted(rows, key=lambda row: row.positions))


def forget_tables() -> None:
    """Read the tables again where they are needed next."""
    _entries.cache_clear()
    table.cache_clear()


@functools.cache
def table(architecture: int) -> tuple[TuningEntry, ...]:
    """The table of exactly this architecture: the user's own, else the shipped, else empty.

    Raises:
        ValueError: the file is not a table.
    """
    for path in (user_path(architecture), shipped_path(architecture)):
        if path.is_file():
            return read_table(path)
    return ()


def shipped_path(architecture: int) -> Path:
    """Where the table of an architecture comes with the package."""
    return Path(__file__).parent.parent / "tuning" / f"sm_{architecture}.json"


def user_path(architecture: int) -> Path:
    """Where the table of an architecture is that was measured on this machine.

    In the folder `FUSEDGAN_TUNING`; by default in the user's cache.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = os.environ.get("FUSEDGAN_TUNING") or str(Path(cache) / "fusedgan" / "tuning")
    return Path(folder) / f"sm_{architecture}.json"


def read_table(path: Path) -> tuple[TuningEntry, ...]:
    """The entries of a table file.

    Raises:
        ValueError: the file is not a table, naming it and what is wrong.
    """
    try:
        rows = json.loads(path.read_text())["entries"]
        found = tuple(_entry(row) for row in rows)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a table of launch configurations: {error!r}") from error
    for entry in found:
        if entry.op not in OPERATIONS or entry.precision not in PRECISIONS.values():
            raise ValueError(
                f"{path}: op={entry.op!r}, precision={entry.precision!r}; expected one of "
                f"{', '.join(OPERATIONS)} and one of {', '.join(PRECISIONS.values())}"
            )
        if entry.epilogue not in EPILOGUES:
            raise ValueError(
                f"{path}: epilogue={entry.epilogue!r}; expected one of {', '.join(EPILOGUES)}"
            )
    return found


def _entry(row: Mapping[str, Any]) -> TuningEntry:
    timed = row.get("measurement")
    return TuningEntry(
        **{
            **row,
            "config": TileConfig(**row["config"]),
            "measurement": None if timed is None else Measurement(**timed),
        }
    )


def rule(
    op: Operation,
    precision: Precision,
    b: int,
    a: int,
    positions: int,
    architecture: int,
    tma: bool = True,
) -> TileConfig:
    """A configuration for a shape that no table has.

    Tiles as large as the accumulator allows without spilling (`python -m benchmarks.resources`),
    and never wider than the product.

    Args: as of `config`, and
        tma: whether it may be one of boxes.
    """
    if tma and architecture in WGMMA and precision in ("bf16", "fp16") and a % 64 == 0:
        return _rule_of_boxes(op, b, a, positions)
    large = architecture in LARGE_SHARED_MEMORY
    if precision in ("fp32", "fp64"):  # without tensor cores operands are registers, too
        base = TileConfig(64, 64, 16, 4 if precision == "fp32" else 8, 2)
    elif precision == "tf32":
        base = TileConfig(128, 128, 32, 8, 3 if large else 2)
    else:
        base = TileConfig(128, 128, 64, 8, 3) if large else TileConfig(128, 128, 32, 8, 3)
    if op == "wgrad":
        block_m = _covering(b, base.block_m)
        block_n = _covering(16 * a if a <= NARROW_CHANNELS else a, base.block_n)
        if architecture in WGMMA and base.block_k == 64 and b >= 256 and block_n == 128:
            block_m = 256
        few = block_m * block_n <= 64 * 128 and base.block_k == 64
        warps = 4 if few else 8
        return base._replace(block_m=block_m, block_n=block_n, warps=warps)
    inner, outer = (b, a) if op == "dgrad" else (a, b)
    if op == "fprop" and a <= NARROW_CHANNELS:
        inner = 16 * a
    block_m, block_k = base.block_m, _covering(inner, base.block_k)
    if op == "dgrad" and a <= PACKED_CHANNELS:
        stages = base.stages if base.block_k == 64 else 2
        return TileConfig(block_m, 16, block_k, 4 if base.block_m == 128 else 8, stages)
    block_n = _covering(outer, base.block_n)
    if architecture in WGMMA and base.block_k == 64:
        # Traffic between L2 and shared memory is what bounds these products: 85 products a byte
        # instead of 64, with the accumulator in half of the registers.
        if op == "dgrad" and block_n == 128:
            block_m = 256
        elif op == "fprop" and outer >= 256:
            block_n = 256
    phases = 4 if op == "dgrad" else 1
    if -(-positions // block_m) * -(-outer // block_n) * phases < _FEW_TILES:
        if op == "dgrad" and block_n > 64 and architecture in WGMMA:
            block_m, block_n = 128, 64
        else:
            block_m, block_n = 64, min(block_n, 128)
    if precision in ("fp32", "fp64"):
        return TileConfig(block_m, block_n, block_k, base.warps, base.stages)
    if block_m * block_n > 128 * 64:
        return TileConfig(block_m, block_n, block_k, base.warps, base.stages)
    # A loop over channels within a loop over taps drains the pipeline of loads at every tap, one
    # loop over both does not. But with 8 warps that has been miscompiled in a similar kernel
    # (pytorch/pytorch#173068): with 4 only.
    if precision == "tf32" and outer <= 64:
        stages = base.stages if inner == 16 * a else 2
        return TileConfig(64, block_n, block_k, 4, stages, nested=False)
    return TileConfig(block_m, block_n, block_k, 4, base.stages, nested=False)


def _rule_of_boxes(op: Operation, b: int, a: int, positions: int) -> TileConfig:
    """256 positions × 128 channels, which the tensor cores read least for; less for few tiles."""
    block_a = 128 if a % 128 == 0 else 64
    if op == "wgrad":
        block_m = 256 if b >= 256 and block_a == 128 else _covering(b, 128)
        warps = 8 if block_m * block_a > 128 * 64 else 4
        return TileConfig(max(64, block_m), block_a, 64, warps, 3, tma=True)
    block_n = block_a if op == "dgrad" else max(64, _covering(b, 128))
    programs = (a // block_n) * 4 if op == "dgrad" else _cdiv(b, block_n)
    if block_n == 128 and _cdiv(positions, 256) * programs >= _FEW_TILES:
        return TileConfig(256, 128, 64, 8, 3, tma=True)
    # One group of four warps: two such programs share a multiprocessor.
    return TileConfig(128, 64, 64, 4, 3, tma=True)


def lighter(config: TileConfig, precision: Precision) -> TileConfig:
    """The configuration for a product with prologue or statistics, which need registers.

    At most half of them for the accumulator: tiles of at most 128×128. Without tensor cores, where
    the operands are registers too, none for a stage that is loaded ahead.
    """
    if precision == "fp32":
        return config._replace(stages=1)
    if config.block_m * config.block_n <= 128 * 128:
        return config
    if config.block_m > config.block_n:
        return config._replace(block_m=config.block_m // 2)
    return config._replace(block_n=config.block_n // 2)


# Architectures with room for three stages of the largest tiles: A100, H100 and H200, B200, B300.
# Others have about 100 KB.
LARGE_SHARED_MEMORY = (80, 90, 100, 103)
# Architectures whose tensor cores read operands from shared memory.
WGMMA = (90, 100, 103)
# With fewer tiles of 128 rows, many of some 132 multiprocessors would have none.
_FEW_TILES = 132


def _covering(size: int, most: int) -> int:
    """The smallest power of two of at least `size`, within 16 and `most`."""
    return max(16, min(most, _power_of_two(size)))


def _power_of_two(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << (number - 1).bit_length()


def _cdiv(number: int, divisor: int) -> int:
    return -(-number // divisor)


@constant_while_tracing
def architecture_of(device: torch.device) -> int:
    """Compute capability of a CUDA device, 90 for 9.0; 0 for any other."""
    return _architecture_of(device)


@functools.cache
def _architecture_of(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def precision_of(dtype: torch.dtype, device_type: str) -> tuple[Precision, str]:
    """Name of the arithmetic, and Triton's `input_precision`, as torch's convolutions choose it.

    fp32 uses tf32 where torch's convolutions would: `torch.backends.cudnn.conv.fp32_precision`,
    which `torch.backends.cudnn.allow_tf32` and `torch.backends.fp32_precision` set, too.
    """
    if dtype == torch.float32 and device_type == "cuda" and _tf32():
        return "tf32", "tf32"
    return PRECISIONS[dtype, "ieee"], "ieee"


@constant_while_tracing
def _tf32() -> bool:
    precision: str = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    return precision == "tf32"


# --- normalisation: images as matrices [rows, C] ---

TILE = 2048  # elements: with 4 warps 16 a thread, two wide loads of 16 bits each
MAX_BLOCK_C = 128
# Programs of a reduction at most. A constant, where the number of multiprocessors would make the
# order of the sums, and so the last bits, another one on another GPU.
MAX_PROGRAMS = 1024


class MatrixTiles(NamedTuple):
    """How a matrix [rows, C] is cut into tiles, and its rows among the programs of a reduction."""

    block_m: int
    block_c: int
    columns: int
    rows_each: int
    partials: int


def tiling(rows: int, channels: int) -> MatrixTiles:
    """Tiles of some 2048 elements; at most some 1024 programs, each of the same number of rows."""
    block_c = min(_power_of_two(channels), MAX_BLOCK_C)
    block_m = TILE // block_c
    columns = _cdiv(channels, block_c)
    partials = max(1, min(_cdiv(rows, block_m), MAX_PROGRAMS // columns))
    rows_each = _cdiv(_cdiv(rows, partials), block_m) * block_m
    return MatrixTiles(block_m, block_c, columns, rows_each, _cdiv(rows, rows_each))
