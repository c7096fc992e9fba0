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


def in_layout(result: Tensor, *operands: Tensor | None) -> Tensor:
    """A product's result as torch's convolutions give it: in channels_last if an operand is in it.

    Differentiable; copies where a result in channels_last comes of contiguous operands.
    """
    if result.is_contiguous() or any(
        operand is not None and _only_channels_last(operand) for operand in operands
    ):
        return result
    return result.contiguous()


def empty_in_layout(shape: tuple[int, int, int, int], like: Tensor, *operands: Tensor) -> Tensor:
    """An uninitialised tensor in the layout that `in_layout` gives, dtype and device of `like`."""
    last = any(map(_only_channels_last, (like, *operands)))
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def _only_channels_last(tensor: Tensor) -> bool:
    """Whether a tensor is in channels_last; with one channel or position it is contiguous, too."""
    return (
        tensor.dim() == 4
        and tensor.is_contiguous(memory_format=torch.channels_last)
        and not tensor.is_contiguous()
    )


def conversions() -> int:
    """How many tensors this process has converted for the Triton products."""
    return _conversions
