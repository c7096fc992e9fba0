"""What symbols mean: colours of pixels, characters of text, or names of classes.

Discrete data is stored as symbols, numbers below the size of its alphabet: uint8 as far as a byte
goes, uint16 for alphabets of more, which only characters make (`symbol_dtype`). PyTorch can do
little with uint16; tensors of such symbols are int32, and `symbol_tensor` and `symbol_array` are
the border. The alphabet says
what each one stands for, and stands in the manifest of the data and in the file of a generator.
There are three, `Colours`, `Characters` and `ClassNames`; `Alphabet` is what they have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor

from gan.pixels import Images, Kind, from_uint8

# uint8 [N, H, W] of images, uint8 or uint16 [N, L] of text.
Symbols = npt.NDArray[np.uint8 | np.uint16]

# As many as a byte tells apart: of colours and classes.
MAX_SYMBOLS = 256
# As many as two bytes tell apart: of characters.
MAX_CHARACTERS = 65_536
# Stands for every character that has no symbol of its own.
REPLACEMENT = "\ufffd"
# Ends a text, and fills it up to the length of the others.
PADDING = "\n"
# Pixels that are compared with all colours at once: 16 MiB of distances to 256 of them.
_BLOCK_PIXELS = 1 << 14


class Alphabet(Protocol):
    """What each symbol stands for.

    Two symbols make a Bernoulli variable, more a categorical one. An alphabet is made of between 2
    and `MAX_SYMBOLS`, of characters `MAX_CHARACTERS`, different values, or raises ValueError.
    """

    # What the symbols are, as messages and files call them.
    noun: ClassVar[str]
    # What examples made of them are.
    kind: ClassVar[Kind]

    @property
    def size(self) -> int:
        """V, how many symbols there are."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with `noun` as the key; `alphabet_from_json` takes them back."""

    def example_shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Of an example as networks see it, from that of its symbols."""

    def positions(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Where an example of `example_shape` has one symbol each."""

    def shown(self, symbols: Symbols) -> Symbols:
        """Symbols `[N, *positions]` as judges and figures take examples of `kind`."""


@dataclass(frozen=True)
class Colours:
    """The colours of pixels: the symbol is the place in the tuple.

    Attributes:
        values: V × C levels 0…255; C is 1 or 3.

    Raises:
        ValueError: not between 2 and 256 different colours, or they are not what they should be.
    """

    noun: ClassVar[str] = "colours"
    kind: ClassVar[Kind] = "images"

    values: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        _check_size(self.noun, self.values)
        for colour in self.values:
            if len(colour) not in {1, 3} or len(colour) != len(self.values[0]):
                raise ValueError(f"the alphabet's colours have 1 or 3 levels each: found {colour}")
            if not all(type(level) is int and 0 <= level <= 255 for level in colour):
                raise ValueError(f"the alphabet's colours have levels 0 to 255: found {colour}")

    @classmethod
    def levels(cls, count: int) -> Colours:
        """`count` grey levels evenly spread from 0 to 255, black first; halves to the even one.

        Raises:
            ValueError: not between 2 and 256.
        """
        if not 2 <= count <= MAX_SYMBOLS:
            raise ValueError(f"levels are {count}: expected 2 to {MAX_SYMBOLS}")
        return cls(tuple((round(255 * level / (count - 1)),) for level in range(count)))

    @property
    def size(self) -> int:
        """V, how many colours there are."""
        return len(self.values)

    @property
    def channels(self) -> int:
        """C, channels of a colour."""
        return len(self.values[0])

    def to_json(self) -> dict[str, Any]:
        """As JSON values: `{"colours": [[0], [255]]}`."""
        return {self.noun: [list(colour) for colour in self.values]}

    def example_shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """`(H, W)` to `(C, H, W)`."""
        return (self.channels, *stored)

    def positions(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`(C, H, W)` to `(H, W)`: a pixel is a symbol."""
        return shape[1:]

    def shown(self, symbols: Symbols) -> Images:
        """As `decode`."""
        return self.decode(symbols)

    def table(self) -> Tensor:
        """The colours as the networks take them: fp32 `[V, C]` in [−1, 1]."""
        return from_uint8(torch.tensor(self.values, dtype=torch.uint8))

    def decode(self, symbols: Symbols) -> Images:
        """The colours of `symbols`: uint8 `[..., H, W]` to uint8 `[..., C, H, W]`.

        Raises:
            ValueError: some are not in the alphabet.
        """
        _check_symbols(symbols, self.size)
        colours = np.array(self.values, np.uint8)[symbols]  # [..., H, W, C]
        return np.ascontiguousarray(rearrange(colours, "... h w c -> ... c h w"))

    def encode(self, images: Images) -> Symbols:
        """The nearest colour of every pixel: uint8 `[..., C, H, W]` to uint8 `[..., H, W]`.

        Nearest in the Euclidean distance of the levels; of colours equally near the first in the
        alphabet, which is the darker one where they are sorted. No dithering.

        Raises:
            ValueError: the images have other channels.
        """
        if images.ndim < 3 or images.shape[-3] != self.channels:
            raise ValueError(
                f"images are {list(images.shape)}: expected [..., {self.channels}, H, W]"
            )
        colours = np.array(self.values, np.uint8)  # [V, C]
        if self.channels == 1:
            # All there can be is 256 levels.
            table = nearest(np.arange(256, dtype=np.uint8)[:, None], colours)
            return np.ascontiguousarray(table[images[..., 0, :, :]])
        pixels = rearrange(images, "... c h w -> ... h w c")
        return nearest(pixels.reshape(-1, self.channels), colours).reshape(pixels.shape[:-1])


@dataclass(frozen=True)
class Characters:
    """The characters of text: the symbol is the place in the tuple.

    Attributes:
        values: V characters.

    Raises:
        ValueError: not between 2 and 65,536 different ones, or one is not a single character.
    """

    noun: ClassVar[str] = "characters"
    kind: ClassVar[Kind] = "text"

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_size(self.noun, self.values, MAX_CHARACTERS)
        for character in self.values:
            # A surrogate is half a character, and no file of UTF-8 has it.
            if len(character) != 1 or "\ud800" <= character <= "\udfff":
                raise ValueError(f"the alphabet has one character a symbol: found {character!r}")

    @property
    def size(self) -> int:
        """V, how many characters there are."""
        return len(self.values)

    @property
    def padding(self) -> int | None:
        """The symbol of `PADDING`; None where no text has it.

        In running text, which is not padded, line ends at the end of an example are taken for
        padding: of several only the first counts, in samples as in real texts.
        """
        return self.values.index(PADDING) if PADDING in self.values else None

    def to_json(self) -> dict[str, Any]:
        """As JSON values: `{"characters": "abc"}`."""
        return {self.noun: "".join(self.values)}

    def example_shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """`(L,)` as it is."""
        return stored

    def positions(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`(L,)` as it is."""
        return shape

    def shown(self, symbols: Symbols) -> Symbols:
        """As they are: `[N, L]`."""
        return symbols

    def decode(self, symbols: Symbols) -> list[str]:
        """The texts of `symbols`, `[N, L]` of `symbol_dtype`: N strings of L characters each.

        Raises:
            ValueError: not `[N, L]`, of another dtype, or some are not in the alphabet.
        """
        _check_symbols(symbols, self.size)
        if symbols.ndim != 2:
            raise ValueError(f"symbols of text are {list(symbols.shape)}: expected [N, L]")
        codes = np.array([ord(character) for character in self.values], "<u4")
        length = symbols.shape[1]
        text = codes[symbols].tobytes().decode("utf-32-le")
        return [text[row * length : (row + 1) * length] for row in range(len(symbols))]

    def encode(self, text: str) -> Symbols:
        """The symbols of `text`, `[L]`; characters without one become `REPLACEMENT`.

        uint8, or uint16 in an alphabet of more than 256: see `symbol_dtype`.

        Raises:
            ValueError: a character has no symbol and there is no `REPLACEMENT` in the alphabet;
                names the character.
        """
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        known = np.array([ord(character) for character in self.values], "<u4")
        order = np.argsort(known)
        places = np.minimum(np.searchsorted(known[order], codes), len(known) - 1)
        symbols: Symbols = order[places].astype(symbol_dtype(self.size))
        missing = known[symbols] != codes
        if missing.any():
            if REPLACEMENT not in self.values:
                character = chr(codes[missing][0])
                raise ValueError(f"the character {character!r} is not in the alphabet")
            symbols[missing] = self.values.index(REPLACEMENT)
        return symbols


@dataclass(frozen=True)
class ClassNames:
    """The names of classes: the symbol is the place in the tuple.

    Attributes:
        values: V names.

    Raises:
        ValueError: not between 2 and 256 different names, or one is empty or no text.
    """

    noun: ClassVar[str] = "labels"
    kind: ClassVar[Kind] = "labels"

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_size(self.noun, self.values)
        for label in self.values:
            if not isinstance(label, str) or not label:
                raise ValueError(f"the alphabet's labels are names: found {label!r}")

    @property
    def size(self) -> int:
        """V, how many classes there are."""
        return len(self.values)

    def to_json(self) -> dict[str, Any]:
        """As JSON values: `{"labels": ["cat", "dog"]}`."""
        return {self.noun: list(self.values)}

    def example_shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """As it is: the networks see the images that the labels are of."""
        return stored

    def positions(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`()`: an image has one label."""
        return ()

    def shown(self, symbols: Symbols) -> Symbols:
        """As they are: uint8 `[N]`."""
        return symbols


def symbol_dtype(size: int) -> np.dtype[Any]:
    """How symbols of an alphabet of `size` are stored: uint8 up to 256, little-endian uint16 above.

    Raises:
        ValueError: no such alphabet.
    """
    if not 2 <= size <= MAX_CHARACTERS:
        raise ValueError(f"an alphabet has 2 to {MAX_CHARACTERS} symbols: found {size}")
    return np.dtype("|u1" if size <= MAX_SYMBOLS else "<u2")


def symbol_tensor(stored: npt.NDArray[Any]) -> Tensor:
    """Stored examples as a tensor on the CPU: what is uint16 becomes int32, others share memory.

    Indexing, comparing, joining and looking up are not there for PyTorch's uint16.
    """
    return torch.from_numpy(stored.astype(np.int32) if stored.dtype.itemsize == 2 else stored)


def symbol_array(symbols: Tensor, size: int) -> Symbols:
    """Symbols of an alphabet of `size` as they are stored; back from any device."""
    array: Symbols = symbols.cpu().numpy().astype(symbol_dtype(size), copy=False)
    return array


def alphabet_from_json(values: Any) -> Colours | Characters | ClassNames:
    """What `to_json` of an alphabet gave.

    Raises:
        ValueError: it is not an alphabet; says what is wrong.
    """
    if not isinstance(values, Mapping) or len(values) != 1:
        raise ValueError(
            f"an alphabet is an object with either colours, characters or labels: found "
            f"{values!r:.80}"
        )
    ((key, symbols),) = values.items()
    if key == Colours.noun and isinstance(symbols, list):
        if not all(isinstance(colour, list) for colour in symbols):
            raise ValueError("the alphabet's colours are not all lists of levels")
        return Colours(tuple(tuple(colour) for colour in symbols))
    if key == Characters.noun and isinstance(symbols, str):
        return Characters(tuple(symbols))
    if key == ClassNames.noun and isinstance(symbols, list):
        return ClassNames(tuple(symbols))
    raise ValueError(
        "an alphabet has colours or labels, lists, or characters, a string: found "
        f"{key!r}, {type(symbols).__name__}"
    )


class DecodedImages:
    """Images of symbols that are decoded when they are asked for, and read like an array.

    Indexing along the first axis, by a number, a slice or an array, gives uint8 arrays
    `[..., C, H, W]`; `numpy.asarray` decodes all. Memory holds what was asked for and no more.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, symbols: Symbols, colours: Colours) -> None:
        """View `symbols`, uint8 `[N, H, W]`, memory-mapped or not, as `colours`."""
        self.symbols = symbols
        self.colours = colours
        count, height, width = symbols.shape
        self.shape = (count, colours.channels, height, width)
        self.size = count * colours.channels * height * width
        self.nbytes = self.size  # of what would be decoded

    def __len__(self) -> int:
        return len(self.symbols)

    def __getitem__(self, index: Any) -> Images:
        if isinstance(index, tuple):
            raise TypeError("decoded images are indexed along their first axis only")
        return self.colours.decode(np.asarray(self.symbols[index]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("decoded images cannot be had without a copy")
        return self[:].astype(dtype or self.dtype, copy=False)


def nearest(pixels: npt.NDArray[np.uint8], colours: npt.NDArray[np.uint8]) -> Symbols:
    """For every pixel, uint8 `[P, C]`, which of `colours`, uint8 `[V, C]`, is nearest: `[P]`.

    The first of those equally near. That is the least ‖c‖² − 2 p·c, ‖p − c‖² less what is the same
    for all colours. Levels are integers, so that all products and sums are integers below 2²⁴:
    exact in fp32 in whatever order, and the same on every machine.
    """
    table = colours.astype(np.float32)
    squares = np.square(table).sum(1)
    symbols = np.empty(len(pixels), np.uint8)
    for start in range(0, len(pixels), _BLOCK_PIXELS):
        block = pixels[start : start + _BLOCK_PIXELS].astype(np.float32)
        symbols[start : start + len(block)] = (squares - 2 * (block @ table.T)).argmin(1)
    return symbols


def _check_size(key: str, symbols: Sequence[object], most: int = MAX_SYMBOLS) -> None:
    if not 2 <= len(symbols) <= most:
        raise ValueError(f"an alphabet has 2 to {most} {key}: found {len(symbols)}")
    try:
        repeated = len(set(symbols)) < len(symbols)
    except TypeError:
        raise ValueError(f"the alphabet's {key} are not plain values") from None
    if repeated:
        raise ValueError(f"the alphabet's {key} are not all different")


def _check_symbols(symbols: Symbols, size: int) -> None:
    expected = symbol_dtype(size)
    if symbols.dtype != expected:
        raise ValueError(f"symbols are {symbols.dtype}: expected {expected}")
    if symbols.size and symbols.max() >= size:
        raise ValueError(
            f"symbols go up to {symbols.max()}: expected less than {size}, the size of the alphabet"
        )
