"""When the products run on Triton: what it supports, and where it is known to be faster.

Imports no triton: the answers are needed before it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..dispatch import TritonImplementation
from . import launch
from .geometry import DEFAULT, KERNEL, Geometry
from .layout import conversions

SCOPE = (
    "kernel 4, stride 2, padding 1, without output_padding, dilation and groups; bf16, fp16, fp32 "
    "(tf32 as torch's convolutions) and fp64; derivatives of any order"
)
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def _load_conv_transpose() -> Callable[..., Any]:
    from .triton_functions import conv_transpose2d

    return conv_transpose2d


def _load_conv() -> Callable[..., Any]:
    from .triton_functions import conv2d

    return conv2d


def _load_weight_grad() -> Callable[..., Any]:
    from .triton_functions import conv_transpose2d_weight_grad

    return conv_transpose2d_weight_grad


def _supports(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, geometry: Geometry
) -> str | None:
    if weight.shape[2:] != KERNEL:
        return f"the kernel is {'×'.join(map(str, weight.shape[2:]))}"
    for name, given, wanted in zip(Geometry._fields, geometry, DEFAULT, strict=True):
        if given != wanted:
            return f"{name} is {given}"
    return obstacle(x, weight)


def _supports_weight_grad(x: Tensor, grad: Tensor) -> str | None:
    return obstacle(x, grad)


def obstacle(x: Tensor, other: Tensor) -> str | None:
    """Why Triton cannot compute a product of these operands, or None."""
    if torch._C._are_functorch_transforms_active():
        return "a transform of torch.func is active, and the Triton products have no rule for it"
    for tensor in (x, other):
        if tensor.dtype not in _DTYPES:
            return f"a tensor has dtype {tensor.dtype}"
        if tensor.shape[0] == 0 or tensor.shape[1] == 0:
            return f"a tensor of shape {list(tensor.shape)} is empty"
    return None


def _pays_conv_transpose(x: Tensor, weight: Tensor, *_: object) -> str | None:
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    return pays("spread", x, weight.shape[0], weight.shape[1], positions)


def _pays_conv(x: Tensor, weight: Tensor, *_: object) -> str | None:
    positions = x.shape[0] * (x.shape[2] // 2) * (x.shape[3] // 2)
    return pays("convolve", x, weight.shape[0], weight.shape[1], positions)


def _pays_weight_grad(x: Tensor, grad: Tensor) -> str | None:
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    return pays("weight_grad", x, x.shape[1], grad.shape[1], positions)


def pays(op: str, operand: Tensor, b: int, a: int, positions: int) -> str | None:
    """Why "auto" leaves a product to cuDNN, or None where the table says that Triton wins.

    Args:
        op: "spread", "convolve" or "weight_grad".
        operand: of the product: its device and dtype count, autocast's dtype where that is on.
        b: channels of the small image.
        a: channels of the large image.
        positions: N·h·w of the small image.
    """
    device = operand.device
    if device.type != "cuda":
        return f"the tensors are on {device.type}, where Triton only interprets"
    dtype = operand.dtype
    if torch.is_autocast_enabled("cuda") and dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cuda")
    precision, _ = launch.precision_of(dtype, device.type)
    return launch.loss(op, precision, b, a, positions, launch.architecture_of(device))


def standing(device: torch.device) -> str | None:
    """Why "auto" never takes Triton on a device, whatever the call, or None."""
    if device.type != "cuda":
        return None
    if (device.index or 0) >= torch.cuda.device_count():
        return f"PyTorch sees no {device}"
    architecture = launch.architecture_of(device)
    if any(entry.verified for entry in launch.table(architecture)):
        return None
    return (
        f"cuDNN, for no launch configuration for sm_{architecture} is verified yet: "
        "python -m kernels.tune measures them"
    )


def note() -> str:
    """What has happened to layouts in this process, for `explain`."""
    return f"NCHW tensors converted to channels_last so far: {conversions()}"


CONV_TRANSPOSE = TritonImplementation(
    _load_conv_transpose, SCOPE, _supports, _pays_conv_transpose, standing, note
)
CONV = TritonImplementation(_load_conv, SCOPE, _supports, _pays_conv, standing, note)
WEIGHT_GRAD = TritonImplementation(
    _load_weight_grad, SCOPE, _supports_weight_grad, _pays_weight_grad, standing, note
)
