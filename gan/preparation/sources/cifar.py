"""CIFAR-10 and CIFAR-100, the binary and the python version, as a folder or as the archive of it.

Which one is there is seen by the names of the files. The python version is pickles, which are read
by `gan.preparation.unpickle`. Labels of CIFAR-100 are the fine ones, a hundred.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gan.config import DataConfig
from gan.data.manifest import Split
from gan.errors import DataError, reading, shown
from gan.preparation.archives import open_collection
from gan.preparation.fit import DoesNotFitError, Fit, check_pad
from gan.preparation.folders import Links
from gan.preparation.listing import Collection, UnreadableError, load
from gan.preparation.raster import as_examples
from gan.preparation.sources import Batch, Source
from gan.preparation.unpickle import load_pickle

SIDE = 32
PIXELS = 3 * SIDE * SIDE
BLOCK_IMAGES = 1024

_EXPECTED = (
    "the files of CIFAR-10 or CIFAR-100, binary or python version, in a folder or as the .tar.gz"
)
_ENDINGS = frozenset({"", ".bin", ".txt", ".meta"})
_TEN = [f"data_batch_{number}" for number in range(1, 6)]


@dataclass(frozen=True)
class _Version:
    """How one of the four is stored."""

    name: str
    files: dict[Split, list[str]]
    names: str  # the file of the classes' names
    classes: int
    pickled: bool
    # Of the binary version: label bytes before an image, of which the last one counts.
    label_bytes: int = 0
    # Of the python version: keys of the labels and of the classes' names.
    label_key: str = ""
    names_key: str = ""


_VERSIONS = (
    _Version(
        "CIFAR-10, binary version",
        {"train": [f"{name}.bin" for name in _TEN], "test": ["test_batch.bin"]},
        "batches.meta.txt", 10, pickled=False, label_bytes=1,
    ),
    _Version(
        "CIFAR-10, python version",
        {"train": _TEN, "test": ["test_batch"]},
        "batches.meta", 10, pickled=True, label_key="labels", names_key="label_names",
    ),
    _Version(
        "CIFAR-100, binary version",
        {"train": ["train.bin"], "test": ["test.bin"]},
        "fine_label_names.txt", 100, pickled=False, label_bytes=2,
    ),
    _Version(
        "CIFAR-100, python version",
        {"train": ["train"], "test": ["test"]},
        "meta", 100, pickled=True, label_key="fine_labels", names_key="fine_label_names",
    ),
)  # fmt: skip


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The files in the folder or archive `config.path`; nothing is decoded: no `workers`.

    Without the file of the classes' names these are numbers. Memory holds one file at a time.

    Raises:
        DataError: a file is missing or damaged, or images do not fit `config.size`; names it.
            Damage to images is raised by the stream.
    """
    path = Path(config.path)
    files = _Files(path, config.links)
    version = files.version()
    fit: Fit = "resize" if config.fit == "auto" else config.fit
    if fit == "pad":
        try:
            check_pad(SIDE, SIDE, config.size)
        except DoesNotFitError as error:
            raise DataError(f"data.path {shown(path)}: {error}") from None
    return Source(
        shape=(config.channels, config.size, config.size),
        label_names=_read_names(files, version),
        total=None,
        batches=_batches(config, fit, files, version),
        passed_over=files.passed_over,
    )


def _batches(
    config: DataConfig, fit: Fit, files: _Files, version: _Version
) -> Generator[Batch, None, None]:
    with contextlib.closing(files):
        for split, names in version.files.items():
            for name in names:
                images, labels = _read_images(files, version, name)
                for start in range(0, len(images), BLOCK_IMAGES):
                    block = images[start : start + BLOCK_IMAGES].reshape(-1, 3, SIDE, SIDE)
                    yield Batch(
                        examples=as_examples(
                            block.transpose(0, 2, 3, 1), config.size, config.channels, fit
                        ),
                        in_test=np.full(len(block), split == "test"),
                        labels=labels[start : start + BLOCK_IMAGES],
                    )


class _Files:
    """The files by their last names, read one at a time."""

    def __init__(self, path: Path, links: Links) -> None:
        self._path = path
        self._collection: Collection = open_collection(path, _ENDINGS, links=links)
        self.passed_over = self._collection.passed_over
        self._contents: Generator[Any, None, None] | None = None
        self._next = 0

    def version(self) -> _Version:
        """Which of the four is there, whole and alone."""
        there = {posixpath.basename(name) for name in self._collection.names}
        found = [
            version
            for version in _VERSIONS
            if there & {name for names in version.files.values() for name in names}
        ]
        if not found:
            raise DataError(f"data.path {shown(self._path)} holds no CIFAR: expected {_EXPECTED}")
        if len(found) > 1:
            raise DataError(
                f"data.path {shown(self._path)} holds {' and '.join(each.name for each in found)}: "
                "expected one of them"
            )
        [version] = found
        missing = [name for names in version.files.values() for name in names if name not in there]
        if missing:
            raise DataError(
                f"data.path {shown(self._path)} holds {version.name}, but "
                f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing"
            )
        for names in version.files.values():
            for name in names:
                self._place(name)
        return version

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, in any folder."""
        return any(posixpath.basename(each) == name for each in self._collection.names)

    def label(self, name: str) -> str:
        """The file for messages."""
        return f"{self._path}/{self._collection.names[self._place(name)]}"

    def read(self, name: str) -> bytes:
        """The content of a file; an archive is read forwards, and again where that is behind."""
        place = self._place(name)
        if self._contents is None or place < self._next:
            self.close()
            self._contents = self._collection.contents()
        while True:
            content = next(self._contents)
            self._next += 1
            if self._next > place:
                break
        try:
            return load(content)
        except UnreadableError as error:
            raise DataError(f"cannot read {shown(self.label(name))}: {error}") from error

    def close(self) -> None:
        """Let go of the archive."""
        if self._contents is not None:
            self._contents.close()
        self._contents, self._next = None, 0

    def _place(self, name: str) -> int:
        places = [
            place
            for place, each in enumerate(self._collection.names)
            if posixpath.basename(each) == name
        ]
        if len(places) > 1:
            both = " and ".join(self._collection.names[place] for place in places[:2])
            raise DataError(
                f"data.path {shown(self._path)} holds both {shown(both)}: expected one of them"
            )
        return places[0]


def _read_names(files: _Files, version: _Version) -> tuple[str, ...]:
    """The names of the classes, or their numbers where there is no file of them."""
    if not files.has(version.names):
        return tuple(str(number) for number in range(version.classes))
    label, content = files.label(version.names), files.read(version.names)
    with reading(label, f"the names of {version.classes} classes"):
        if version.pickled:
            found = _plain(load_pickle(content, label), label)[version.names_key]
            names = [_text(each) for each in found]
        else:
            names = [line.strip() for line in content.decode().splitlines() if line.strip()]
    if len(names) != version.classes or len(set(names)) != version.classes:
        raise DataError(
            f"{shown(label)} has {len(set(names))} names: expected {version.classes}, one a class"
        )
    return tuple(names)


def _read_images(
    files: _Files, version: _Version, name: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The images of a file, uint8 `[N, 3072]`, channel by channel, and their labels."""
    label, content = files.label(name), files.read(name)
    if version.pickled:
        images, labels = _unpickled(content, version, label)
    else:
        record = version.label_bytes + PIXELS
        if not content or len(content) % record:
            raise DataError(
                f"{shown(label)} has {len(content)} bytes: expected a multiple of {record}, of "
                f"{version.name}"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, record)
        images = records[:, version.label_bytes :]
        labels = records[:, version.label_bytes - 1].astype(np.int64)
    if labels.min() < 0 or labels.max() >= version.classes:
        raise DataError(
            f"{shown(label)} has labels from {labels.min()} to {labels.max()}: expected 0 to "
            f"{version.classes - 1}"
        )
    return images, labels


def _unpickled(
    content: bytes, version: _Version, label: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    with reading(label, version.name):
        batch = _plain(load_pickle(content, label), label)
        images, labels = batch["data"], batch[version.label_key]
        if not isinstance(images, np.ndarray) or images.shape[1:] != (PIXELS,) or not len(images):
            raise DataError(
                f"{shown(label)} has data of the shape {shown(getattr(images, 'shape', None))}: "
                f"expected [N, {PIXELS}]"
            )
        if not isinstance(labels, list) or len(labels) != len(images):
            raise DataError(
                f"{shown(label)} has {len(images)} images: expected as many {version.label_key}"
            )
        if not all(type(each) is int and abs(each) < 1 << 31 for each in labels):
            raise DataError(f"{shown(label)} has {version.label_key} that are no class numbers")
        return images, np.array(labels, np.int64)


def _plain(value: object, label: str) -> dict[str, Any]:
    """A dictionary with its keys as text, which Python 2 wrote as bytes."""
    if not isinstance(value, dict):
        raise DataError(f"{shown(label)} holds a {type(value).__name__}: expected a dictionary")
    return {_text(key): each for key, each in value.items()}


def _text(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
