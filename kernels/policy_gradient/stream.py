"""Counter-based random numbers: Philox 4x32-10, Salmon et al. 2011, as Triton's `tl.philox`.

The random bits of one symbol depend on (seed, offset, row, position, sample) and nothing else:
not on how many rows, positions or samples there are, nor on who computes them. Key: the 64 bits
of the seed. Counter: (position, row, ⌊sample/4⌋, offset); the four words are those of samples
4g … 4g+3.
"""

import functools
import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, SupportsIndex

import torch
from torch import Tensor

from ..private import shape_of
from .arguments import INTEGERS, integer
from .ways import way_of

# A tensor, or a numpy array.
Array = Any

WORDS = 4
OFFSETS = 2**32
BUFFERS = 6
_ROUNDS = 10
# After so many every word depends on all of position, row and group.
_ROUNDS_TO_MIX = 3
_ROUND_A, _ROUND_B = 0xD2511F53, 0xCD9E8D57
_KEY_A, _KEY_B = 0x9E3779B9, 0xBB67AE85
_MASK = 0xFFFFFFFF


class Stream(NamedTuple):
    """Which random numbers a call draws.

    Attributes:
        seed: 64 bits: an int, −2^63 ≤ seed < 2^64, or an int64 tensor of one number on the logits'
            device.
        offset: what tells calls with the same seed apart: an int, 0 ≤ offset < 2^32, or an int64
            tensor of one number there, taken modulo 2^32.
    """

    seed: int | Tensor
    offset: int | Tensor


def check_stream(
    seed: SupportsIndex | Tensor, offset: SupportsIndex | Tensor, device: torch.device
) -> Stream:
    """The stream of a seed and an offset, for logits on a device.

    Args:
        seed: an integer, or a tensor of one integer on the CPU or the device.
        offset: likewise.
        device: the logits'.

    Raises:
        TypeError: an argument is neither an integer nor a tensor of integers.
        ValueError: it is out of range, has another shape than () or [1], or is elsewhere.
    """
    return Stream(
        _number(seed, "seed", -(2**63), 2**64, device),
        _number(offset, "offset", 0, OFFSETS, device),
    )


def draw_seed(generator: torch.Generator, device: torch.device) -> int | Tensor:
    """A seed, as which the generator's next 64 bits serve, for logits on a device.

    Args:
        generator: on the CPU, or on the device: then nothing waits for it, and the seed is a
            tensor.
        device: the logits'.

    Raises:
        TypeError: the generator is none.
        ValueError: it is elsewhere.
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator is a {type(generator).__name__}: expected a torch.Generator")
    on = generator.device
    if on.type != "cpu" and on != device:
        raise ValueError(
            f"generator is on {on} and logits are on {device}: expected it on the CPU or there"
        )
    seed = torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64, generator=generator, device=on)
    if way_of(seed) != "eager":
        return seed.to(device)
    return int(seed) if on.type == "cpu" else seed


def _number(
    value: SupportsIndex | Tensor, argument: str, least: int, below: int, device: torch.device
) -> int | Tensor:
    """A seed or an offset, of the two kinds that a stream has."""
    expected = "an integer or a tensor of one integer"
    if not isinstance(value, Tensor):
        number = integer(value, argument, expected)
        if not least <= number < below:
            raise ValueError(f"{argument}={number}: expected {least} ≤ {argument} < {below}")
        return number
    if value.dtype not in INTEGERS:
        raise TypeError(f"{argument} has dtype {value.dtype}: expected {expected}")
    if math.prod(shape_of(value)) != 1:
        raise ValueError(
            f"{argument} has shape {list(value.shape)}: expected one number, of shape []"
        )
    if value.device == device:
        return value.to(torch.int64)
    if value.device.type != "cpu":
        raise ValueError(
            f"{argument} is on {value.device} and logits are on {device}: expected it on the CPU "
            "or there"
        )
    if way_of(value) != "eager":
        return value.to(device, torch.int64)
    return int(value) % below  # read without waiting


def words(
    position: Tensor,
    row: Tensor,
    group: Tensor,
    stream: Stream,
    scratch: Tensor | None = None,
    factor: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four words of 32 random bits for every combination of position, row and group.

    Args:
        position: int64, as the next two of shapes that broadcast against each other: while a
            number depends on some of them only, it is computed for those only.
        row: int64.
        group: ⌊sample/4⌋, int64.
        stream: seed and offset.
        scratch: [BUFFERS, …], int64, of the broadcast shape each; overwritten, and what is
            returned lies in the first four. Fresh memory has to be mapped: that costs as much as
            the numbers.
        factor: what each word is multiplied by, int64, of a shape that broadcasts to theirs.

    Returns:
        Four int64 tensors of the broadcast shape, 0 ≤ word < 2^32, times `factor`.
    """
    if scratch is None:
        shape = torch.broadcast_shapes(position.shape, row.shape, group.shape)
        scratch = position.new_empty((BUFFERS, *shape))
    counters = [position, row, group]
    if position.device.type == "cpu" and _numpy_installed():
        import numpy as np

        number = int(stream.seed)
        # An array: numpy does not watch those for overflow.
        last = np.array([int(stream.offset) % OFFSETS])
        w0, w1, w2, w3 = (
            torch.from_numpy(each)
            for each in _philox(
                [*(each.numpy() for each in counters), last],
                (number & _MASK, (number >> 32) & _MASK),
                [each.numpy() for each in scratch],
                None if factor is None else factor.numpy(),
                (np.multiply, np.right_shift, np.bitwise_xor, np.bitwise_and),
            )
        )
        return w0, w1, w2, w3
    seed, offset = (
        each.reshape(()) if isinstance(each, Tensor) else position.new_full((), _as_int64(each))
        for each in stream
    )
    return _philox(
        [*counters, offset],
        (seed & _MASK, (seed >> 32) & _MASK),
        scratch.unbind(0),
        factor,
        (torch.mul, torch.bitwise_right_shift, torch.bitwise_xor, torch.bitwise_and),
    )


def words_of_plain_operators(
    position: Tensor, row: Tensor, group: Tensor, stream: Stream
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`words` in fresh memory by torch's operators alone, for transforms and traces."""
    seed, offset = (
        each.reshape(()) if isinstance(each, Tensor) else _as_int64(each) for each in stream
    )
    return _philox(
        (position, row, group, offset),
        (seed & _MASK, (seed >> 32) & _MASK),
        (None,) * BUFFERS,
        None,
        (
            lambda a, b, out: a * b,
            lambda a, b, out: a >> b,
            lambda a, b, out: a ^ b,
            lambda a, b, out: a & b,
        ),
    )


def _philox(
    counter: Sequence[Array],
    key: Sequence[Array | int],
    buffers: Sequence[Array],
    factor: Array | None,
    operations: Sequence[Callable[..., Array]],
) -> tuple[Array, Array, Array, Array]:
    """Ten rounds, of int64 tensors or of numpy's int64 arrays: on a CPU those take half the time.

    `operations` return their result, in `out` where that is memory. c1 and c3 are products of 64
    bits whose low halves count: what they go into is masked.
    """
    multiply, shift, xor, mask = operations
    (c0, c1, c2, c3), (k0, k1) = counter, key
    # Products go to two buffers, and the next ones to two others: the last ones to the first two,
    # as the rounds in buffers are odd in number.
    b0, b1, b2, b3, b4, b5 = buffers
    for rounds in range(_ROUNDS):
        if rounds < _ROUNDS_TO_MIX:
            p0, p1 = c0 * _ROUND_A, c2 * _ROUND_B
            c0, c2 = ((p1 >> 32) ^ c1 ^ k0) & _MASK, ((p0 >> 32) ^ c3 ^ k1) & _MASK
        else:
            p0, p1 = multiply(c0, _ROUND_A, out=b0), multiply(c2, _ROUND_B, out=b1)
            c0 = mask(xor(xor(shift(p1, 32, out=b2), c1, out=b2), k0, out=b2), _MASK, out=b2)
            c2 = mask(xor(xor(shift(p0, 32, out=b3), c3, out=b3), k1, out=b3), _MASK, out=b3)
            b0, b1, b4, b5 = b4, b5, b0, b1
        c1, c3 = p1, p0
        k0, k1 = (k0 + _KEY_A) & _MASK, (k1 + _KEY_B) & _MASK
    w0, w1, w2, w3 = c0, mask(c1, _MASK, out=c1), c2, mask(c3, _MASK, out=c3)
    if factor is None:
        return w0, w1, w2, w3
    return (
        multiply(w0, factor, out=w0),
        multiply(w1, factor, out=w1),
        multiply(w2, factor, out=w2),
        multiply(w3, factor, out=w3),
    )


@functools.cache
def _numpy_installed() -> bool:
    return importlib.util.find_spec("numpy") is not None


def _as_int64(number: int) -> int:
    """The signed integer with the same 64 bits."""
    return number - 2**64 if number >= 2**63 else number


def device_scalars(stream: Stream) -> tuple[Tensor | None, Tensor | None, int, int, int]:
    """The stream as a kernel takes it: seed and offset as tensors or None, and as int32.

    Returns:
        The seed's and the offset's tensor, None where they are ints; low and high half of an
        int seed and an int offset as signed 32-bit numbers, 0 where they are tensors. Always of
        one width, so that no value needs a kernel of its own.
    """
    seed, offset = stream
    low = high = at = 0
    if not isinstance(seed, Tensor):
        low, high = _signed(seed & _MASK), _signed((seed >> 32) & _MASK)
    if not isinstance(offset, Tensor):
        at = _signed(offset)
    return (
        seed if isinstance(seed, Tensor) else None,
        offset if isinstance(offset, Tensor) else None,
        low,
        high,
        at,
    )


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number
