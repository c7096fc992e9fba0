"""Compile Triton kernels for GPUs that are not there, and read what the machine code needs.

Triton's compiler and the assembler that it ships need neither a driver nor a device. What comes
out is the code that would run: its registers, its spills, its shared memory and whether it uses
the tensor cores. How fast it runs only a GPU can tell.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Compute capabilities: A100, H100 and H200, B200.
ARCHITECTURES = (80, 90, 100)

# Threads of a warp, and the operations of the tensor cores in each architecture's machine code.
_WARP = 32
_HGMMA = 90  # the architecture whose main loops are read
_TENSOR_CORES = {80: r"\bHMMA\b|\bIMMA\b", 90: r"\bHGMMA\b", 100: r"\bUTC\w*MMA\b"}
# In sm_90's machine code: an instruction of the tensor cores whose first operand is in registers,
# not described by `gdesc[…]`; and a wait, for products or for a barrier on which loads arrive.
_FROM_REGISTERS = r"HGMMA\S* R\d+, R\d+,"
_WAITS = r"WARPGROUP\.DEPBAR|SYNCS\.PHASECHK|LDGDEPBAR|DEPBAR\.LE"
# Loads from and stores to local memory.
_SPILLS = r"\b(?:LDL|STL)\b"
# Bytes of shared memory that a program can have.
SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}


@dataclass(frozen=True)
class Case:
    """One kernel as it would be launched.

    Attributes:
        name: what the table calls it; the same for every architecture.
        kernel: the `@triton.jit` function.
        signature: the type of each argument that is not a constant, as Triton spells it: "*fp32",
            "i32", …
        constants: the value of each constant argument (`tl.constexpr`, and None for an optional
            one).
        divisible: arguments known to be divisible by 16 when launched. The launcher finds that
            out by itself; compiled without it the kernel has no wide loads and is not the one that
            anybody runs.
        num_warps: of a program.
        num_stages: of the software pipeline.
        tensor_cores: whether it must use them.
        architectures: for which it is meant.
        fp_fusion: whether multiplications and additions may be contracted.
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, object] = field(default_factory=dict)
    divisible: tuple[str, ...] = ()
    num_warps: int = 4
    num_stages: int = 3
    tensor_cores: bool = False
    architectures: tuple[int, ...] = ARCHITECTURES
    fp_fusion: bool = True


@dataclass(frozen=True)
class Loop:
    """What one step of the main loop of a kernel for sm_90 issues.

    Attributes:
        instructions: of a warp, those for the tensor cores among them.
        products: instructions for the tensor cores, HGMMA.
        from_registers: how many of these read their first operand from registers.
        waits: for products, and for loads.
    """

    instructions: int
    products: int
    from_registers: int
    waits: int


@dataclass(frozen=True)
class Resources:
    """What one kernel needs on one architecture.

    Attributes:
        registers: of a thread.
        spills: number of instructions that access local memory: spilled registers.
        shared: bytes of shared memory of a program.
        tensor_cores: number of instructions for them.
        loop: the innermost loop that has most of these, on sm_90.
    """

    registers: int
    spills: int
    shared: int
    tensor_cores: int
    loop: Loop | None = None


def compile_case(case: Case, architecture: int) -> Resources:
    """Compile one kernel for one architecture.

    Raises:
        RuntimeError: Triton's interpreter is on (`TRITON_INTERPRET=1`), under which nothing can be
            compiled, or the machine code cannot be read.
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError(
            "TRITON_INTERPRET is 1: interpreted kernels cannot be compiled; unset it before "
            "the process starts"
        )
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = case.kernel.arg_names
    source = ASTSource(
        case.kernel,
        # In the order of the parameters, as the launcher does.
        {name: case.signature.get(name, "constexpr") for name in names},
        dict(case.constants),
        {(names.index(name),): [["tt.divisibility", 16]] for name in case.divisible},
    )
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", architecture, _WARP),
        options={
            "num_warps": case.num_warps,
            "num_stages": case.num_stages,
            "enable_fp_fusion": case.fp_fusion,
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(compiled.asm["cubin"])
        usage = _cuobjdump("--dump-resource-usage", path)
        code = _cuobjdump("--dump-sass", path)
        labelled = _tool("nvdisasm", "-c", path) if architecture == _HGMMA else ""
    # Functions that are called, not inlined, have lines of their own.
    registers = [int(each) for each in re.findall(r"REG:(\d+)", usage)]
    if not registers:
        raise RuntimeError(f"{case.name}: no resource usage in the output of cuobjdump:\n{usage}")
    return Resources(
        registers=max(registers),
        spills=len(re.findall(_SPILLS, code)),
        shared=compiled.metadata.shared,
        tensor_cores=len(re.findall(_TENSOR_CORES[architecture], code)),
        loop=main_loop(labelled),
    )


def main_loop(code: str) -> Loop | None:
    """The innermost loop with products, of what `nvdisasm -c` prints; None without one.

    A loop is from a label to a branch back to it. Of several the shortest counts: around it are
    those of the epilogues and of programs that take several tiles.
    """
    labels: dict[str, int] = {}
    instructions: list[str] = []
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif instruction := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            instructions.append(instruction[1])
    loops = []
    for place, instruction in enumerate(instructions):
        branch = re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", instruction)
        if branch is None or labels.get(branch[1], place) >= place:
            continue
        body = instructions[labels[branch[1]] : place + 1]
        products = [each for each in body if "HGMMA" in each]
        if products:
            from_registers = sum(re.search(_FROM_REGISTERS, each) is not None for each in products)
            waits = sum(re.search(_WAITS, each) is not None for each in body)
            loops.append(Loop(len(body), len(products), from_registers, waits))
    return min(loops, key=lambda loop: loop.instructions, default=None)


def _cuobjdump(option: str, path: Path) -> str:
    return _tool("cuobjdump", option, path)


def _tool(name: str, option: str, path: Path) -> str:
    """What a tool of Triton's own says of a compiled kernel."""
    import triton.backends.nvidia

    tool = Path(triton.backends.nvidia.__file__).parent / "bin" / name
    done = subprocess.run(
        [str(tool), option, str(path)], check=True, capture_output=True, text=True
    )
    return done.stdout
