"""What symbols mean: colours of pixels, characters of text, or names of classes.

Discrete data is stored as symbols, uint8 numbers below the size of its alphabet. The alphabet says
what each one stands for, and stands in the manifest of the data and in the file of a generator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan.pixels import Images, from_uint8

# uint8 [N, H, W] of images, [N, L] of text.
Symbols = npt.NDArray[np.uint8]

MAX_SYMBOLS = 256
# Stands for every character that has no symbol of its own.
REPLACEMENT = "\ufffd"
# Ends a text, and fills it up to the length of the others.
PADDING = "\n"
# Pixels that are compared with all colours at once: 16 MiB of distances to 256 of them.
_BLOCK_PIXELS = 1 << 14


@dataclass(frozen=True)
class Alphabet:
    """What each symbol stands for: the symbol is the place in the tuple. Exactly one is given.

    Two symbols make a Bernoulli variable, more a categorical one.

    Raises:
        ValueError: not between 2 and 256 different symbols, or they are not what they should be.
    """

    colours: tuple[tuple[int, ...], ...] | None = None  # V × C levels 0…255; C is 1 or 3
    characters: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None  # names of classes

    def __post_init__(self) -> None:
        given = {
            key: symbols
            for key, symbols in (
                ("colours", self.colours),
                ("characters", self.characters),
                ("labels", self.labels),
            )
            if symbols is not None
        }
        if len(given) != 1:
            raise ValueError(
                "an alphabet has either colours, characters or labels: found "
                f"{' and '.join(given) or 'none'}"
            )
        ((key, symbols),) = given.items()
        _check_size(key, symbols)
        if self.colours is not None:
            _check_colours(self.colours)
        elif self.characters is not None:
            _check_characters(self.characters)
        elif self.labels is not None:
            _check_labels(self.labels)

    @classmethod
    def levels(cls, count: int) -> Alphabet:
        """`count` grey levels evenly spread from 0 to 255, black first; halves to the even one.

        Raises:
            ValueError: not between 2 and 256.
        """
        if not 2 <= count <= MAX_SYMBOLS:
            raise ValueError(f"levels are {count}: expected 2 to {MAX_SYMBOLS}")
        return cls(colours=tuple((round(255 * level / (count - 1)),) for level in range(count)))

    @classmethod
    def from_json(cls, values: Any) -> Alphabet:
        """What `to_json` gave.

        Raises:
            ValueError: it is not an alphabet; says what is wrong.
        """
        if not isinstance(values, Mapping) or len(values) != 1:
            raise ValueError(
                f"an alphabet is an object with either colours, characters or labels: found "
                f"{values!r:.80}"
            )
        ((key, symbols),) = values.items()
        if key == "colours" and isinstance(symbols, list):
            if not all(isinstance(colour, list) for colour in symbols):
                raise ValueError("the alphabet's colours are not all lists of levels")
            return cls(colours=tuple(tuple(colour) for colour in symbols))
        if key == "characters" and isinstance(symbols, str):
            return cls(characters=tuple(symbols))
        if key == "labels" and isinstance(symbols, list):
            return cls(labels=tuple(symbols))
        raise ValueError(
            "an alphabet has colours or labels, lists, or characters, a string: found "
            f"{key!r}, {type(symbols).__name__}"
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values: `{"colours": [[0], [255]]}`, `{"characters": "abc"}`, `{"labels": …}`."""
        if self.colours is not None:
            return {"colours": [list(colour) for colour in self.colours]}
        if self.labels is not None:
            return {"labels": list(self.labels)}
        return {"characters": "".join(self._characters())}

    @property
    def size(self) -> int:
        """V, how many symbols there are."""
        symbols = next(
            each for each in (self.colours, self.characters, self.labels) if each is not None
        )
        return len(symbols)

    @property
    def kind(self) -> str:
        """What symbols are: `colours`, `characters` or `labels`."""
        return next(iter(self.to_json()))

    @property
    def is_text(self) -> bool:
        """Whether symbols are characters."""
        return self.characters is not None

    @property
    def channels(self) -> int:
        """C, channels of a colour.

        Raises:
            ValueError: symbols are not colours.
        """
        return len(self._colours()[0])

    def colour_table(self) -> Tensor:
        """The colours as the networks take them: fp32 `[V, C]` in [−1, 1].

        Raises:
            ValueError: symbols are not colours.
        """
        return from_uint8(torch.tensor(self._colours(), dtype=torch.uint8))

    def decode_images(self, symbols: Symbols) -> Images:
        """The colours of `symbols`: uint8 `[..., H, W]` to uint8 `[..., C, H, W]`.

        Raises:
            ValueError: symbols are not colours, or some are not in the alphabet.
        """
        self._check_symbols(symbols)
        colours = np.array(self._colours(), np.uint8)[symbols]  # [..., H, W, C]
        return np.ascontiguousarray(np.moveaxis(colours, -1, -3))

    def encode_images(self, images: Images) -> Symbols:
        """The nearest colour of every pixel: uint8 `[..., C, H, W]` to uint8 `[..., H, W]`.

        Nearest in the Euclidean distance of the levels; of colours equally near the first in the
        alphabet, which is the darker one where they are sorted. No dithering.

        Raises:
            ValueError: symbols are not colours, or the images have other channels.
        """
        if images.ndim < 3 or images.shape[-3] != self.channels:
            raise ValueError(
                f"images are {list(images.shape)}: expected [..., {self.channels}, H, W]"
            )
        colours = np.array(self._colours(), np.uint8)  # [V, C]
        if self.channels == 1:
            # All there can be is 256 levels.
            table = nearest(np.arange(256, dtype=np.uint8)[:, None], colours)
            return np.ascontiguousarray(table[images[..., 0, :, :]])
        pixels = np.moveaxis(images, -3, -1)  # [..., H, W, C]
        return nearest(pixels.reshape(-1, self.channels), colours).reshape(pixels.shape[:-1])

    def decode_text(self, symbols: Symbols) -> list[str]:
        """The texts of `symbols`, uint8 `[N, L]`: N strings of L characters each.

        Raises:
            ValueError: symbols are not characters, or some are not in the alphabet.
        """
        self._check_symbols(symbols)
        if symbols.ndim != 2:
            raise ValueError(f"symbols of text are {list(symbols.shape)}: expected [N, L]")
        codes = np.array([ord(character) for character in self._characters()], "<u4")
        length = symbols.shape[1]
        text = codes[symbols].tobytes().decode("utf-32-le")
        return [text[row * length : (row + 1) * length] for row in range(len(symbols))]

    def encode_text(self, text: str) -> Symbols:
        """The symbols of `text`, uint8 `[L]`; characters without one become `REPLACEMENT`.

        Raises:
            ValueError: symbols are not characters, or one has no symbol and there is no
                `REPLACEMENT` in the alphabet; names the character.
        """
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        known = np.array([ord(character) for character in self._characters()], "<u4")
        order = np.argsort(known)
        places = np.minimum(np.searchsorted(known[order], codes), len(known) - 1)
        symbols = order[places].astype(np.uint8)
        missing = known[symbols] != codes
        if missing.any():
            if REPLACEMENT not in self._characters():
                character = chr(codes[missing][0])
                raise ValueError(f"the character {character!r} is not in the alphabet")
            symbols[missing] = self._characters().index(REPLACEMENT)
        return symbols

    def _check_symbols(self, symbols: Symbols) -> None:
        if symbols.dtype != np.uint8:
            raise ValueError(f"symbols are {symbols.dtype}: expected uint8")
        if symbols.size and symbols.max() >= self.size:
            raise ValueError(
                f"symbols go up to {symbols.max()}: expected less than {self.size}, the size of "
                "the alphabet"
            )

    def _colours(self) -> tuple[tuple[int, ...], ...]:
        if self.colours is None:
            raise ValueError(f"the alphabet's symbols are {self.kind}: expected colours")
        return self.colours

    def _characters(self) -> tuple[str, ...]:
        if self.characters is None:
            raise ValueError(f"the alphabet's symbols are {self.kind}: expected characters")
        return self.characters


class DecodedImages:
    """Images of symbols that are decoded when they are asked for, and read like an array.

    Indexing along the first axis, by a number, a slice or an array, gives uint8 arrays
    `[..., C, H, W]`; `numpy.asarray` decodes all. Memory holds what was asked for and no more.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, symbols: Symbols, alphabet: Alphabet) -> None:
        """View `symbols`, uint8 `[N, H, W]`, memory-mapped or not, as colours of `alphabet`."""
        self.symbols = symbols
        self.alphabet = alphabet
        count, height, width = symbols.shape
        self.shape = (count, alphabet.channels, height, width)
        self.size = count * alphabet.channels * height * width
        self.nbytes = self.size  # of what would be decoded

    def __len__(self) -> int:
        return len(self.symbols)

    def __getitem__(self, index: Any) -> Images:
        if isinstance(index, tuple):
            raise TypeError("decoded images are indexed along their first axis only")
        return self.alphabet.decode_images(np.asarray(self.symbols[index]))

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


def _check_size(key: str, symbols: Sequence[object]) -> None:
    if not 2 <= len(symbols) <= MAX_SYMBOLS:
        raise ValueError(f"an alphabet has 2 to {MAX_SYMBOLS} {key}: found {len(symbols)}")
    try:
        repeated = len(set(symbols)) < len(symbols)
    except TypeError:
        raise ValueError(f"the alphabet's {key} are not plain values") from None
    if repeated:
        raise ValueError(f"the alphabet's {key} are not all different")


def _check_colours(colours: tuple[tuple[int, ...], ...]) -> None:
    for colour in colours:
        if len(colour) not in {1, 3} or len(colour) != len(colours[0]):
            raise ValueError(f"the alphabet's colours have 1 or 3 levels each: found {colour}")
        if not all(type(level) is int and 0 <= level <= 255 for level in colour):
            raise ValueError(f"the alphabet's colours have levels 0 to 255: found {colour}")


def _check_labels(labels: tuple[str, ...]) -> None:
    for label in labels:
        if not isinstance(label, str) or not label:
            raise ValueError(f"the alphabet's labels are names: found {label!r}")


def _check_characters(characters: tuple[str, ...]) -> None:
    for character in characters:
        # A surrogate is half a character, and no file of UTF-8 has it.
        if len(character) != 1 or "\ud800" <= character <= "\udfff":
            raise ValueError(f"the alphabet has one character a symbol: found {character!r}")
