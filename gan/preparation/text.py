"""From running text to examples of one length, in symbols.

Text is read twice, as a stream: once to count its characters, once to cut it up. What memory holds
does not depend on how long it is, nor on how long its lines are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gan.config import DataConfig
from gan.errors import DataError
from gan.preparation.sources import Batch, Source
from gan.preparation.split import in_test
from gan.symbols import PADDING, REPLACEMENT, Characters, Symbols

# Running text is held out in blocks of at least so many characters, and so many examples.
BLOCK_CHARACTERS = 2048
BLOCK_EXAMPLES = 16
# Lines that become one batch.
_BATCH_LINES = 4096
_CODE_POINTS = 0x110000


@dataclass(frozen=True)
class Text:
    """One text of a source."""

    name: str  # the same on every machine; decides what is held out of running text
    pieces: Callable[[], Iterable[str]]  # opens it anew; pieces of any length


def text_source(texts: list[Text], config: DataConfig, where: str) -> Source:
    r"""Examples of `config.length` characters out of `texts`, with the alphabet that they need.

    Line ends are `\n` whether they were that or `\r\n`.

    **lines**: every line is an example, cut at the length or filled up with `PADDING`, which no
    line contains. Those that are then nothing but white space are left out. Which are held out is
    decided by what they say, so that a line that comes again comes in the same split.

    **sliding**: examples overlap by half. They never reach beyond a block of `BLOCK_CHARACTERS`,
    counted from the beginning of each text, or `BLOCK_EXAMPLES` examples if that is more; whole
    blocks are held out, so that no held-out passage is seen in part. What is left at the end of a
    block and does not fill an example is passed over.

    Args:
        texts: in the order of the examples.
        config: what the examples are to be.
        where: what to call the source in messages.

    Raises:
        DataError: there is no text, or it has one character only; or what reading `texts` raises.
    """
    lines = config.windows == "lines"
    alphabet = choose_alphabet(_count(texts), config.alphabet, PADDING if lines else "", where)
    batches = _lines(texts, config, alphabet) if lines else _sliding(texts, config, alphabet)
    return Source(
        shape=(config.length,),
        label_names=None,
        total=None,
        batches=batches,
        kind="text",
        alphabet=alphabet,
    )


def choose_alphabet(
    counts: npt.NDArray[np.int64], size: int, needed: str, where: str = "the text"
) -> Characters:
    """The most frequent characters, at most `size`, in the order of their code points.

    Equally frequent ones are taken in the order of their code points. If some are left out,
    `REPLACEMENT` has one of the `size` places and stands for them; it does so too if the text
    itself contains it.

    Args:
        counts: `[0x110000]`, how often each character is there, by its code point.
        size: at least 2.
        needed: a character that is in the alphabet however often it is there; or none, "".
        where: what to call the text in messages.

    Raises:
        DataError: there are no characters, or only one.
    """
    counts = counts.copy()
    if not counts.any():
        raise DataError(f"{where} holds no text")
    replaced = counts[ord(REPLACEMENT)] > 0
    counts[ord(REPLACEMENT)] = 0
    if needed:
        counts[ord(needed)] = counts.sum() + 1  # before all others
    codes = np.flatnonzero(counts)
    ranked = codes[np.argsort(-counts[codes], kind="stable")]
    if len(ranked) + replaced > size:
        replaced = True
    kept = {chr(code) for code in ranked[: size - int(replaced)]}
    characters = sorted(kept | ({REPLACEMENT} if replaced else set()))
    if len(characters) < 2:
        raise DataError(f"{where} has no character but {characters[0]!r}: expected at least two")
    return Characters(tuple(characters))


def cut_lines(pieces: Iterable[str], length: int) -> Iterator[str]:
    """The lines of a text given in pieces, each cut at `length` characters; no line end in them."""
    line = ""
    for piece in pieces:
        first, *others = piece.split("\n")
        line = (line + first)[:length]
        for other in others:
            yield line
            line = other[:length]
    if line:
        yield line


def cut_blocks(pieces: Iterable[str], size: int) -> Iterator[str]:
    """A text given in pieces in blocks of `size` characters; the last may be shorter."""
    rest = ""
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % size
        for start in range(0, whole, size):
            yield rest[start : start + size]
        rest = rest[whole:]
    if rest:
        yield rest


def with_plain_line_ends(pieces: Iterable[str]) -> Iterator[str]:
    r"""The same text with `\n` for every `\r\n`, also where a piece ends between the two."""
    held = ""
    for piece in pieces:
        whole = held + piece
        held = "\r" if whole.endswith("\r") else ""
        yield whole.removesuffix("\r").replace("\r\n", "\n")
    yield held


def _count(texts: list[Text]) -> npt.NDArray[np.int64]:
    """How often each character is there, `[0x110000]` by its code point."""
    counts = np.zeros(_CODE_POINTS, np.int64)
    for text in texts:
        for piece in with_plain_line_ends(text.pieces()):
            codes = np.frombuffer(piece.encode("utf-32-le"), "<u4")
            found, times = np.unique(codes, return_counts=True)
            counts[found] += times
    return counts


def _lines(
    texts: list[Text], config: DataConfig, alphabet: Characters
) -> Generator[Batch, None, None]:
    filled: list[str] = []
    for text in texts:
        for line in cut_lines(with_plain_line_ends(text.pieces()), config.length):
            if line.strip():
                filled.append(line.ljust(config.length, PADDING))
            if len(filled) == _BATCH_LINES:
                yield _line_batch(filled, config, alphabet)
                filled = []
    if filled:
        yield _line_batch(filled, config, alphabet)


def _line_batch(filled: list[str], config: DataConfig, alphabet: Characters) -> Batch:
    symbols = _encode(alphabet, "".join(filled)).reshape(len(filled), config.length)
    # As they were written, so that lines which differ only in what was replaced stay together.
    keys = (f"line/{line}" for line in alphabet.decode(symbols))
    return Batch(symbols, np.array([in_test(key, config.test_fraction) for key in keys]), None)


def _sliding(
    texts: list[Text], config: DataConfig, alphabet: Characters
) -> Generator[Batch, None, None]:
    size = max(BLOCK_CHARACTERS, BLOCK_EXAMPLES * config.length)
    for text in texts:
        blocks = cut_blocks(with_plain_line_ends(text.pieces()), size)
        for number, block in enumerate(blocks):
            if len(block) < config.length:
                continue
            symbols = _encode(alphabet, block)
            windows = np.lib.stride_tricks.sliding_window_view(symbols, config.length)
            examples = windows[:: config.length // 2]  # [B, L]
            held_out = in_test(f"{text.name}/{number:06d}", config.test_fraction)
            yield Batch(examples, np.full(len(examples), held_out), None)


def _encode(alphabet: Characters, text: str) -> Symbols:
    try:
        return alphabet.encode(text)
    except ValueError as error:
        raise DataError(f"the text changed while it was read: {error}") from None
