"""A kernel that reads a buffer again and again, past L1: what L2 gives when all read from it."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
WARPS = 8


@triton.jit
def read_kernel(source, sums, blocks, reads, BLOCK: tl.constexpr):
    """The sum of `reads` blocks of `source`, from the program's own on, around its end."""
    program = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.int32)
    for i in range(reads):
        block = (program + i) % blocks
        total += tl.load(source + block * BLOCK + offsets, cache_modifier=".cg")
    tl.store(sums + program, tl.sum(total, 0))


def read(source: Tensor, programs: int, reads: int) -> Tensor:
    """What each program sums, int32 `[programs]`: `reads` blocks, from its own on.

    Args:
        source: int32, a multiple of `BLOCK` elements.
        programs: that read at once.
        reads: blocks that each of them reads.
    """
    sums = torch.empty(programs, dtype=torch.int32, device=source.device)
    blocks = source.numel() // BLOCK
    read_kernel[(programs,)](source, sums, blocks, reads, BLOCK=BLOCK, num_warps=WARPS)
    return sums


def expected(source: Tensor, programs: int, reads: int) -> Tensor:
    """The same by PyTorch."""
    each = source.view(-1, BLOCK).sum(1, dtype=torch.int64)  # a sum a block
    index = torch.arange(programs, device=source.device)[:, None]
    index = (index + torch.arange(reads, device=source.device)) % len(each)
    return each[index].sum(1).to(torch.int32)
