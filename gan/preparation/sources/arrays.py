"""Images as arrays of bytes: a `.npy`, a `.npz`, or a folder of `.npy` files.

The axes are `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]` with C 1 or 3. Names say what an array
is: `images`, `x` or `data`, with labels in `labels` or `y`, and splits as in `x_train` and
`y_test`, `train_images` and `test_labels`, or `train` and `test_labels`. An array alone needs none.
"""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from gan.config import DataConfig
from gan.data.manifest import Split
from gan.errors import DataError, reading, shown
from gan.files import open_plain
from gan.preparation.fit import DoesNotFitError, Fit, check_pad
from gan.preparation.listing import Sorter, Wanted, is_debris
from gan.preparation.named_splits import WORDS, choose
from gan.preparation.npy import Header, read_header, read_rows
from gan.preparation.raster import as_examples
from gan.preparation.sources import Batch, Source
from gan.preparation.split import in_test

MAX_SIDE = 1 << 14
# Of one label that is text.
MAX_LABEL_BYTES = 1024

_EXPECTED = (
    "a .npy or .npz of images, or a folder of .npy files, named images and labels, or x_train, "
    "y_train, x_test and y_test"
)
_WHAT = {
    "images": "images", "image": "images", "imgs": "images", "x": "images", "data": "images",
    "labels": "labels", "label": "labels", "y": "labels", "targets": "labels",
}  # fmt: skip

# What an array is: of which split, if its name says one, and images or labels.
_Role = tuple[str | None, Literal["images", "labels"]]


@dataclass(frozen=True)
class _Stored:
    """An array that has not been read."""

    name: str  # for messages
    opened: Callable[[], contextlib.AbstractContextManager[IO[bytes]]]

    def header(self) -> Header:
        with self.opened() as file:
            return read_header(file, self.name)

    def rows(self) -> Iterator[npt.NDArray[Any]]:
        with self.opened() as file:
            yield from read_rows(file, read_header(file, self.name), self.name)


@dataclass(frozen=True)
class _Images:
    """An array of images whose header has been checked."""

    stored: _Stored
    count: int
    shape: tuple[int, int, int]  # H, W, C
    axes: Literal["HW", "HWC", "CHW"]

    def blocks(self) -> Iterator[npt.NDArray[np.uint8]]:
        """uint8 `[B, H, W, C]`."""
        for rows in self.stored.rows():
            if self.axes == "HW":
                yield rows[..., None]
            else:
                yield rows if self.axes == "HWC" else rows.transpose(0, 2, 3, 1)


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The arrays at `config.path`; nothing is decoded, so `workers` is not used.

    Labels are integers or text, for both splits or none; a label is an index into the values that
    occur. Without a test split one is held out of the images by a stable hash of their place. Where
    there is a test split, one for validation is left out, and counted as passed over.

    Raises:
        DataError: an array is missing, damaged, of another dtype or shape, counts disagree, or the
            images do not fit `config.size` or `config.max_pixels`; names it. Damage further
            on is raised by the stream.
    """
    path = Path(config.path)
    sorter = Sorter(Wanted(frozenset({".npy"})))
    chosen = _choose(path, _find(path, sorter), sorter)
    fit: Fit = "resize" if config.fit == "auto" else config.fit
    images: dict[Split, _Images] = {}
    labels: dict[Split, npt.NDArray[Any]] = {}
    for split, (of_images, of_labels) in chosen.items():
        images[split] = found = _check_images(of_images, config.max_pixels)
        if fit == "pad":
            try:
                check_pad(*found.shape[:2], config.size)
            except DoesNotFitError as error:
                raise DataError(f"{shown(of_images.name)}: {error}") from None
        if of_labels is not None:
            labels[split] = _read_labels(of_labels, found)
    names, indices = _index_labels(path, labels)
    return Source(
        shape=(config.channels, config.size, config.size),
        label_names=names,
        total=sum(found.count for found in images.values()),
        batches=_batches(config, fit, images, indices),
        passed_over=sorter.passed_over(),
    )


def _batches(
    config: DataConfig,
    fit: Fit,
    images: dict[Split, _Images],
    labels: dict[Split, npt.NDArray[np.int64]],
) -> Generator[Batch, None, None]:
    for split, found in images.items():
        start = 0
        for block in found.blocks():
            stop = start + len(block)
            if "test" in images:
                held_out = np.full(len(block), split == "test")
            else:
                keys = (f"arrays/{index:05d}" for index in range(start, stop))
                held_out = np.array([in_test(key, config.test_fraction) for key in keys])
            yield Batch(
                examples=as_examples(block, config.size, config.channels, fit),
                in_test=held_out,
                labels=labels[split][start:stop] if labels else None,
            )
            start = stop


def _find(path: Path, sorter: Sorter) -> dict[str, _Stored]:
    """The arrays at `path` by name; what is none is counted by `sorter`."""
    if not path.exists():
        raise DataError(f"data.path {shown(path)} does not exist: expected {_EXPECTED}")
    with reading(path, _EXPECTED):
        if path.is_dir():
            found = {}
            for each in sorted(path.iterdir()):
                if is_debris(each.name):
                    continue
                if sorter.is_listed(each.name):
                    found[each.stem] = _of_file(each)
                else:
                    sorter.pass_over(each.name, "folders" if each.is_dir() else None)
        else:
            with open_plain(path) as file:
                if zipfile.is_zipfile(file):
                    found = _members(path, file, sorter)
                else:
                    found = {path.stem: _of_file(path)}
    if not found:
        raise DataError(f"data.path {shown(path)} holds no arrays: expected {_EXPECTED}")
    return found


def _members(path: Path, file: IO[bytes], sorter: Sorter) -> dict[str, _Stored]:
    with zipfile.ZipFile(file) as archive:
        members = sorted(set(archive.namelist()))
    found = {}
    for member in members:
        if member.endswith(".npy"):
            found[member.removesuffix(".npy")] = _of_member(path, member)
        elif not member.endswith("/"):
            sorter.pass_over(member)
    return found


def _of_file(path: Path) -> _Stored:
    @contextlib.contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with reading(path, _EXPECTED):
            file = open_plain(path)
        with file:
            yield file

    return _Stored(str(path), opened)


def _of_member(path: Path, member: str) -> _Stored:
    @contextlib.contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with contextlib.ExitStack() as stack:
            with reading(path, _EXPECTED):
                whole = stack.enter_context(open_plain(path))
                archive = stack.enter_context(zipfile.ZipFile(whole))
                file = stack.enter_context(archive.open(member))
            yield file

    return _Stored(f"{path}: {member}", opened)


def _role(name: str) -> _Role | None:
    """What an array of this name is, or None where the name does not say."""
    if name.lower() == "arr_0":  # as numpy.savez names one that was given no name
        return None, "images"
    split: str | None = None
    what: str | None = None
    for part in re.split(r"[_\-. ]", name.lower()):
        if part in WORDS and split is None:
            split = WORDS[part]
        elif part in _WHAT and what is None:
            what = _WHAT[part]
        else:
            return None
    return split, "labels" if what == "labels" else "images"


def _choose(
    path: Path, found: dict[str, _Stored], sorter: Sorter
) -> dict[Split, tuple[_Stored, _Stored | None]]:
    """Images and labels of each split, those of training first; others `sorter` counts by name."""
    if len(found) == 1:
        return {"train": (next(iter(found.values())), None)}
    roles: dict[_Role, _Stored] = {}
    unknown = []
    for name, stored in found.items():
        role = _role(name)
        if role is None:
            unknown.append(name)
        elif role in roles:
            raise DataError(
                f"{shown(roles[role].name)} and {shown(stored.name)} are both {role[1]}"
                f"{f' of the split {role[0]}' if role[0] else ''}: expected one of them"
            )
        else:
            roles[role] = stored
    splits = {split for split, what in roles if what == "images"}
    listed = shown(", ".join(found))
    if not splits:
        raise DataError(f"data.path {shown(path)} has the arrays {listed}: expected {_EXPECTED}")
    try:
        training, testing, _ = choose(splits)
    except ValueError as error:
        raise DataError(f"data.path {shown(path)} has the arrays {listed}: {error}") from None
    used = {training, testing or training}
    passed_over = unknown + [
        name for name in found if (role := _role(name)) is not None and role[0] not in used
    ]
    for name in passed_over:
        sorter.pass_over(name, name)
    chosen: dict[Split, tuple[_Stored, _Stored | None]] = {
        "train": (roles[training, "images"], roles.get((training, "labels")))
    }
    if testing:
        chosen["test"] = (roles[testing, "images"], roles.get((testing, "labels")))
    labelled = {split for split, (_, labels) in chosen.items() if labels is not None}
    if labelled and len(labelled) < len(chosen):
        raise DataError(
            f"data.path {shown(path)} has labels of the split {labelled.pop()} alone: expected "
            f"labels of both, or of none; found {listed}"
        )
    return chosen


def _check_images(stored: _Stored, max_pixels: int) -> _Images:
    dtype, shape = stored.header()
    name = shown(stored.name)
    if dtype != np.uint8:
        raise DataError(
            f"{name} has the dtype {dtype}: expected uint8 from 0 to 255, for example by "
            "(255 * array).round().astype('uint8') from floats in [0, 1]"
        )
    last, first = shape[-1], shape[1] if len(shape) > 1 else 0
    axes: Literal["HW", "HWC", "CHW"]
    if len(shape) == 3:
        height, width, channels, axes = shape[1], shape[2], 1, "HW"
    elif len(shape) == 4 and last in (1, 3) and first not in (1, 3):
        height, width, channels, axes = shape[1], shape[2], last, "HWC"
    elif len(shape) == 4 and first in (1, 3) and last not in (1, 3):
        height, width, channels, axes = shape[2], shape[3], first, "CHW"
    else:
        raise DataError(
            f"{name} has the shape {shown(list(shape))}: expected [N, H, W], [N, H, W, C] or "
            "[N, C, H, W], C 1 or 3 and no other axis of that length beside it"
        )
    if not (height <= MAX_SIDE and width <= MAX_SIDE):
        raise DataError(f"{name} has images of {width} x {height}: expected at most {MAX_SIDE}")
    if height * width > max_pixels:
        raise DataError(
            f"{name} has images of {width} x {height}: expected at most {max_pixels} pixels, as "
            "data.max_pixels says"
        )
    return _Images(stored, shape[0], (height, width, channels), axes)


def _read_labels(stored: _Stored, images: _Images) -> npt.NDArray[Any]:
    """All labels as they stand in the array, `[N]`, integers or text."""
    dtype, shape = stored.header()
    if dtype.kind not in "iuSU" or dtype.itemsize > MAX_LABEL_BYTES:
        raise DataError(
            f"{shown(stored.name)} has labels of dtype {shown(dtype)}: expected integers or text"
        )
    if shape not in ((images.count,), (images.count, 1)):
        raise DataError(
            f"{shown(stored.name)} has the shape {shown(list(shape))}: expected "
            f"[{images.count}], one label for each image of {shown(images.stored.name)}"
        )
    return np.concatenate(list(stored.rows())).reshape(images.count)


def _index_labels(
    path: Path,
    labels: dict[Split, npt.NDArray[Any]],
) -> tuple[tuple[str, ...] | None, dict[Split, npt.NDArray[np.int64]]]:
    """The values that occur, as names, and the labels as indices into them."""
    if not labels:
        return None, {}
    kinds = {each.dtype.kind in "SU" for each in labels.values()}
    if len(kinds) > 1:
        raise DataError(
            f"data.path {shown(path)} has labels that are integers in one split, text in the other"
        )
    texts = {
        split: np.char.decode(each, "utf-8", "backslashreplace") if each.dtype.kind == "S" else each
        for split, each in labels.items()
    }
    values = np.unique(np.concatenate(list(texts.values())))
    indices = {
        split: np.searchsorted(values, each).astype(np.int64) for split, each in texts.items()
    }
    return tuple(str(value) for value in values), indices
