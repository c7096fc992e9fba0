"""The k4 s2 p1 products as they are launched, for every configuration of the tables.

What a kernel is launched with is recorded from the launch itself, with tensors of the smallest
size: what is compiled here cannot drift from what runs.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple
from unittest import mock

import torch
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from benchmarks.offline import ARCHITECTURES, Case
from kernels.conv_transpose import tiles
from kernels.conv_transpose.definitions.products import Prologue
from kernels.conv_transpose.launch import boxes as on_boxes
from kernels.conv_transpose.launch import products as launch
from kernels.tune import LAYERS

_POINTERS = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
}
_DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "tf32": torch.float32,
    "fp32": torch.float32,
}
_KERNELS = {
    launch: (
        "dgrad_kernel",
        "dgrad_packed_kernel",
        "fprop_kernel",
        "wgrad_kernel",
        "sum_splits_kernel",
        "combine_statistics_kernel",
    ),
    on_boxes: ("dgrad_boxes_kernel", "fprop_boxes_kernel", "wgrad_boxes_kernel"),
}
# Of the small image, by channels: a box is as wide as the image. Pointers do not care.
_SIDES = {(b, a): side for b, a, side in LAYERS}
# What can be asked of a product: (bias and activation, statistics, prologue).
EPILOGUES = {
    "plain": (None, False, False),
    "bias tanh": ("tanh", False, False),
    "statistics": (None, True, False),
    "prologue statistics": (None, True, True),
}


def cases() -> list[Case]:
    """Every configuration of every table, for its architecture, with every epilogue."""
    found: dict[str, Case] = {}
    for architecture in ARCHITECTURES:
        for entry in tiles.table(architecture):
            product = (entry.op, entry.precision, entry.b, entry.a)
            configs = [entry.config]
            if entry.config.tma:  # and what takes over where there are no boxes
                configs.append(tiles.rule(*product, entry.positions, architecture, tma=False))
            for config, name in itertools.product(configs, EPILOGUES):
                if entry.op == "wgrad" and name not in ("plain", "prologue statistics"):
                    continue
                if config.tma and name == "prologue statistics":
                    continue
                for case in recorded(*product, config, epilogue=name):
                    held = found[case.name].architectures if case.name in found else ()
                    found[case.name] = replace(
                        case, architectures=tuple(dict.fromkeys((*held, architecture)))
                    )
    return [*found.values(), *_small()]


def recorded(
    op: str,
    precision: str,
    b: int,
    a: int,
    config: tiles.TileConfig,
    *,
    epilogue: str = "plain",
) -> Iterator[Case]:
    """The launches of one product, as cases.

    Args:
        op: "dgrad", "fprop" or "wgrad".
        precision: "bf16", "fp16", "tf32" or "fp32".
        b: channels of the small image.
        a: channels of the large image.
        config: the configuration.
        epilogue: a key of `EPILOGUES`.
    """
    dtype = _DTYPES[precision]
    activation, statistics, with_prologue = EPILOGUES[epilogue]
    side = _SIDES.get((b, a), 8) if config.tma else 2
    y, x = _image(1, b, side, side, dtype), _image(1, a, 2 * side, 2 * side, dtype)
    weight = _image(b, a, 4, 4, dtype)
    bias = {c: torch.empty(c, dtype=dtype) for c in (a, b)}
    prologue = {c: Prologue(torch.empty(c), torch.empty(c), "relu") for c in (a, b)}
    launches: list[_Launch] = []
    with ExitStack() as patches:
        for module, name in (
            (module, name) for module, names in _KERNELS.items() for name in names
        ):
            recorder = _Recorder(getattr(module, name), launches)
            patches.enter_context(mock.patch.object(module, name, recorder))
        if precision == "tf32":
            patches.enter_context(
                mock.patch.object(tiles, "precision_of", return_value=("tf32", "tf32"))
            )
        if op == "wgrad":
            chosen = prologue if with_prologue else {}
            launch.wgrad(x, y, x_prologue=chosen.get(a), y_prologue=chosen.get(b), config=config)
        else:
            product = getattr(launch, op)
            operand, inside, outside = (y, b, a) if op == "dgrad" else (x, a, b)
            product(
                operand,
                weight,
                bias[outside] if activation is not None else None,
                activation,
                statistics=statistics,
                prologue=prologue[inside] if with_prologue else None,
                config=config,
            )
    for found in launches:
        if found.kernel is launch.combine_statistics_kernel:
            continue  # the same for every product: `_small`
        yield _case(f"{op} {precision} {b}<>{a}", epilogue, found, precision != "fp32")


def _small() -> Iterator[Case]:
    """The second stages: sums of splits, and statistics of tiles made one."""
    dtype, channels = "*fp32", 256
    yield Case(
        name="sum of splits",
        kernel=launch.sum_splits_kernel,
        signature={"parts": dtype, "out": "*bf16", "elements": "i32", "splits": "i32"},
        constants={"BLOCK": launch.SUMMED_AT_ONCE},
        divisible=("parts", "out"),
    )
    pointers = ("counts", "means", "m2s", "out_counts", "out_means", "out_m2s")
    yield Case(
        name="combined statistics",
        kernel=launch.combine_statistics_kernel,
        signature={**dict.fromkeys(pointers, dtype), "rows": "i32", "per_split": "i32"},
        constants={
            "C": channels,
            "BLOCK_R": launch.STATISTICS_BLOCK.rows,
            "BLOCK_C": launch.STATISTICS_BLOCK.columns,
        },
        divisible=pointers,
    )


def _image(n: int, c: int, h: int, w: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(n, c, h, w, dtype=dtype, memory_format=torch.channels_last)


class _Launch(NamedTuple):
    kernel: Any
    arguments: dict[str, Any]
    warps: int
    stages: int


class _Recorder:
    """Stands in for a kernel and keeps what it is launched with."""

    def __init__(self, kernel: Any, launches: list[_Launch]) -> None:
        self.kernel = kernel
        self.launches = launches

    def __getitem__(self, grid: tuple[int, ...]) -> _Recorder:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        options = {k: v for k, v in kwargs.items() if k not in ("num_warps", "num_stages")}
        bound = inspect.signature(self.kernel.fn).bind(*args, **options)
        # The second stages are launched with Triton's own numbers.
        warps, stages = kwargs.get("num_warps", 4), kwargs.get("num_stages", 3)
        self.launches.append(_Launch(self.kernel, dict(bound.arguments), warps, stages))


_TILE = ("BLOCK_M", "BLOCK_N", "BLOCK_K")


def _described(view: TensorDescriptor) -> str:
    """The type of a view for TMA, as Triton spells it."""
    element = _POINTERS[view.base.dtype].removeprefix("*")
    return f"tensordesc<{element}{list(view.block_shape)}>"


def _case(product: str, epilogue: str, launched: _Launch, tensor_cores: bool) -> Case:
    kernel, arguments, warps, stages = launched
    parameters = inspect.signature(kernel.fn).parameters.values()
    constant = {each.name for each in parameters if each.annotation is tl.constexpr}
    pointers = {k: v for k, v in arguments.items() if isinstance(v, torch.Tensor)}
    views = {k: v for k, v in arguments.items() if isinstance(v, TensorDescriptor)}
    numbers = {k for k, v in arguments.items() if k not in constant and isinstance(v, int)}
    signature = {
        **{k: _POINTERS[v.dtype] for k, v in pointers.items()},
        **{k: _described(v) for k, v in views.items()},
        **dict.fromkeys(numbers, "i32"),  # never specialised
    }
    tile = "x".join(str(arguments[each]) for each in _TILE if each in arguments)
    loop = "" if arguments.get("NESTED", True) else " flat"
    if views:
        box = "x".join(str(arguments[extent]) for extent in ("TN", "TH", "TW"))
        loop = f" in boxes of {box}"
    return Case(
        name=f"{product} {tile}{loop} w{warps} s{stages} {epilogue}",
        kernel=kernel,
        signature=signature,
        constants={k: v for k, v in arguments.items() if k not in signature},
        divisible=tuple(pointers),
        num_warps=warps,
        num_stages=stages,
        tensor_cores=tensor_cores,
    )
