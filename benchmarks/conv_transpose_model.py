"""What the launch configurations of an H200 should reach, by arithmetic: a prediction to test.

    python -m benchmarks.conv_transpose_model

For every bf16 entry of the table for sm_90, the time that each bound alone would take:

- products: on the tensor cores at the rate of a large matrix product;
- traffic: of tiles from L2 to shared memory, every tile of operands once a program and step;
- issue: of the instructions of a step by the four schedulers of a multiprocessor, one a clock each,
  as `benchmarks.resources` has counted them in the machine code that is committed;
- drains: of the pipeline of loads, once a tap where a loop over channels, of more than one step, is
  within one over taps, for each wave of programs;
- memory: operands and result once.

Products, traffic, issue and memory overlap, drains do not: the prediction is the largest of the
four and the drains. Roof is the larger of products and memory. The rates are assumptions, written
below; the model knows neither L1 nor launch times, and has not been compared with a GPU.
"""

from __future__ import annotations

import csv
import functools
import math

from benchmarks.report import RESULTS, print_table
from benchmarks.resource_cases.conv_transpose import recorded
from kernels.conv_transpose.tiles import (
    NARROW_CHANNELS,
    PACKED_CHANNELS,
    TuningEntry,
    read_table,
    shipped_path,
)

ARCHITECTURE = 90
PROCESSORS = 132
PRODUCTS = 780e12  # FLOP/s of a large bf16 matrix product
MEMORY = 4.3e12  # bytes/s of a large copy, read and written
L2 = 5.5e12  # bytes/s from L2 to all multiprocessors
CLOCK = 1.755e9  # Hz, of an H200 under load
SCHEDULERS = 4  # of a multiprocessor, each of which issues one instruction a clock
DRAIN = 0.8e-6  # seconds from the first load of a pipeline to the first product
BYTES = 2


def prediction(entry: TuningEntry) -> dict[str, object]:
    """One row: predicted and least possible microseconds, and what binds."""
    c = entry.config
    b, a, positions = entry.b, entry.a, entry.positions
    flops = 32.0 * positions * b * a
    packed = entry.op == "dgrad" and a <= PACKED_CHANNELS
    if entry.op == "wgrad":
        narrow = a <= NARROW_CHANNELS
        columns = 1 if narrow else 16
        tiles = columns * math.ceil(b / c.block_m)
        tiles *= math.ceil((16 * a if narrow else a) / c.block_n)
        steps, taps = math.ceil(positions / c.block_k), 1
    elif entry.op == "dgrad":
        taps = 9 if packed else 4
        tiles = math.ceil(positions / c.block_m)
        tiles *= 1 if packed else 4 * math.ceil(a / c.block_n)
        steps = taps * math.ceil(b / c.block_k)
    else:
        narrow = a <= NARROW_CHANNELS
        taps = 1 if narrow else 16
        tiles = math.ceil(positions / c.block_m) * math.ceil(b / c.block_n)
        steps = math.ceil(16 * a / c.block_k) if narrow else taps * math.ceil(a / c.block_k)
    computed = 2.0 * tiles * steps * c.block_m * c.block_n * c.block_k  # with padding
    moved = float(BYTES * tiles * steps * (c.block_m + c.block_n) * c.block_k)
    touched = BYTES * (positions * (b + 4.0 * a) + 16.0 * a * b)
    if packed:
        moved /= taps  # neighbouring taps find y in L1
    one_loop = c.tma or not c.nested or steps <= taps  # a loop of one step is none
    # Programs of few warps share a multiprocessor, and one's drain is another's work.
    waves = math.ceil(tiles / PROCESSORS) if c.warps == 8 else 1
    drains = DRAIN * waves * (1 if one_loop else taps)
    bounds = {"products": computed / PRODUCTS, "traffic": moved / L2, "memory": touched / MEMORY}
    issued = issued_a_step(entry)
    if issued is not None:
        # Of each warp, over those of all programs that are on a multiprocessor at a time or not.
        cycles = issued * c.warps * tiles * steps / (SCHEDULERS * PROCESSORS)
        bounds["issue"] = cycles / CLOCK
    binding = max(bounds, key=lambda name: bounds[name])
    roof = max(flops / PRODUCTS, touched / MEMORY)
    predicted = bounds[binding] + drains
    return {
        "product": entry.op,
        "channels": f"{b} and {a}",
        "positions": positions,
        "tile": f"{c.block_m}×{c.block_n}×{c.block_k}",
        "warps": c.warps,
        "loop": "boxes" if c.tma else "one" if one_loop else "nested",
        "predicted_us": round(1e6 * predicted, 1),
        "roof_us": round(1e6 * roof, 1),
        "share_of_roof": round(roof / predicted, 2),
        "bound_by": binding,
        "issue_us": None if issued is None else round(1e6 * bounds["issue"], 1),
        "drains_us": round(1e6 * drains, 1),
    }


def issued_a_step(entry: TuningEntry) -> float | None:
    """Instructions of a warp in a step of the main loop, or None where no row says.

    Of the product without an epilogue: the loop is the same, or nearly so, with one.
    """
    product = (entry.op, entry.precision, entry.b, entry.a, entry.config)
    found = (_loops().get(f"conv_transpose: {case.name}") for case in recorded(*product))
    return next(filter(None, found), None)


@functools.cache
def _loops() -> dict[str, float]:
    """Instructions of each main loop that `resources.csv` knows, by kernel."""
    with (RESULTS / "resources.csv").open(newline="") as file:
        return {
            row["kernel"]: float(row["loop_per_hgmma"]) * float(row["loop_hgmma"])
            for row in csv.DictReader(file)
            if row.get("loop_per_hgmma")
        }


def main() -> None:
    """Entry point."""
    rows = [
        prediction(entry)
        for entry in read_table(shipped_path(ARCHITECTURE))
        if entry.precision == "bf16"
    ]
    print_table(rows)


if __name__ == "__main__":
    main()
