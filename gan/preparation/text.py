"""From running text to examples of one length, in symbols.

Text is read twice, as a stream: once to count its characters, once to cut it up. What memory holds
does not depend on how long it is, nor on how long its lines are.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gan.config import DataConfig
from gan.data.manifest import WithoutSymbol
from gan.errors import DataError, shown
from gan.preparation.sources import Batch, Source
from gan.preparation.split import in_test
from gan.symbols import MAX_CHARACTERS, PADDING, REPLACEMENT, Characters, Symbols

# Running text is held out in blocks of at least so many characters, and so many examples.
BLOCK_CHARACTERS = 2048
BLOCK_EXAMPLES = 16
# Lines that become one batch.
_BATCH_LINES = 4096
_CODE_POINTS = 0x110000
# Shares of the text that are lost: from here on it is a warning.
WARNED_WITHOUT_SYMBOL = 0.01
WARNED_BEYOND_LENGTH = 0.5
# Of what is lost or empty, a message shows so many.
_SHOWN = 10

_log = logging.getLogger(__name__)


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

    What share of the text has no symbol, and what share of its lines lies beyond the length, is
    said on stderr, or by a warning where it is much; so are texts that are empty.

    Args:
        texts: in the order of the examples.
        config: what the examples are to be.
        where: what to call the source in messages.

    Raises:
        DataError: there is no text, or it has one character only; or what reading `texts` raises.
    """
    lines = config.windows == "lines"
    counts, empty = _count(texts)
    alphabet = choose_alphabet(counts, config.alphabet, PADDING if lines else "", where)
    if empty:
        _log.warning("%s: %d of %d texts are empty: %s", where, len(empty), len(texts),
                     _listed(empty))  # fmt: skip
    lost = without_symbol(counts, alphabet)
    if lost is not None:
        _say_without_symbol(lost, counts, alphabet, where)
    in_lines = int(counts.sum() - counts[ord(PADDING)])
    batches = (
        _lines(texts, config, alphabet, in_lines, where)
        if lines
        else _sliding(texts, config, alphabet)
    )
    return Source(
        shape=(config.length,),
        label_names=None,
        total=None,
        batches=batches,
        kind="text",
        alphabet=alphabet,
        without_symbol=lost,
        if_few=(
            "data.windows=sliding makes examples of running text, however long its lines are"
            if lines
            else f"running text is held out in blocks of {_block_size(config)} characters"
        ),
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


def without_symbol(counts: npt.NDArray[np.int64], alphabet: Characters) -> WithoutSymbol | None:
    """How much of a text `REPLACEMENT` stands for; None if every character has a symbol.

    Args:
        counts: `[0x110000]`, how often each character is there, by its code point.
        alphabet: of the text.
    """
    count, total = int(_lost(counts, alphabet).sum()), int(counts.sum())
    if not count:
        return None
    return WithoutSymbol(count=count, characters=total, share=round(count / total, 6))


def _lost(counts: npt.NDArray[np.int64], alphabet: Characters) -> npt.NDArray[np.int64]:
    """`counts` of the characters without a symbol alone."""
    lost = counts.copy()
    lost[[ord(character) for character in alphabet.values]] = 0
    return lost


def _say_without_symbol(
    found: WithoutSymbol, counts: npt.NDArray[np.int64], alphabet: Characters, where: str
) -> None:
    lost = _lost(counts, alphabet)
    codes = np.flatnonzero(lost)
    most = [chr(code) for code in codes[np.argsort(-lost[codes], kind="stable")][:_SHOWN]]
    # The place of what stands for them is free then, unless the text has it too.
    needed = alphabet.size + len(codes) - int(not counts[ord(REPLACEMENT)])
    remedy = (
        f"data.alphabet={needed} has one for all"
        if needed <= MAX_CHARACTERS
        else f"data.alphabet can be {MAX_CHARACTERS} at most"
    )
    _say(
        f"{where}: {found.share:.2%} of the text, {found.count} of {found.characters} characters, "
        f"{len(codes)} different ones, have no symbol and become U+FFFD: "
        f"{_listed([shown(each) for each in most], len(codes))}; {remedy}",
        warned=found.share > WARNED_WITHOUT_SYMBOL,
    )


def _say(message: str, *, warned: bool) -> None:
    if warned:
        _log.warning("%s", message)
    else:
        print(message, file=sys.stderr)


def _listed(names: list[str], count: int | None = None) -> str:
    """The first of `names`, and whether there are more than these, `count` in all."""
    more = (len(names) if count is None else count) - len(names[:_SHOWN])
    listed = " ".join(shown(name) for name in names[:_SHOWN])
    return f"{listed} and {more} more" if more else listed


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


def _count(texts: list[Text]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """How often each character is there, `[0x110000]` by its code point; and who has none."""
    counts = np.zeros(_CODE_POINTS, np.int64)
    empty = []
    for text in texts:
        length = 0
        for piece in with_plain_line_ends(text.pieces()):
            codes = np.frombuffer(piece.encode("utf-32-le"), "<u4")
            found, times = np.unique(codes, return_counts=True)
            counts[found] += times
            length += len(piece)
        if not length:
            empty.append(text.name)
    return counts, empty


def _lines(
    texts: list[Text], config: DataConfig, alphabet: Characters, in_lines: int, where: str
) -> Generator[Batch, None, None]:
    filled: list[str] = []
    taken = 0
    for text in texts:
        for line in cut_lines(with_plain_line_ends(text.pieces()), config.length):
            taken += len(line)
            if line.strip():
                filled.append(line.ljust(config.length, PADDING))
            if len(filled) == _BATCH_LINES:
                yield _line_batch(filled, config, alphabet)
                filled = []
    if filled:
        yield _line_batch(filled, config, alphabet)
    if taken < in_lines:
        beyond = 1 - taken / in_lines
        _say(
            f"{where}: {beyond:.1%} of the text is in lines beyond their first {config.length} "
            "characters and is passed over; data.windows=sliding takes all of it, and a larger "
            "data.length more",
            warned=beyond > WARNED_BEYOND_LENGTH,
        )


def _line_batch(filled: list[str], config: DataConfig, alphabet: Characters) -> Batch:
    symbols = _encode(alphabet, "".join(filled)).reshape(len(filled), config.length)
    # As they were written, so that lines which differ only in what was replaced stay together.
    keys = (f"line/{line}" for line in alphabet.decode(symbols))
    return Batch(symbols, np.array([in_test(key, config.test_fraction) for key in keys]), None)


def _sliding(
    texts: list[Text], config: DataConfig, alphabet: Characters
) -> Generator[Batch, None, None]:
    size = _block_size(config)
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


def _block_size(config: DataConfig) -> int:
    return max(BLOCK_CHARACTERS, BLOCK_EXAMPLES * config.length)


def _encode(alphabet: Characters, text: str) -> Symbols:
    try:
        return alphabet.encode(text)
    except ValueError as error:
        raise DataError(f"the text changed while it was read: {error}") from None
