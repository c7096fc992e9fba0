"""channels_last: making tensors in it, and how often a tensor had to be brought into it."""

import torch
from torch import Tensor

_conversions = 0


def channels_last(tensor: Tensor) -> Tensor:
    """The tensor in channels_last, itself where it is; a conversion is counted.

    Differentiable. [N, C, H, W] in, the same out.
    """
    if tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor
    if not torch.compiler.is_compiling():  # a traced counter would recompile at every call
        global _conversions
        _conversions += 1
    return tensor.contiguous(memory_format=torch.channels_last)


def empty_channels_last(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor in channels_last, of the dtype and on the device of `like`."""
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def conversions() -> int:
    """How many tensors this process has converted for the Triton products."""
    return _conversions
