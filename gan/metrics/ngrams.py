"""Texts by their character n-grams: divergence, diversity, and runs that were copied.

Gulrajani et al. 2017 (arXiv 1704.00028, section 5.2) monitor generated text by the Jensen–Shannon
divergence of its n-grams from those of held-out text. Texts are symbols `[N, L]`, uint8 or, of an
alphabet of more than 256, uint16, and an
n-gram is n neighbours in one of them, never across two. Padding counts as the one symbol that ends
a text: of the run of it at a text's end only the first is looked at, so that short texts are not
judged by how alike their padding is.

Counts are exact: an n-gram is a whole number to the base of the alphabet's size, as long as that
stays below 2⁶³, which it always does with 256 symbols, and otherwise the bytes of its symbols.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gan.errors import UserError
from gan.symbols import Symbols, symbol_dtype

Texts = Symbols
Codes = npt.NDArray[np.int64 | np.bytes_]

MOST_SYMBOLS = 6  # the longest n-grams that metrics ask for
BLOCK = 8192  # texts at once
BLOCK_BYTES = 1 << 25  # runs of training texts at once


class Ngrams(NamedTuple):
    """How often every n-gram was seen.

    Attributes:
        codes: `[K]`, rising; each `Σ_i s_i V^(n−1−i)` of its symbols s, int64, or, where that can
            be 2⁶³ or more, the symbols as 2n bytes (`S`), the high byte of each first, which
            rise in the same order.
        counts: int64 `[K]`, at least 1.
    """

    codes: Codes
    counts: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        """N-grams in all."""
        return int(self.counts.sum())


def check_texts(name: str, texts: npt.NDArray[np.generic], size: int) -> None:
    """Raise `UserError` unless `texts` are `[N, L]` of symbols below `size`, N and L ≥ 1.

    Of dtype uint8, or uint16 where `size` is more than 256.
    """
    dtype = symbol_dtype(size)
    if texts.dtype != dtype or texts.ndim != 2 or 0 in texts.shape:
        raise UserError(
            f"{name} are {texts.dtype} {list(texts.shape)}: expected {dtype} [N, L] with N, L ≥ 1"
        )
    largest = int(np.max(texts))
    if largest >= size:
        raise UserError(f"{name} hold the symbol {largest}: expected below {size}, the alphabet's")


def lengths(texts: Texts, padding: int | None) -> npt.NDArray[np.int64]:
    """Symbols of every text, int64 `[N]`: without the padding at its end but for the first.

    Args:
        texts: symbols `[N, L]`.
        padding: the symbol that texts are padded with; None: they are not.
    """
    longest = texts.shape[1]
    if padding is None:
        return np.full(len(texts), longest)
    text = texts != padding
    # Distance of the last symbol that is none from the end; all of the text if there is none.
    from_end = np.where(text.any(1), text[:, ::-1].argmax(1), longest)
    found: npt.NDArray[np.int64] = np.minimum(longest - from_end + 1, longest)
    return found


def count_ngrams(texts: Texts, n: int, size: int, padding: int | None = None) -> Ngrams:
    """Every n-gram of `texts` with its count; none where all texts are shorter than n.

    Args:
        texts: symbols `[N, L]`.
        n: 1 to `MOST_SYMBOLS`.
        size: V, symbols of the alphabet, 2 to 65,536.
        padding: the symbol that texts are padded with; None: they are not.

    Raises:
        UserError: `n` out of range, or texts of another dtype or shape or with symbols ≥ V.
    """
    if not 1 <= n <= MOST_SYMBOLS:
        raise UserError(f"n is {n}: expected 1 to {MOST_SYMBOLS}")
    check_texts("texts", texts, size)
    as_numbers = codes_are_numbers(size, n)
    found = Ngrams(np.zeros(0, np.int64 if as_numbers else f"S{2 * n}"), np.zeros(0, np.int64))
    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        places = block.shape[1] - n + 1
        if places < 1:
            break
        codes: Codes = _numbers(block, n, size) if as_numbers else _runs(block.astype(">u2"), n)
        whole = np.arange(places) + n <= lengths(block, padding)[:, None]
        found = _merged(found, Ngrams(*np.unique(codes[whole], return_counts=True)))
    return found


def codes_are_numbers(size: int, n: int) -> bool:
    """Whether n-grams of `size` symbols have codes that fit int64; see `Ngrams`."""
    return bool(size**n <= 1 << 63)


def _numbers(texts: Texts, n: int, size: int) -> npt.NDArray[np.int64]:
    """The codes of all n-grams as numbers, `[N, L − n + 1]`."""
    places = texts.shape[1] - n + 1
    codes = np.zeros((len(texts), places), np.int64)
    for offset in range(n):
        codes = codes * size + texts[:, offset : offset + places]
    return codes


def _merged(a: Ngrams, b: Ngrams) -> Ngrams:
    codes, where = np.unique(np.concatenate([a.codes, b.codes]), return_inverse=True)
    counts = np.zeros(len(codes), np.int64)
    np.add.at(counts, where, np.concatenate([a.counts, b.counts]))
    return Ngrams(codes, counts)


def jensen_shannon(a: Ngrams, b: Ngrams) -> float:
    """Jensen–Shannon divergence of two distributions of n-grams, in nats: 0 to log 2.

    ½KL(P‖M) + ½KL(Q‖M) with M = (P + Q)/2 of the relative frequencies P and Q. Too large by an
    amount that grows as counts fall, as every such plug-in estimate: compare it at equal counts.
    log 2 where only one has any n-grams, and NaN where neither has.
    """
    if not a.total or not b.total:
        return math.log(2) if a.total or b.total else math.nan
    codes = np.union1d(a.codes, b.codes)
    p, q = np.zeros(len(codes)), np.zeros(len(codes))
    p[np.searchsorted(codes, a.codes)] = a.counts / a.total
    q[np.searchsorted(codes, b.codes)] = b.counts / b.total
    middle = (p + q) / 2
    divergence = 0.0
    for each in (p, q):
        there = each > 0
        divergence += 0.5 * float(np.sum(each[there] * np.log(each[there] / middle[there])))
    return max(0.0, divergence)  # rounding of equal ones


def distinct(ngrams: Ngrams) -> float:
    """Share of different n-grams among all; falls as counts rise. NaN where there are none.

    Li et al. 2016 (arXiv 1510.03055), distinct-1 and distinct-2.
    """
    return len(ngrams.codes) / ngrams.total if ngrams.total else math.nan


def shuffled(texts: Texts, padding: int | None, seed: int) -> Texts:
    """`texts` with their characters in random order, over all texts: the right unigrams only.

    Every text keeps its length, and with it the padding at its end.
    """
    inside = np.arange(texts.shape[1]) < lengths(texts, padding)[:, None]
    if padding is not None:
        # Padding that ends a text stays there.
        rows = np.arange(len(texts))
        last = lengths(texts, padding) - 1
        inside[rows, last] &= texts[rows, last] != padding
    mixed = np.array(texts)
    mixed[inside] = np.random.default_rng(seed).permutation(mixed[inside])
    return mixed


def copied(
    texts: Texts, training: Texts, run: int, padding: int | None = None
) -> npt.NDArray[np.bool_]:
    """Which texts have `run` characters in a row that a training text has as well, bool `[N]`.

    A run of nothing but one symbol is no copy.

    Args:
        texts: symbols `[N, L]`.
        training: `[M, L]` of the same dtype, read in blocks.
        run: 1 to L; L: the whole text.
        padding: the symbol whose run at a text's end counts once, as in `lengths`: else the end
            of any short text would be a copy of that of another; None: it counts like any other.

    Raises:
        UserError: `run` out of range, or texts of different lengths or dtypes.
    """
    seen = occurrences(texts, training, run) > 0  # [N, L − run + 1]
    windows = _windows(texts, run)  # [N, L − run + 1, run]
    varied = (windows != windows[..., :1]).any(2)
    inside = np.arange(windows.shape[1]) + run <= lengths(texts, padding)[:, None]
    found: npt.NDArray[np.bool_] = (seen & varied & inside).any(1)
    return found


def occurrences(texts: Texts, training: Texts, run: int) -> npt.NDArray[np.int64]:
    """How often each run of `texts` stands in training texts, `[N, L − run + 1]`.

    Arguments and errors as `copied`.
    """
    length = texts.shape[1]
    if not 1 <= run <= length or training.shape[1] != length:
        raise UserError(
            f"run is {run}, texts have {length} symbols and training texts {training.shape[1]}: "
            "expected 1 ≤ run ≤ the length of both"
        )
    if texts.dtype != training.dtype:
        raise UserError(f"texts are {texts.dtype}, training texts {training.dtype}: expected one")
    runs = _runs(texts, run)
    wanted, places = np.unique(runs, return_inverse=True)
    times = np.zeros(len(wanted), np.int64)
    rows = max(1, BLOCK_BYTES // (runs.itemsize * (length - run + 1)))
    for start in range(0, len(training), rows):
        block = _runs(training[start : start + rows], run).ravel()
        at = np.searchsorted(wanted, block).clip(max=len(wanted) - 1)
        times += np.bincount(at[wanted[at] == block], minlength=len(wanted))
    return times[places].reshape(runs.shape)


def _windows(texts: Texts, run: int) -> Texts:
    """All runs, a view `[N, L − run + 1, run]`."""
    windows: Texts = np.lib.stride_tricks.sliding_window_view(np.asarray(texts), run, axis=1)
    return windows


def _runs(texts: Texts, run: int) -> npt.NDArray[np.bytes_]:
    """All runs as byte strings, `[N, L − run + 1]`.

    NumPy takes zeros from the end of a byte string, which cannot make two of one length equal.
    """
    windows = np.ascontiguousarray(_windows(texts, run))
    return windows.view(f"S{run * windows.itemsize}")[..., 0]
