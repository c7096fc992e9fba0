"""Candidates are compiled in parallel before a GPU measures them, and those that spill put aside.

Every compilation is a launch through Triton's own JIT that stops before the GPU, so that the
process that measures finds the very code in Triton's cache.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..conv_transpose import tiles
from ..conv_transpose.tiles import TileConfig
from .case import Operands, fp32_precision, in_a_line
from .plan import DTYPES, Problem

# Images that stand for any number: it is no constant of a kernel, nor of a box of few images.
_IMAGES = 16


class Code(NamedTuple):
    """What the machine code of a candidate needs, the most of its kernels.

    Attributes:
        registers: of a thread.
        spilled: bytes of a thread's stack, where registers spill to.
        shared: bytes of shared memory of a program.
        defect: why it cannot be launched, or None.
    """

    registers: int
    spilled: int
    shared: int
    defect: str | None = None


Key = tuple[tiles.Operation, tiles.Precision, int, int, int, tiles.Epilogue, TileConfig]


def key_of(problem: Problem, config: TileConfig) -> Key:
    """What determines the code: all of a problem but its batch, and the configuration."""
    return (*problem[:5], problem.epilogue, config)


@contextmanager
def compiling() -> Iterator[list[Any]]:
    """Have launches of Triton kernels compile and end there; yields what was compiled.

    Raises:
        RuntimeError: Triton's interpreter is on (`TRITON_INTERPRET=1`), which compiles nothing.
    """
    from triton.runtime.jit import JITFunction

    if os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError("TRITON_INTERPRET is 1: interpreted kernels are not compiled")
    compiled: list[Any] = []
    run = JITFunction.run

    @functools.wraps(run)
    def warm(self: Any, *args: Any, warmup: bool = False, **kwargs: Any) -> Any:
        kernel = run(self, *args, warmup=True, **kwargs)
        compiled.append(kernel)
        return kernel

    JITFunction.run = warm
    try:
        yield compiled
    finally:
        JITFunction.run = run


def compiled_code(kernels: Sequence[Any], architecture: int) -> Code:
    """What the code of several kernels needs, and whether it can be launched."""
    registers = spilled = shared = 0
    for kernel in {id(kernel): kernel for kernel in kernels}.values():
        usage = _resource_usage(kernel.asm["cubin"])
        registers = max(registers, *(int(each) for each in re.findall(r"REG:(\d+)", usage)))
        spilled = max(spilled, *(int(each) for each in re.findall(r"STACK:(\d+)", usage)))
        shared = max(shared, kernel.metadata.shared)
    room = 1024 * (163 if architecture == 80 else 227 if architecture in tiles.WGMMA else 99)
    defect = None
    if spilled > 0:
        defect = f"{spilled} bytes of spilled registers"
    elif shared > room:
        defect = f"{shared} bytes of shared memory of {room}"
    return Code(registers, spilled, shared, defect)


def _resource_usage(cubin: bytes) -> str:
    """What Triton's own `cuobjdump` says of a compiled kernel."""
    import triton.backends.nvidia

    tool = Path(triton.backends.nvidia.__file__).parent / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        done = subprocess.run(
            [str(tool), "--dump-resource-usage", str(path)],
            check=True,
            capture_output=True,
            text=True,
        )
    return done.stdout


def compile_candidate(key: Key, architecture: int, device: str) -> Code:
    """Compile one candidate, on a GPU for it, or on the CPU through a driver that stands in."""
    op, precision, b, a, side, epilogue, config = key
    problem = Problem(op, precision, b, a, side, _IMAGES, epilogue)
    dtype = DTYPES[precision]
    operands = Operands(
        problem,
        lambda *shape: torch.empty(shape, dtype=dtype, device=device),
        lambda c: torch.empty(c, device=device),
    )
    try:
        with compiling() as kernels, fp32_precision("tf32" if precision == "tf32" else "ieee"):
            operands.ours(config)
        return compiled_code(kernels, architecture)
    except Exception as error:  # the compiler's, whatever it is
        return Code(0, 0, 0, in_a_line(error))


def prepare(architecture: int, device: str) -> None:
    """Make this process one that compiles for `architecture`."""
    torch.set_num_threads(1)
    if device != "cpu":
        torch.cuda.set_device(torch.device(device))
        return
    from . import dry

    dry.install(dry.DryDriver(architecture))
    from ..conv_transpose.launch import products

    # The tensors are on the CPU: these two would answer for it.
    found = tiles.precision_of

    def precision_of(dtype: torch.dtype, device_type: str) -> tuple[tiles.Precision, str]:
        return found(dtype, "cuda")

    def processors(device: torch.device) -> int:
        return dry.PROCESSORS

    tiles.precision_of = precision_of
    products._processors = processors


def compile_all(
    keys: Sequence[Key],
    architecture: int,
    device: str,
    processes: int | None = None,
    deadline: float | None = None,
    one: Callable[[Key, int, str], Code] = compile_candidate,
) -> dict[Key, Code]:
    """Compile candidates in parallel; those that a deadline cut off are missing.

    Args:
        keys: of `key_of`; each is compiled once.
        architecture: compute capability, 90 for 9.0.
        device: "cuda:0", or "cpu" for an architecture that is not here.
        processes: at once; by default as many as there are processors.
        deadline: of `time.monotonic`.
        one: compiles one, in a process for which `prepare` was called; to be pickled.
    """
    wanted = list(dict.fromkeys(keys))
    found: dict[Key, Code] = {}
    parallel = max(1, min(processes or os.cpu_count() or 1, len(wanted)))
    with _without_interpreter():
        if _compiled(found, wanted, architecture, device, parallel, deadline, one):
            return found
        # A compiler took its process with it, and with that the pool: one by one, to know which.
        left = [key for key in wanted if key not in found]
        while left:
            if not _compiled(found, left, architecture, device, 1, deadline, one):
                culprit = next(key for key in left if key not in found)
                found[culprit] = Code(0, 0, 0, "the compiler ended its process")
            elif deadline is not None and time.monotonic() >= deadline:
                break
            left = [key for key in left if key not in found]
    return found


def _compiled(
    found: dict[Key, Code],
    keys: Sequence[Key],
    architecture: int,
    device: str,
    processes: int,
    deadline: float | None,
    one: Callable[[Key, int, str], Code],
) -> bool:
    """Compile `keys` into `found` until the deadline; False when a process ended."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, prepare, (architecture, device))
    try:
        futures = {pool.submit(one, key, architecture, device): key for key in keys}
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        for future in as_completed(futures, left):
            found[futures[future]] = future.result()
    except TimeoutError:
        for process in list((pool._processes or {}).values()):
            process.kill()
    except BrokenProcessPool:
        return False
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return True


@contextmanager
def _without_interpreter() -> Iterator[None]:
    """Start processes inside the block without Triton's interpreter, which compiles nothing."""
    before = os.environ.pop("TRITON_INTERPRET", None)
    try:
        yield
    finally:
        if before is not None:
            os.environ["TRITON_INTERPRET"] = before
