"""Launches of a block and of a generator, fused and as `nn.Sequential`: counted, not timed.

    python -m benchmarks.conv_transpose_launches [--batch 64]

Needs no GPU: shapes are those of DCGAN for 64 pixels in bf16, layers in training, and nothing is
computed. Of the fused side every launch of a Triton kernel counts, and every operator of torch
beside them. Of `nn.Sequential` every operator of torch counts as one launch, and a convolution's
backward as one for each gradient; views and allocations count as none. For many of these torch
launches more than one, for batch normalisation and to convert layouts: its side is the least that
there can be. Of either side, those are told apart that pass over images; the others work on numbers
per channel or on weights.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.conv_transpose import LAYERS, our_block, problems, textbook_block
from benchmarks.report import RESULTS, print_table, write_csv
from kernels import ConvBlock, use_impl

CL = torch.channels_last
# What reads numbers per channel or weights, and no image.
SMALL = (
    "add_",  # of the number of batches
    "_to_copy",  # of gradients of the normalisation's parameters to their dtype
    "coefficients_kernel",
    "combine_statistics_kernel",
    "merge_sums_kernel",
    "sum_splits_kernel",
)


class Operators(TorchDispatchMode):
    """Counts the operators of torch that launch a kernel each, or more."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count the operator, and have it computed."""
        name = func.overloadpacket.__name__
        views = any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns)
        if name == "convolution_backward":
            self.counts[name] += sum(args[-1])  # which gradients are asked for
        elif not views and not name.startswith(("empty", "new_empty")):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def kernels_counted(counts: Counter[str]) -> Iterator[None]:
    """Count launches of Triton kernels inside the `with` block, and launch none of them."""
    from triton.runtime.interpreter import GridExecutor

    def count(executor: Any, *args: Any, **kwargs: Any) -> None:
        counts[executor.fn.__name__] += 1

    # Where a mode takes operators the layers show it whole products, and run no kernel of their
    # own choice. `Operators` is a mode too, and what it counts is what runs without it.
    unseen = mock.patch.object(torch._C, "_len_torch_dispatch_stack", return_value=0)
    with mock.patch.object(GridExecutor, "__call__", count), unseen:
        yield


def counted(module: nn.Module, shape: tuple[int, ...], fused: bool) -> tuple[Counter[str], ...]:
    """Launches of a forward and of its backward, by name."""
    # The kernels want tensors with memory, though nothing is in it; torch's operators want none.
    device = torch.device("cpu" if fused else "meta")
    module = module.to_empty(device=device).to(torch.bfloat16, memory_format=CL)  # type: ignore[call-overload]
    x = torch.empty(shape, dtype=torch.bfloat16, device=device).contiguous(memory_format=CL)
    x.requires_grad_(x.shape[2] > 1)  # a generator's latent vectors need no gradient
    wanted = [t for t in (x, *module.parameters()) if t.requires_grad]
    forward, backward = Counter[str](), Counter[str]()
    with use_impl("triton" if fused else "torch"):
        with kernels_counted(forward), Operators(forward):
            y = module(x)
        g = torch.empty_like(y)
        with kernels_counted(backward), Operators(backward):
            torch.autograd.grad(y, wanted, g)
    return forward, backward


def pairs(batch: int) -> Iterator[tuple[str, tuple[int, ...], nn.Module, nn.Module]]:
    """What is compared: its name, the shape of its input, ours and torch's."""
    for b, a, size in (LAYERS[1], LAYERS[-1]):
        shape = (batch, b, size, size)
        theirs = nn.Sequential(*textbook_block(b, a))
        yield f"transposed {b}→{a} at {size}", shape, our_block(b, a), theirs
    a, b, size = 64, 128, 32
    down = ConvBlock(a, b, norm="batch")
    yield f"convolution {a}→{b} at {size}", (batch, a, size, size), down, nn.Sequential(*down)
    for problem in problems(["generator"], batch):
        yield f"generator {problem.name}", problem.shape, problem.ours, problem.theirs


def rows(batch: int) -> list[dict[str, object]]:
    """One row a comparison and direction."""
    found: list[dict[str, object]] = []
    for name, shape, ours, theirs in pairs(batch):
        theirs_counts = counted(theirs, shape, fused=False)
        for direction, mine, torchs in zip(
            ("forward", "backward"), counted(ours, shape, fused=True), theirs_counts, strict=True
        ):
            found.append(
                {
                    "what": name,
                    "direction": direction,
                    "fused": mine.total(),
                    "over_images": _over_images(mine),
                    "sequential": torchs.total(),
                    "sequential_over_images": _over_images(torchs),
                    "kernels": ", ".join(f"{key} {n}" for key, n in sorted(mine.items())),
                    "operators": ", ".join(f"{key} {n}" for key, n in sorted(torchs.items())),
                }
            )
    return found


def _over_images(counts: Counter[str]) -> int:
    return sum(count for name, count in counts.items() if name not in SMALL)


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.conv_transpose_launches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args(arguments)
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are first imported
    found = rows(options.batch)
    print_table([dict(list(row.items())[:6]) for row in found])
    write_csv(RESULTS / "conv_transpose_launches.csv", found)


if __name__ == "__main__":
    main()
