"""The judge of texts: what the held-out ones are made of.

Nothing is fitted. The file holds the n-grams of the held-out split and the words of both splits, so
that every experiment on the same data is compared with the same counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gan.config import JudgeConfig
from gan.data.manifest import SPLITS, Split
from gan.data.prepared import Prepared
from gan.errors import DataError
from gan.judges.file import FORMAT_VERSION, KIND, checksum, read_judge, tensor_of, whole
from gan.metrics.as_json import Metrics, as_json
from gan.metrics.ngrams import (
    BLOCK,
    MOST_SYMBOLS,
    Codes,
    Ngrams,
    Texts,
    codes_are_numbers,
    count_ngrams,
    jensen_shannon,
    shuffled,
)
from gan.metrics.records import RealNgrams, TextReport, WordCounts
from gan.metrics.words import count_words
from gan.runtime import stream_seed
from gan.symbols import Characters, alphabet_from_json
from gan.tensor_file import write_tensors

ARCHITECTURE = "n-grams"

# Held-out texts whose n-grams are kept, at most: 6-grams of more would not fit a small file.
MOST_TEXTS = 50_000
# An n-gram is not seen more often than this: sums of counts stay whole numbers of 64 bits.
MOST_COUNTED = 1 << 40


@dataclass(frozen=True)
class TextJudge:
    """What texts are compared with.

    Attributes:
        alphabet: of characters.
        length: symbols of a text.
        texts: held-out ones that were counted.
        held_out: their n-grams, for n = 1 to `MOST_SYMBOLS`.
        words: of all texts of a split, as they are written.
        checksum: SHA-256 over all of the above.
    """

    alphabet: Characters
    length: int
    texts: int
    held_out: tuple[Ngrams, ...]
    words: dict[Split, frozenset[str]]
    checksum: str

    def divergences(self, texts: Texts, longest: int) -> list[float]:
        """Jensen–Shannon divergence, nats, of n-grams of `texts` from held-out ones.

        Args:
            texts: symbols `[N, L]`.
            longest: n is 1 to this.
        """
        return [
            jensen_shannon(
                count_ngrams(texts, n, self.alphabet.size, self.alphabet.padding),
                self.held_out[n - 1],
            )
            for n in range(1, longest + 1)
        ]


def make(prepared: Prepared, config: JudgeConfig, path: Path, device: torch.device) -> Metrics:
    """Write what `prepared` is made of to `path`, and report on it; as `save_text_judge`."""
    metrics: Metrics = as_json(save_text_judge(prepared, path, seed=config.seed))
    return metrics


def load(path: Path, prepared: Prepared, device: torch.device) -> TextJudge:
    """The judge at `path`, made of `prepared`; raises as `load_text_judge`."""
    return load_text_judge(path, prepared.manifest.checksum)


def save_text_judge(prepared: Prepared, path: str | os.PathLike[str], *, seed: int) -> TextReport:
    """Write what prepared texts are made of to `path` (safetensors), and report on it.

    Args:
        prepared: texts.
        path: where to.
        seed: of which texts are taken, where there are more than are needed, and of the shuffling.

    Returns:
        How many words there are, and for n-grams the divergence of training texts
        from as many held-out ones, real against real (`floor`), and of held-out ones whose
        characters are shuffled (`shuffled`).

    Raises:
        DataError: the data are no texts, or a split is empty.
    """
    alphabet = prepared.text_alphabet()
    for split in SPLITS:
        if not len(prepared.symbols(split)):
            raise DataError(f"{prepared.folder}: the split {split} has no texts: expected some")
    test = some_texts(prepared.symbols("test"), MOST_TEXTS, seed, "held-out texts")
    train = some_texts(prepared.symbols("train"), len(test), seed, "training texts")
    padding = alphabet.padding
    held_out = [count_ngrams(test, n, alphabet.size, padding) for n in range(1, MOST_SYMBOLS + 1)]
    words = {
        split: frozenset(count_words(_texts(prepared.symbols(split), alphabet))) for split in SPLITS
    }
    tensors: dict[str, Tensor] = {
        f"words.{split}": _as_tensor(found) for split, found in words.items()
    }
    for n, ngrams in enumerate(held_out, start=1):
        tensors[f"codes.{n}"] = _codes_as_tensor(ngrams.codes)
        tensors[f"counts.{n}"] = torch.from_numpy(ngrams.counts)
    description = {
        "architecture": {"kind": ARCHITECTURE, "longest": MOST_SYMBOLS},
        "alphabet": alphabet.to_json(),
        "length": test.shape[1],
        "texts": len(test),
        "data_checksum": prepared.manifest.checksum,
    }
    write_tensors(path, tensors, kind=KIND, version=FORMAT_VERSION, description=description)
    judge = load_text_judge(path, prepared.manifest.checksum)
    floor = judge.divergences(train, MOST_SYMBOLS)
    mixed = judge.divergences(
        shuffled(test, padding, stream_seed(seed, "shuffled characters")), MOST_SYMBOLS
    )
    return TextReport(
        kind=ARCHITECTURE,
        alphabet=alphabet.size,
        length=judge.length,
        held_out_texts=len(test),
        floor_texts=len(train),
        words=WordCounts(
            held_out=len(words["test"]),
            training=len(words["train"]),
            both=len(words["train"] & words["test"]),
        ),
        jensen_shannon={
            str(n): RealNgrams(floor=floor[n - 1], shuffled=mixed[n - 1])
            for n in range(1, MOST_SYMBOLS + 1)
        },
        checksum=judge.checksum,
    )


def load_text_judge(path: str | os.PathLike[str], data_checksum: str) -> TextJudge:
    """Load what `save_text_judge` wrote.

    Args:
        path: the file.
        data_checksum: of the prepared texts that samples are compared with.

    Raises:
        StateError: the file is missing, damaged, no judge of texts, or of other data.
    """
    return read_judge(path, ARCHITECTURE, "texts", data_checksum, _judge)


def _judge(description: dict[str, Any], tensors: dict[str, Tensor]) -> TextJudge:
    alphabet = _characters(description["alphabet"])
    words: dict[Split, frozenset[str]] = {
        split: _as_words(tensor_of(tensors, f"words.{split}", torch.uint8, 1)) for split in SPLITS
    }
    return TextJudge(
        alphabet=alphabet,
        length=whole(description, "length", 1),
        texts=whole(description, "texts", 1),
        held_out=tuple(_ngrams(tensors, n, alphabet.size) for n in range(1, MOST_SYMBOLS + 1)),
        words=words,
        checksum=checksum(description, tensors),
    )


def _ngrams(tensors: dict[str, Tensor], n: int, size: int) -> Ngrams:
    codes = _codes(tensors, n, size)
    counts = tensor_of(tensors, f"counts.{n}", torch.int64, 1).numpy()
    if len(codes) != len(counts):
        raise ValueError(f"there are {len(codes)} {n}-grams, but {len(counts)} counts of them")
    _check_codes(codes, n, size)
    if len(counts) and not (counts.min() >= 1 and counts.max() < MOST_COUNTED):
        raise ValueError(f"the counts of {n}-grams are not 1 to {MOST_COUNTED}")
    return Ngrams(codes, counts)


def _characters(values: Any) -> Characters:
    alphabet = alphabet_from_json(values)
    if not isinstance(alphabet, Characters):
        raise ValueError(f"an alphabet of {alphabet.noun}, expected characters")
    return alphabet


def some_texts(texts: Texts, count: int, seed: int, stream: str) -> Texts:
    """At most `count` of `texts`, `[N, L]`, in the order they have; a random part of more."""
    if len(texts) <= count:
        return np.asarray(texts)
    rng = np.random.default_rng(stream_seed(seed, stream))
    return np.asarray(texts[np.sort(rng.permutation(len(texts))[:count])])


def _texts(symbols: Texts, alphabet: Characters) -> Iterator[str]:
    for start in range(0, len(symbols), BLOCK):
        yield from alphabet.decode(np.asarray(symbols[start : start + BLOCK]))


def _codes_as_tensor(codes: Codes) -> Tensor:
    """Numbers int64 `[K]`; bytes as uint8 `[K, 2n]`."""
    if codes.dtype.kind == "S":
        return torch.from_numpy(codes.view(np.uint8).reshape(len(codes), codes.itemsize))
    return torch.from_numpy(codes)


def _codes(tensors: dict[str, Tensor], n: int, size: int) -> Codes:
    """What `_codes_as_tensor` made of the codes of n-grams in an alphabet of `size`."""
    name = f"codes.{n}"
    if codes_are_numbers(size, n):
        return cast(Codes, tensor_of(tensors, name, torch.int64, 1).numpy())
    rows = np.ascontiguousarray(tensor_of(tensors, name, torch.uint8, 2).numpy())
    if rows.shape[1] != 2 * n:
        raise ValueError(f"{name} has {rows.shape[1]} bytes a code: expected {2 * n}")
    codes: Codes = rows.view(f"S{2 * n}")[:, 0]
    return codes


def _check_codes(codes: Codes, n: int, size: int) -> None:
    """Raise ValueError unless the codes of n-grams rise and are such of `size` symbols."""
    if not len(codes):
        return
    # Bytes and numbers both compare as their n-grams do.
    rise = bool(np.all(np.greater(codes[1:], codes[:-1])))
    if codes.dtype.kind == "S":
        symbols = codes.view(">u2")
        within = int(symbols.max()) < size
    else:
        within = int(codes[0]) >= 0 and int(codes[-1]) < size**n
    if not (rise and within):
        raise ValueError(f"the codes of {n}-grams do not rise from 0 to below {size}**{n}")


def _as_tensor(words: frozenset[str]) -> Tensor:
    """Words one a line, in order, as UTF-8; no word has a line's end in it."""
    return torch.frombuffer(bytearray("\n".join(sorted(words)).encode() + b"\n"), dtype=torch.uint8)


def _as_words(tensor: Tensor) -> frozenset[str]:
    return frozenset(tensor.numpy().tobytes().decode().split("\n")) - {""}
