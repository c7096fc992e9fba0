"""Pickles of plain values and arrays of bytes, read by a reader that can build nothing else.

CIFAR's python version is pickles. Loading one as it is runs whatever its author wrote. Here every
instruction is looked at first, and those that are not needed are refused; names stand for stand-ins
of ours, so that not even NumPy's own constructors are called by the file.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gan.errors import DataError, reading, shown

EXPECTED = "a pickle of plain values and arrays of bytes"
# What Python 2 and 3 write of dictionaries, lists, tuples, texts, bytes, numbers and arrays.
INSTRUCTIONS: Final = frozenset(
    {
        *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BININT", "BININT1", "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    }
)
MAX_AXES = 4
MAX_DEPTH = 8


def load_pickle(content: bytes, name: str) -> Any:
    """The value in `content`: dict, list, tuple, bytes, str, int, bool, None, and uint8 arrays.

    Texts of Python 2 are bytes.

    Args:
        content: the pickle.
        name: of the file, for messages.

    Raises:
        DataError: it is damaged, or has anything else in it; names what.
    """
    with reading(name, EXPECTED):
        _check_instructions(content, name)
        try:
            value = _Reader(io.BytesIO(content), encoding="bytes").load()
            return _Finisher(len(content)).finish(value)
        except pickle.UnpicklingError as error:
            raise DataError(f"{shown(name)} is refused: {shown(str(error))}") from None


def _check_instructions(content: bytes, name: str) -> None:
    places = 0
    for instruction, argument, _ in pickletools.genops(content):
        if instruction.name not in INSTRUCTIONS:
            raise DataError(
                f"{shown(name)} is refused: it has the instruction {instruction.name}, expected "
                f"{EXPECTED}"
            )
        if "PUT" in instruction.name:
            # The unpickler makes room for every place below the highest.
            places += 1
            if not 0 <= int(argument or 0) <= 2 * places + 1000:
                raise DataError(f"{shown(name)} is refused: it numbers its parts beyond sense")


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Stand-ins for the names that an array of bytes needs."""
        part = module.replace("numpy._core", "numpy.core")
        found = _NAMES.get((part, name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not loaded")
        return found()


class _Name:
    """What stands for a callable; `BUILD`, which could change one, is refused."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes what it calls")


class _ArrayType(_Name):
    """Of `numpy.ndarray`, which is passed on and not called."""

    __slots__ = ()


class _Reconstruct(_Name):
    __slots__ = ()

    def __call__(self, *arguments: object) -> _Array:
        return _Array()


class _DataTypeType(_Name):
    __slots__ = ()

    def __call__(self, code: object, *arguments: object) -> _DataType:
        if code not in ("u1", b"u1", "uint8", b"uint8", "|u1", b"|u1"):
            raise pickle.UnpicklingError(f"it has an array of {shown(code)}, expected uint8")
        return _DataType()


class _Encode(_Name):
    """Of `_codecs.encode`, by which Python 3 writes bytes for Python 2."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError("it encodes something else than bytes")
        return text.encode("latin-1")


class _FromBuffer(_Name):
    """Of `numpy.core.numeric._frombuffer`, by which newer NumPy writes arrays."""

    __slots__ = ()

    def __call__(self, content: object, kind: object, shape: object, order: object) -> _Array:
        array = _Array()
        array.__setstate__((1, shape, kind, order != "C", content))
        return array


class _DataType:
    """A dtype, of bytes."""

    def __setstate__(self, state: object) -> None:
        # Of byte order, alignment and the like, which bytes do not have.
        return


class _Array:
    """An array while it is read."""

    def __init__(self) -> None:
        self.values: npt.NDArray[np.uint8] | None = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (
                _,
                tuple() as shape,
                _DataType(),
                fortran_order,
                bytes() | bytearray() as content,
            ):
                pass
            case _:
                raise pickle.UnpicklingError("it has an array of another form")
        lengths = [length for length in shape if type(length) is int and 0 <= length <= 1 << 31]
        if len(lengths) < len(shape) or len(shape) > MAX_AXES:
            raise pickle.UnpicklingError(f"it has an array of the shape {shown(shape)}")
        if math.prod(lengths) != len(content):
            raise pickle.UnpicklingError(
                f"it has an array of the shape {shown(shape)} and {len(content)} bytes"
            )
        values = np.frombuffer(content, np.uint8)
        self.values = values.reshape(lengths, order="F" if fortran_order else "C")


_NAMES: Final[dict[tuple[str, str], type[_Name]]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _DataTypeType,
    ("_codecs", "encode"): _Encode,
}


class _Finisher:
    """Puts arrays in the place of what stood for them."""

    def __init__(self, parts: int) -> None:
        # No value of the format has more parts than bytes; lists that hold one list many times,
        # level by level, have more than can be counted.
        self._left = parts

    def finish(self, value: object, depth: int = 0) -> Any:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise pickle.UnpicklingError("it is nested deeper than plain data are")
        match value:
            case _Array():
                if value.values is None:
                    raise pickle.UnpicklingError("it has an array without content")
                return value.values
            case dict():
                return {
                    self.finish(key, depth + 1): self.finish(each, depth + 1)
                    for key, each in value.items()
                }
            case list():
                return [self.finish(each, depth + 1) for each in value]
            case tuple():
                return tuple(self.finish(each, depth + 1) for each in value)
            case None | bool() | int() | str() | bytes():
                return value
            case _:
                raise pickle.UnpicklingError(f"it has a {type(value).__name__}")
