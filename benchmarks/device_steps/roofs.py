"""What the machine can do at best, measured: a copy, a product, reads from L2, a launch."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

from benchmarks.conv_transpose import precision_of_fp32, roofs
from benchmarks.device_steps.results import Row
from benchmarks.device_steps.step import Context, Failed, Rows, installed, number, plural
from kernels.tune import Clock, capture

L2_MIB = (8, 16, 24, 32, 48)
# Programs a multiprocessor, of 8 warps: as many as have threads there.
_TOGETHER = 8
_LAUNCHES = 100


def run(context: Context) -> Rows:
    """A row a roof: value, unit."""
    clock = Clock(context.torch_device)
    count = 0

    def rows(*found: tuple[str, float, str]) -> list[Row]:
        nonlocal count
        count += len(found)
        return [{"case": case, "value": number(value), "unit": unit} for case, value, unit in found]

    tiny = {"size": 64, "elements": 2**16} if context.dry else {}
    for precision in ("bf16", "tf32", "fp32") if context.gpu else ("fp32", "bf16"):
        if f"product {precision}" in context.done:
            continue
        with precision_of_fp32(precision):
            found = roofs(clock, precision, **tiny)
        product = (f"product {precision}", found["product_tflops"], "TFLOP/s")
        yield rows(product, (f"copy beside {precision}", found["copy_tb_s"], "TB/s"))
    for mib in L2_MIB if context.gpu else ():
        if f"reads of {mib} MiB" not in context.done:
            yield rows((f"reads of {mib} MiB", _reads(context, clock, mib * 2**20), "TB/s"))
    if context.dry and installed("triton"):
        _reads(context, clock, 2**16)  # that its sums are right
    yield rows(*launches(context, clock))
    return plural(count, "roof")


def _reads(context: Context, clock: Clock, size: int) -> float:
    """TB/s of programs that read a buffer of `size` bytes over and over."""
    from benchmarks.device_steps import l2_probe

    device = context.torch_device
    source = torch.randint(0, 1000, (size // 4,), dtype=torch.int32, device=device)
    programs, reads = 2, 3
    if context.gpu:
        processors = torch.cuda.get_device_properties(device).multi_processor_count
        programs, reads = _TOGETHER * processors, 512
    found = l2_probe.read(source, programs, reads)
    if not torch.equal(found, l2_probe.expected(source, programs, reads)):
        raise Failed(f"the probe of L2 sums wrongly over {size} bytes")
    timer = clock.timer(lambda: l2_probe.read(source, programs, reads))
    seconds = statistics.median(timer() for _ in range(7 if context.gpu else 1))
    return programs * reads * l2_probe.BLOCK * 4 / seconds / 1e12


def launches(context: Context, clock: Clock) -> list[tuple[str, float, str]]:
    """Microseconds of a launch: from Python, and within a CUDA graph."""
    device = context.torch_device
    x = torch.zeros(1, device=device)

    def add() -> object:
        return x.add_(1)

    def median(run: Callable[[], float]) -> float:
        return statistics.median(run() for _ in range(7))

    each = median(lambda: clock.call(add, 10 if context.dry else 1000))
    found = [("operator from Python", 1e6 * each, "µs")]
    if not context.gpu:
        return found
    from benchmarks.device_steps import l2_probe

    source = torch.zeros(l2_probe.BLOCK, dtype=torch.int32, device=device)
    each = median(lambda: clock.call(lambda: l2_probe.read(source, 1, 1), 1000))
    found.append(("Triton's launch from Python, with an allocation", 1e6 * each, "µs"))

    def many() -> None:
        for _ in range(_LAUNCHES):
            add()

    one, hundred = capture(add), capture(many)
    seconds = [
        median(lambda graph=graph: clock.call(graph.replay, 100)) for graph in (one, hundred)
    ]
    found.append(("graph of one launch", 1e6 * seconds[0], "µs"))
    inside = (seconds[1] - seconds[0]) / (_LAUNCHES - 1)
    found.append(("launch within a graph", 1e6 * inside, "µs"))
    return found
