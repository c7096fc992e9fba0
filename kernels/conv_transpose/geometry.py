"""Stride, padding and the rest of what a convolution is called with beside its tensors."""

from typing import NamedTuple

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How a convolution moves over the image; each pair for height and width.

    The default is the one geometry that this package is about; others are torch's.
    """

    stride: Pair = (2, 2)
    padding: Pair = (1, 1)
    output_padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


DEFAULT = Geometry()
KERNEL = (4, 4)


def geometry(
    stride: int | Pair = 2,
    padding: int | Pair = 1,
    output_padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Geometry:
    """The geometry of a call, each number for both directions.

    Raises:
        ValueError: an argument is neither an integer nor a pair of them, or out of range.
    """
    return Geometry(
        _pair("stride", stride, 1),
        _pair("padding", padding, 0),
        _pair("output_padding", output_padding, 0),
        _pair("dilation", dilation, 1),
        _at_least("groups", groups, 1),
    )


def _pair(name: str, value: int | Pair, least: int) -> Pair:
    if isinstance(value, int):
        return (_at_least(name, value, least),) * 2
    try:
        height, width = value
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r}: expected an integer or two") from error
    return _at_least(name, height, least), _at_least(name, width, least)


def _at_least(name: str, value: int, least: int) -> int:
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}: expected integers of at least {least}")
    return value
