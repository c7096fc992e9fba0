"""Splits that files, folders or arrays are named after."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

# What a name may begin with, or be; `val` is any split between training and testing.
WORDS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
}  # fmt: skip
_FIRST_WORD = re.compile(rf"({'|'.join(sorted(WORDS, reverse=True))})(?![a-z])", re.IGNORECASE)


class Chosen(NamedTuple):
    """Which of the splits that are there are used, and for what."""

    train: str | None  # None: what is of no split
    test: str | None  # None: some of the training split is held out
    left_out: list[str]


def split_of(name: str) -> str | None:
    """`train`, `test` or `val`, where a name begins with a word for it: `test-00000-of-00001`."""
    match = _FIRST_WORD.match(name)
    return None if match is None else WORDS[match[1].lower()]


def choose(found: Collection[str | None]) -> Chosen:
    """What is trained and tested with, of the splits that are there; None stands for no split.

    A split for validation is the one to test with where there is no other, and else left out.

    Raises:
        ValueError: there are none for training, or some examples are of no split and others are.
    """
    named = {split for split in found if split is not None}
    if not named:
        return Chosen(None, None, [])
    if None in found:
        raise ValueError(f"some are of the split {', '.join(sorted(named))} and some of none")
    if "train" not in named:
        raise ValueError(f"some are of the split {', '.join(sorted(named))} and none of train")
    test = next((split for split in ("test", "val") if split in named), None)
    return Chosen("train", test, sorted(named - {"train", test}))
