"""IDX files in the layout of MNIST: MNIST, Fashion-MNIST, KMNIST, EMNIST, gzipped or not.

The names in use are understood, `train-images-idx3-ubyte`, `train-images.idx3-ubyte`,
`t10k-labels-idx1-ubyte.gz`, `emnist-letters-test-images-idx3-ubyte.gz` and the like. Whether a
file is gzipped is read from its first bytes, for browsers unpack files and leave the name. QMNIST's
labels are rows of numbers, `qmnist-train-labels-idx2-int`, of which the first is the class.

The files may lie deeper, as torchvision has them in `MNIST/raw`, or each in a folder of its own
name, as an archive of Kaggle unpacks.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from gan.config import DataConfig
from gan.data.manifest import SPLITS, Split
from gan.errors import DataError, reading, shown
from gan.preparation.fit import DoesNotFitError, Fit, check_pad, fit_batch
from gan.preparation.listing import Sorter, Wanted, is_debris
from gan.preparation.sources import Batch, Source
from gan.preparation.split import in_test

# Beyond these a header is taken for damage: the largest known sets have under a million images
# of a few hundred pixels a side.
MAX_SIDE = 4096
MAX_COUNT = 100_000_000

_NAME = re.compile(
    r"(?P<set>.*?)(?P<split>train|t10k|test)[-_.](?P<what>images|labels)"
    r"[-_.](idx[13][-_.]ubyte|idx2[-_.]int)(\.gz)?",
    re.IGNORECASE,
)
_EXPECTED = "train-images-idx3-ubyte, t10k-images-idx3-ubyte and their labels, gzipped or not"
_IMAGES_MAGIC, _LABELS_MAGIC = 0x0803, 0x0801
# Of QMNIST: whole numbers of four bytes, rows of them.
_ROWS_MAGIC = 0x0C02
_MAX_ROW = 64
# Folders below `data.path` in which files are looked for if there are none.
_MAX_DEPTH = 4
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class _ImageFile:
    """An IDX file of images whose header has been checked."""

    path: Path
    count: int
    height: int
    width: int


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The IDX files in the folder `config.path`; nothing is decoded, so `workers` is not used.

    Labels are optional, for both splits or none; a label is an index into the values that occur.
    Without a test split one is held out of the training split by a stable hash of the index.
    EMNIST stores every image with rows and columns exchanged: files named `emnist-…` are
    transposed, so that letters stand upright.

    Raises:
        DataError: a file is missing, ambiguous or damaged, counts disagree, or the images do not
            fit `config.size`; names the file. Damage further on is raised by the stream.
    """
    set_name, files, passed_over = _find(Path(config.path))
    images = {
        split: _check_images(files[split, "images"])
        for split in SPLITS
        if (split, "images") in files
    }
    _check_shapes(images)
    labels = {
        split: _read_labels(files[split, "labels"], file)
        for split, file in images.items()
        if (split, "labels") in files
    }
    names, indices = _index_labels(labels)
    fit: Fit = "pad" if config.fit == "auto" else config.fit
    transposed = set_name.lower().startswith("emnist")
    if fit == "pad":
        _check_pad(images["train"], config.size)
    return Source(
        shape=(1, config.size, config.size),
        label_names=names,
        total=sum(file.count for file in images.values()),
        batches=_batches(config, fit, images, indices, transposed),
        passed_over=passed_over,
    )


def _batches(
    config: DataConfig,
    fit: Fit,
    images: dict[Split, _ImageFile],
    labels: dict[Split, npt.NDArray[np.int64]],
    transposed: bool,
) -> Generator[Batch, None, None]:
    for split, file in images.items():
        start = 0
        for block in _read_images(file):  # [B, height, width]
            stop = start + len(block)
            upright = block.transpose(0, 2, 1) if transposed else block
            if "test" in images:
                held_out = np.full(len(block), split == "test")
            else:
                held_out = np.array(
                    [in_test(f"idx/{i:05d}", config.test_fraction) for i in range(start, stop)]
                )
            yield Batch(
                examples=fit_batch(upright, config.size, fit)[:, None],
                in_test=held_out,
                labels=labels[split][start:stop] if labels else None,
            )
            start = stop


def _find(folder: Path) -> tuple[str, dict[tuple[Split, str], Path], dict[str, int]]:
    """The name of the data set in `folder`, its files by split and content, and other files."""
    with reading(folder, f"a folder with {_EXPECTED}"):
        if not folder.exists():
            raise DataError(
                f"data.path {shown(folder)} does not exist: expected a folder with {_EXPECTED}"
            )
        if not folder.is_dir():
            raise DataError(
                f"data.path {shown(folder)} is a file: expected a folder with {_EXPECTED}"
            )
        for depth in (0, _MAX_DEPTH):
            sorter = Sorter(Wanted(frozenset()))
            sets = _sets(folder, depth, sorter)
            if sets:
                break
    if not sets:
        raise DataError(f"data.path {shown(folder)} holds no IDX files: expected {_EXPECTED}")
    if len(sets) > 1:
        patterns = (
            place.relative_to(folder) / (f"{name}*" if name else "train-*, t10k-*")
            for place, name in sets
        )
        names = ", ".join(sorted(shown(each.as_posix()) for each in patterns))
        raise DataError(
            f"data.path {shown(folder)} holds {len(sets)} data sets ({names}): expected one, in a "
            "folder of its own"
        )
    [((place, name), files)] = sets.items()
    _check_complete(place, files)
    return name, files, sorter.passed_over()


def _sets(
    folder: Path, depth: int, sorter: Sorter
) -> dict[tuple[Path, str], dict[tuple[Split, str], Path]]:
    """Data sets by where they are and by name, in `folder` and folders up to `depth` below it.

    Other files are counted by `sorter`.
    """
    sets: dict[tuple[Path, str], dict[tuple[Split, str], Path]] = {}
    for path in _files(folder, depth):
        match = _NAME.fullmatch(path.name)
        if match is None:
            sorter.pass_over(path.name)
            continue
        # A folder of the name of a file stands for the file in it.
        own_folder = path.parent != folder and _NAME.fullmatch(path.parent.name) is not None
        place = path.parent.parent if own_folder else path.parent
        split: Split = "train" if match["split"].lower() == "train" else "test"
        key = (split, match["what"].lower())
        known = sets.setdefault((place, match["set"]), {}).setdefault(key, path)
        if known != path and known.name != path.name.removesuffix(".gz"):
            raise DataError(
                f"{shown(place)} holds both {shown(known.name)} and {shown(path.name)}: expected "
                "one of them"
            )
    return sets


def _files(folder: Path, depth: int) -> Iterator[Path]:
    """Files in `folder` and below, sorted: an unpacked file before its .gz, and it is kept."""
    for path in sorted(folder.iterdir()):
        if is_debris(path.name):
            continue
        if path.is_file():
            yield path
        elif depth and path.is_dir():
            yield from _files(path, depth - 1)


def _check_complete(folder: Path, files: dict[tuple[Split, str], Path]) -> None:
    if ("train", "images") not in files:
        found = ", ".join(sorted(path.name for path in files.values()))
        raise DataError(
            f"{shown(folder)} holds {shown(found)}, but no training images: expected {_EXPECTED}"
        )
    labelled = {split for split in SPLITS if (split, "labels") in files}
    for split in SPLITS:
        if (split, "images") in files:
            if labelled and split not in labelled:
                path = files[split, "images"]
                raise DataError(
                    f"{shown(path)} has no labels beside it, but the other split has: expected "
                    f"{shown(path.name.replace('images', 'labels').replace('idx3', 'idx1'))}"
                )
        elif split in labelled:
            raise DataError(f"{shown(files[split, 'labels'])} has no images beside it")


def _check_images(path: Path) -> _ImageFile:
    with _opened(path) as file:
        count, height, width = _read_header(path, file, _IMAGES_MAGIC, 3)
    if not (1 <= count <= MAX_COUNT and 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise DataError(
            f"{shown(path)} says that it holds {count} images of {height} rows and {width} "
            f"columns: expected 1 to {MAX_COUNT} images of 1 to {MAX_SIDE}"
        )
    return _ImageFile(path, count, height, width)


def _check_shapes(images: dict[Split, _ImageFile]) -> None:
    if len({(file.height, file.width) for file in images.values()}) > 1:
        train, test = images["train"], images["test"]
        raise DataError(
            f"{shown(test.path)} has {test.height} rows and {test.width} columns an image, but "
            f"{shown(train.path.name)} has {train.height} and {train.width}"
        )


def _check_pad(file: _ImageFile, size: int) -> None:
    try:
        check_pad(file.height, file.width, size)
    except DoesNotFitError as error:
        raise DataError(f"{shown(file.path)}: {error}") from None


def _read_images(file: _ImageFile) -> Iterator[npt.NDArray[np.uint8]]:
    """Blocks of consecutive images, uint8 `[B, height, width]`; the last one may be smaller."""
    image_bytes = file.height * file.width
    rows = max(1, _BLOCK_BYTES // image_bytes)
    with _opened(file.path) as stream:
        stream.read(16)
        for start in range(0, file.count, rows):
            count = min(rows, file.count - start)
            content = stream.read(count * image_bytes)
            if len(content) < count * image_bytes:
                found = start + len(content) // image_bytes
                raise DataError(
                    f"{shown(file.path)} is truncated: its header says {file.count} images, but it "
                    f"holds {found}"
                )
            yield np.frombuffer(content, np.uint8).reshape(count, file.height, file.width)
        _check_end(file.path, stream, f"{file.count} images")


def _read_labels(path: Path, images: _ImageFile) -> npt.NDArray[np.uint8]:
    """All labels as they stand in the file, uint8 `[N]`."""
    with _opened(path) as stream:
        columns = 0
        if "idx2" in path.name:
            count, columns = _read_header(path, stream, _ROWS_MAGIC, 2)
            if not 1 <= columns <= _MAX_ROW:
                raise DataError(
                    f"{shown(path)} has rows of {columns} numbers: expected 1 to {_MAX_ROW}, the "
                    "class before others"
                )
        else:
            (count,) = _read_header(path, stream, _LABELS_MAGIC, 1)
        if count != images.count:
            raise DataError(
                f"{shown(path)} has {count} labels, but {shown(images.path.name)} has "
                f"{images.count} images"
            )
        label_bytes = 4 * columns or 1
        content = stream.read(count * label_bytes)
        if len(content) < count * label_bytes:
            raise DataError(
                f"{shown(path)} is truncated: its header says {count} labels, but it holds "
                f"{len(content) // label_bytes}"
            )
        _check_end(path, stream, f"{count} labels")
    if not columns:
        return np.frombuffer(content, np.uint8)
    classes = np.frombuffer(content, ">i4").reshape(count, columns)[:, 0]
    if classes.min() < 0 or classes.max() > 255:
        raise DataError(
            f"{shown(path)} has classes from {classes.min()} to {classes.max()}: expected 0 to 255"
        )
    return classes.astype(np.uint8)


def _index_labels(
    labels: dict[Split, npt.NDArray[np.uint8]],
) -> tuple[tuple[str, ...] | None, dict[Split, npt.NDArray[np.int64]]]:
    """The values that occur, as names, and the labels as indices into them."""
    if not labels:
        return None, {}
    # Not every set starts at 0: the letters of EMNIST go from 1 to 26.
    values = np.unique(np.concatenate(list(labels.values())))
    indices = {
        split: np.searchsorted(values, each).astype(np.int64) for split, each in labels.items()
    }
    return tuple(str(value) for value in values), indices


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacking it if it is gzipped; what goes wrong in reading names `path`."""
    try:
        with contextlib.ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(path.open("rb"))
            gzipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if gzipped:
                file = cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=file)))
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{shown(path)} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {shown(path)}: {error.strerror or error}") from error


def _read_header(path: Path, file: IO[bytes], magic: int, dimensions: int) -> list[int]:
    header = file.read(4 + 4 * dimensions)
    found = int.from_bytes(header[:4], "big")
    unit = "numbers" if magic == _ROWS_MAGIC else "bytes"
    if len(header) >= 4 and found != magic:
        raise DataError(
            f"{shown(path)} starts with the number 0x{found:08x}: expected 0x{magic:08x}, an IDX "
            f"file of {unit} in {dimensions} dimension{'s' if dimensions > 1 else ''}"
        )
    if len(header) < 4 + 4 * dimensions:
        raise DataError(f"{shown(path)} is truncated: it ends within its header")
    return [int.from_bytes(header[at : at + 4], "big") for at in range(4, len(header), 4)]


def _check_end(path: Path, file: IO[bytes], expected: str) -> None:
    if file.read(1):
        raise DataError(f"{shown(path)} goes on after the {expected} that its header says")
