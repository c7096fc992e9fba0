"""Stride, padding and the rest of what a convolution is called with beside its tensors."""

from collections.abc import Sequence
from operator import index
from typing import Literal, NamedTuple, SupportsIndex

Pair = tuple[int, int]
# What torch's convolutions take: one number, or one for each direction.
Numbers = int | Sequence[int]
PaddingWord = Literal["same", "valid"]


class Geometry(NamedTuple):
    """How a convolution moves over the image; each pair for height and width.

    The default is the one geometry that this package is about; others are torch's.
    """

    stride: Pair = (2, 2)
    padding: Pair | PaddingWord = (1, 1)
    output_padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


DEFAULT = Geometry()
KERNEL = (4, 4)


def geometry(
    stride: Numbers = 2,
    padding: Numbers | PaddingWord = 1,
    output_padding: Numbers = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Geometry:
    """The geometry of a call, each number for both directions; the kinds of error are torch's.

    Raises:
        RuntimeError: an argument is out of range, or has numbers for more than two directions.
        TypeError: an argument is neither an integer nor a sequence of them.
    """
    return Geometry(
        _pair("stride", stride, 1),
        _padding(padding),
        _pair("output_padding", output_padding, 0),
        _pair("dilation", dilation, 1),
        _at_least("groups", groups, groups, 1),
    )


def _padding(padding: Numbers | PaddingWord) -> Pair | PaddingWord:
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(
                f"padding={padding!r}: expected one integer or two, 'same' or 'valid'"
            )
        return padding
    return _pair("padding", padding, 0)


def _pair(name: str, value: Numbers | str, least: int) -> Pair:
    if isinstance(value, str):  # as the activation was, that used to stand in this place
        raise TypeError(
            f"{name}={value!r}: expected integers. Arguments are in torch's order, others by name, "
            f"as activation={value!r}"
        )
    if isinstance(value, Sequence):
        if len(value) not in (1, 2):
            raise RuntimeError(f"{name}={value!r}: expected one integer or two")
        numbers = [_at_least(name, number, value, least) for number in value]
        return numbers[0], numbers[-1]
    number = _at_least(name, value, value, least)
    return number, number


def _at_least(name: str, number: object, given: object, least: int) -> int:
    """The number as Python's own: NumPy's and tensors of one element count as integers, too."""
    if isinstance(number, bool) or not isinstance(number, SupportsIndex):
        raise TypeError(f"{name}={given!r}: expected integers of at least {least}")
    found = index(number)
    if found < least:
        raise RuntimeError(f"{name}={given!r}: expected integers of at least {least}")
    return found
