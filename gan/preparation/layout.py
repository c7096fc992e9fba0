"""What the folders of images mean: splits and labels.

Folders around everything mean nothing and are passed through. Below them, the first level is the
label, provided that every image lies in a folder. If that level is `train` and `test`, these are
the splits, and the next level the label.
"""

from __future__ import annotations

import logging
import posixpath
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gan.errors import DataError, shown
from gan.preparation.named_splits import WORDS
from gan.preparation.split import in_test

_log = logging.getLogger(__name__)


class Labels(NamedTuple):
    """Labels of images, and what they stand for."""

    names: tuple[str, ...]
    indices: npt.NDArray[np.int64]  # [N], into the names


@dataclass(frozen=True)
class Layout:
    """What folders say of the images in them."""

    around: int  # folders around everything
    depth: int  # of the folders that are labels
    kept: npt.NDArray[np.int64]  # [K], places of the images that have a part in either split
    held_out: npt.NDArray[np.bool_]  # [K], which of these are to test with
    left_out: dict[str, int] = field(default_factory=dict)  # images of folders that are neither


def read_layout(path: Path, names: Sequence[str], test_fraction: float) -> Layout:
    """The splits of the images `names`, which are `data.path`'s, at least one.

    Without folders that are splits a hash decides of what stands below the folders around
    everything, so that it does not matter whether those are there, as in an archive of a folder.

    Raises:
        DataError: there are folders for training and testing, and others beside them, or two for
            the same.
    """
    around = _around(names)
    splits = _split_folders(path, names, around)
    if splits is None:
        keys = (key_of(name, around) for name in names)
        held_out = np.fromiter((in_test(key, test_fraction) for key in keys), bool, len(names))
        return Layout(around, around, np.arange(len(names)), held_out)
    train, test, neither = splits
    folders = [name.split("/", around + 1)[around] for name in names]
    kept = np.fromiter((i for i, each in enumerate(folders) if each != neither), np.int64)
    held_out = np.fromiter((folders[place] == test for place in kept), bool, len(kept))
    left_out = {}
    if neither is not None:
        left_out[f"{shown(neither)}/"] = len(names) - len(kept)
        _log.warning(
            "%s: %d images in the folder %s are left out: %s is what is trained on, and %s what is "
            "tested with", shown(path), len(names) - len(kept), shown(neither), shown(train),
            shown(test),
        )  # fmt: skip
    return Layout(around, around + 1, kept, held_out, left_out)


def folder_labels(path: Path, names: Sequence[str], depth: int) -> Labels | None:
    """The folders at `depth` as labels; None if they say nothing of the images."""
    found = {_part(name, depth) for name in names}
    folders = sorted(folder for folder in found if folder is not None)
    if None in found:
        if folders:
            stray = next(name for name in names if _part(name, depth) is None)
            _log.warning(
                "%s has images beside its folders, such as %s, so folders are not taken for labels",
                shown(path), shown(stray),
            )  # fmt: skip
        return None
    if len(folders) == 1:
        return None  # says nothing about any image
    # Two spellings of one name are one label.
    names_of = tuple(dict.fromkeys(printable(folder) for folder in folders))
    place = {name: at for at, name in enumerate(names_of)}
    index = {folder: place[printable(folder)] for folder in folders}
    labels = (index[name.split("/", depth + 1)[depth]] for name in names)
    return Labels(names_of, np.fromiter(labels, np.int64, len(names)))


def key_of(name: str, around: int) -> str:
    """What decides over an image's split: its name below the folders around everything.

    Its letters are composed: file systems and archivers have `é` as one or as two.
    """
    return unicodedata.normalize("NFC", name.split("/", around)[-1] if around else name)


def printable(name: str) -> str:
    """File names may be no valid text; what is not is written as an escape."""
    return unicodedata.normalize("NFC", name.encode("utf-8", "backslashreplace").decode())


def _around(names: Sequence[str]) -> int:
    """How many folders all names have in common."""
    # The first and the last in order share what all share.
    common = posixpath.commonpath([posixpath.dirname(name) for name in (min(names), max(names))])
    return common.count("/") + 1 if common else 0


def _split_folders(
    path: Path, names: Sequence[str], depth: int
) -> tuple[str, str, str | None] | None:
    """The folders of training and test images, and one that is neither, if that is the division."""
    level = {_part(name, depth) for name in names}
    train, test, validation = (
        sorted(each for each in level if each is not None and WORDS.get(each.lower()) == split)
        for split in ("train", "test", "val")
    )
    if not train or not (test or validation):
        return None
    others = sorted(level - {*train, *test, *validation}, key=str)
    if not test and others:
        return None  # labels, of which `train` is one
    if others:
        beside = ", ".join(_described(names, depth, each) for each in others[:5])
        raise DataError(
            f"data.path {shown(path)} has the folders {shown(train[0])} and {shown(test[0])}, and "
            f"beside them {beside}: expected nothing but images to train on, to test with and to "
            "validate"
        )
    for found in (train, test, validation):
        if len(found) > 1:
            raise DataError(
                f"data.path {shown(path)} has the folders {' and '.join(map(shown, found))}, "
                "which mean the same: expected one of them"
            )
    if not test:
        return train[0], validation[0], None
    return train[0], test[0], validation[0] if validation else None


def _described(names: Sequence[str], depth: int, folder: str | None) -> str:
    if folder is not None:
        return f"{shown(folder)}/"
    return shown(next(name for name in names if _part(name, depth) is None))


def _part(name: str, depth: int) -> str | None:
    """The folder of `name` at `depth`, or None if the file itself lies there."""
    parts = name.split("/", depth + 1)
    return parts[depth] if len(parts) > depth + 1 else None
