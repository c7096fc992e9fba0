"""Counter-based random numbers: Philox 4x32-10, Salmon et al. 2011, as Triton's `tl.philox`.

The random bits of one symbol depend on (seed, offset, row, position, sample) and nothing else:
not on how many rows, positions or samples there are, nor on who computes them. Key: the 64 bits
of the seed. Counter: (position, row, ⌊sample/4⌋, offset); the four words are those of samples
4g … 4g+3.
"""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
        seed: 64 bits: an int, −2^63 ≤ seed < 2^64, or a 0-d int64 tensor on the logits' device.
        offset: what tells calls with the same seed apart: an int, 0 ≤ offset < 2^32, or a 0-d
            int64 tensor there, taken modulo 2^32.
    """

    seed: int | Tensor
    offset: int | Tensor


def check_stream(seed: int | Tensor, offset: int | Tensor, device: torch.device) -> Stream:
    """The stream, if it is one.

    Raises:
        TypeError: an argument is neither an int nor an integer tensor.
        ValueError: it is out of range, has another shape than () or [1], or is elsewhere.
    """
    for name, value, least, below in (
        ("seed", seed, -(2**63), 2**64),
        ("offset", offset, 0, OFFSETS),
    ):
        if isinstance(value, Tensor):
            if value.dtype != torch.int64:
                raise TypeError(f"{name} has dtype {value.dtype}: a tensor of it must be int64")
            if value.numel() != 1:
                raise ValueError(
                    f"{name} has shape {list(value.shape)}: expected one number, of shape []"
                )
            if value.device != device:
                raise ValueError(f"{name} is on {value.device} and logits are on {device}")
        elif isinstance(value, bool) or not isinstance(value, int | torch.SymInt):
            raise TypeError(
                f"{name} is a {type(value).__name__}: expected an int or an int64 tensor"
            )
        elif not least <= value < below:
            raise ValueError(f"{name}={value}: expected {least} ≤ {name} < {below}")
    return Stream(seed, offset)


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


def _philox(
    counter: Sequence[Array],
    key: Sequence[Array | int],
    buffers: Sequence[Array],
    factor: Array | None,
    operations: Sequence[Callable[..., Array]],
) -> tuple[Array, Array, Array, Array]:
    """Ten rounds, of int64 tensors or of numpy's int64 arrays: on a CPU those take half the time.

    c1 and c3 are products of 64 bits whose low halves count: what they go into is masked.
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
            c0, c2 = shift(p1, 32, out=b2), shift(p0, 32, out=b3)
            for half, other, k in ((c0, c1, k0), (c2, c3, k1)):
                mask(xor(xor(half, other, out=half), k, out=half), _MASK, out=half)
            b0, b1, b4, b5 = b4, b5, b0, b1
        c1, c3 = p1, p0
        k0, k1 = (k0 + _KEY_A) & _MASK, (k1 + _KEY_B) & _MASK
    drawn = c0, mask(c1, _MASK, out=c1), c2, mask(c3, _MASK, out=c3)
    if factor is not None:
        for each in drawn:
            multiply(each, factor, out=each)
    return drawn


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
