"""Arguments of the functions: what they may be, and the shapes that the kernels take."""

import operator
from typing import SupportsIndex

import torch
from torch import Tensor

from ..private import shape_of
from .fixed_point import MOST_CATEGORIES

INTEGERS = (
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
)
SYMBOLS = (torch.uint8, torch.int16, torch.int32, torch.int64)
# Of samples: a kernel counts them in int32.
MOST_SAMPLES = 2**31 - 1


def integer(value: SupportsIndex, argument: str, expected: str = "an integer") -> int:
    """An argument as Python's integer: an int, or what `operator.index` makes one of.

    A bool is none. Symbolic integers of torch.compile stay as they are.

    Args:
        value: what was given. A tensor of one integer is read, which waits for a GPU.
        argument: its name, for messages.
        expected: what it may be, for messages.

    Raises:
        TypeError: it is no integer.
    """
    if isinstance(value, Tensor) and value.dtype not in INTEGERS:
        raise TypeError(f"{argument} has dtype {value.dtype}: expected {expected}")
    if isinstance(value, bool):
        raise TypeError(f"{argument} is a bool: expected {expected}")
    if isinstance(value, int | torch.SymInt):
        return value  # type: ignore[return-value]
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{argument} is a {type(value).__name__}: expected {expected}") from None


def count_of_samples(samples: SupportsIndex) -> int:
    """M, an integer as `integer` takes it.

    Raises:
        TypeError: it is no integer.
        ValueError: it is less than 1, or more than 2^31 − 1.
    """
    count = integer(samples, "samples")
    if count < 1:
        raise ValueError(f"samples={count}: expected at least 1")
    if count > MOST_SAMPLES:
        raise ValueError(f"samples={count}: expected at most {MOST_SAMPLES}")
    return count


def check_floating(tensor: Tensor, argument: str) -> None:
    """Raise TypeError, naming the argument, for what is no floating-point tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{argument} is a {type(tensor).__name__}: expected a tensor")
    if not tensor.is_floating_point():
        raise TypeError(
            f"{argument} has dtype {tensor.dtype}: expected float16, bfloat16, float32 or float64"
        )


def categorical(logits: Tensor, dim: SupportsIndex) -> tuple[Tensor, tuple[int, ...]]:
    """Logits of categoricals, their categories in dimension `dim`, as [B, P, V]; and positions….

    A view where possible.

    Raises:
        TypeError: logits that are not floating point, a `dim` that is no integer.
        ValueError: logits without a batch, `dim` out of range, or too few or many categories.
    """
    check_floating(logits, "logits")
    shape = shape_of(logits)
    if len(shape) < 2:
        raise ValueError(
            f"logits have shape {list(shape)}: expected [B, positions…, V], V categories"
        )
    axis = categories_axis(dim, shape)
    if not 1 <= shape[axis] <= MOST_CATEGORIES:
        raise ValueError(
            f"logits of shape {list(shape)} have {shape[axis]} categories in dimension "
            f"{dim}: expected 1 to {MOST_CATEGORIES}"
        )
    last = logits if axis == len(shape) - 1 else logits.movedim(axis, -1)
    # In this way and not by `reshape`: a trace then keeps no sizes.
    flat = last if len(shape) == 3 else last.unsqueeze(1).flatten(1, -2)
    return flat, last.shape[1:-1]


def categories_axis(dim: SupportsIndex, shape: tuple[int, ...]) -> int:
    """The dimension of the categories, counted from the first.

    Raises:
        TypeError: `dim` is no integer.
        ValueError: it is out of range, or the first, which is the batch.
    """
    rank = len(shape)
    axis = integer(dim, "dim")
    if not -rank <= axis < rank or axis % rank == 0:
        raise ValueError(
            f"dim={dim}: expected a dimension of logits of shape {list(shape)}, not the "
            "first, which is the batch"
        )
    return axis % rank


def bernoulli(logits: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Logits of Bernoullis as [B, P], a view where possible; and positions….

    Raises:
        TypeError: logits that are not floating point.
        ValueError: logits without a batch.
    """
    check_floating(logits, "logits")
    if logits.dim() == 0:
        raise ValueError("logits have shape []: expected [B, positions…]")
    flat = logits if logits.dim() == 2 else logits.unsqueeze(1).flatten(1)
    return flat, logits.shape[1:]


def check_symbols(symbols: Tensor, logits: Tensor, dim: SupportsIndex) -> int | None:
    """Look at the type, shape and device of given symbols, with logits that were looked at.

    Returns:
        The dimension of the logits' categories, or None: they are of Bernoullis.

    Raises:
        TypeError: symbols that are not integers.
        ValueError: shapes or devices that do not fit.
    """
    if not isinstance(symbols, Tensor) or symbols.dtype not in SYMBOLS:
        found = symbols.dtype if isinstance(symbols, Tensor) else type(symbols).__name__
        raise TypeError(f"symbols are {found}: expected uint8, int16, int32 or int64")
    of, found_shape = shape_of(logits), shape_of(symbols)
    if len(found_shape) == len(of) + 1:
        axis, expected = None, tuple(of)
    elif len(found_shape) == len(of) > 1:
        axis = categories_axis(dim, of)
        expected = (*of[:axis], *of[axis + 1 :])
    else:
        raise ValueError(
            f"symbols have shape {list(found_shape)} and logits {list(of)}: expected "
            "[M, B, positions…] with logits [B, positions…] or [B, positions…, V]"
        )
    if tuple(found_shape[1:]) != expected or found_shape[0] < 1:
        raise ValueError(
            f"symbols have shape {list(found_shape)}: with these logits expected "
            f"[M, {', '.join(map(str, expected))}], M ≥ 1"
        )
    if symbols.device != logits.device:
        raise ValueError(f"symbols are on {symbols.device} and logits on {logits.device}")
    return axis
