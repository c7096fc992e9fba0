"""Image files in a folder, nested as deep as may be, or in a `.zip` or `.tar` of such.

What the folders mean: a folder around everything means nothing and is passed through. Below it,
the first level is the label, provided that every image lies in a folder. If that level is `train`
and `test` (or `val`, `valid`, `validation`), these are the splits, and the next level the label.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import posixpath
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gan.config import DataConfig
from gan.errors import DataError
from gan.preparation.archives import Content, open_collection
from gan.preparation.decode import SUFFIXES, Form, decode_chunk
from gan.preparation.pool import ordered_map
from gan.preparation.shards import open_shards
from gan.preparation.sources import Batch, Failure, Source
from gan.preparation.split import in_test

# A chunk goes to one worker and comes back as one array: large enough that the journey costs
# little, small enough that some dozens of them are nothing in memory.
CHUNK_IMAGES = 64
CHUNK_BYTES = 1 << 21

_TEST_FOLDERS = {"test", "val", "valid", "validation"}
_EXPECTED = "PNG, JPEG, WebP or BMP files, in folders named after their labels if they have any"

_log = logging.getLogger(__name__)


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The images under `config.path`, decoded by `workers` processes.

    Raises:
        DataError: the path is missing, holds no images, or is an archive that is damaged or
            refused (see `gan.preparation.archives`); names the path. Images that cannot be read are
            failures in the batches.
    """
    path = Path(config.path)
    open_one = functools.partial(open_collection, suffixes=SUFFIXES)
    collection = open_shards(path, config.shards, open_one) if config.shards else open_one(path)
    names = collection.names
    if not names:
        raise DataError(f"data.path {path} holds no images: expected {_EXPECTED}")
    label_names, labels, held_out = _read_folders(path, names, config.test_fraction)
    fit = "resize" if config.fit == "auto" else config.fit
    form = Form(config.size, config.channels, fit)
    return Source(
        shape=(form.channels, form.size, form.size),
        label_names=label_names,
        total=len(names),
        batches=_batches(form, names, collection.contents(), labels, held_out, workers),
    )


def _batches(
    form: Form,
    names: list[str],
    contents: Generator[Content, None, None],
    labels: npt.NDArray[np.int64] | None,
    held_out: npt.NDArray[np.bool_],
    workers: int,
) -> Generator[Batch, None, None]:
    images_a_chunk = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // (form.channels * form.size**2)))
    if len(names) <= images_a_chunk:
        workers = 0  # they would take longer to start
    chunks = _chunks(zip(names, contents, strict=True), images_a_chunk)
    decoded = ordered_map(functools.partial(decode_chunk, form), chunks, workers)
    start = 0
    with contextlib.closing(contents), contextlib.closing(decoded):
        for chunk, (images, places, failures) in decoded:
            kept = start + places
            yield Batch(
                examples=images,
                in_test=held_out[kept],
                labels=None if labels is None else labels[kept],
                failures=tuple(Failure(_printable(name), reason) for name, reason in failures),
            )
            start += len(chunk)


def _chunks(
    files: Iterable[tuple[str, Content]], images_a_chunk: int
) -> Iterator[list[tuple[str, Content]]]:
    chunk: list[tuple[str, Content]] = []
    size = 0
    for name, content in files:
        chunk.append((name, content))
        size += len(content) if isinstance(content, bytes) else 0
        if len(chunk) == images_a_chunk or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read_folders(
    path: Path, names: list[str], test_fraction: float
) -> tuple[tuple[str, ...] | None, npt.NDArray[np.int64] | None, npt.NDArray[np.bool_]]:
    """Label names, labels (int64 [N]) and which images are held out (bool [N])."""
    # The first and the last in order share what all share.
    around = posixpath.commonpath([posixpath.dirname(name) for name in (min(names), max(names))])
    depth = around.count("/") + 1 if around else 0
    splits = _split_folders(path, names, depth)
    if splits is None:
        held_out = np.fromiter((in_test(name, test_fraction) for name in names), bool, len(names))
    else:
        test_folder = splits[1]
        held_out = np.fromiter(
            (name.split("/", depth + 1)[depth] == test_folder for name in names), bool, len(names)
        )
        depth += 1
    label_names, labels = _read_labels(path, names, depth)
    return label_names, labels, held_out


def _split_folders(path: Path, names: list[str], depth: int) -> tuple[str, str] | None:
    """The folders of training and test images, if the images are divided in that way."""
    level = {_part(name, depth) for name in names}
    if None in level:
        return None
    folders = {folder.lower(): folder for folder in level if folder is not None}
    if len(folders) < len(level) or "train" not in folders:
        return None
    others = sorted(set(folders) - {"train"})
    if not set(others) <= _TEST_FOLDERS:
        return None
    if len(others) > 1:
        raise DataError(
            f"data.path {path} has the folders {', '.join(sorted(folders.values()))}: expected "
            "train and one other to test with"
        )
    return folders["train"], folders[others[0]]


def _read_labels(
    path: Path, names: list[str], depth: int
) -> tuple[tuple[str, ...] | None, npt.NDArray[np.int64] | None]:
    """The folders at `depth` as names, and for each image its index into them, int64 [N]."""
    found = {_part(name, depth) for name in names}
    folders = sorted(folder for folder in found if folder is not None)
    if None in found:
        if folders:
            stray = next(name for name in names if _part(name, depth) is None)
            _log.warning(
                "%s has images beside its folders, such as %s, so folders are not taken for labels",
                path, _printable(stray),
            )  # fmt: skip
        return None, None
    if len(folders) == 1:
        return None, None  # says nothing about any image
    index = {folder: place for place, folder in enumerate(folders)}
    labels = (index[name.split("/", depth + 1)[depth]] for name in names)
    return (
        tuple(_printable(folder) for folder in folders),
        np.fromiter(labels, np.int64, len(names)),
    )


def _part(name: str, depth: int) -> str | None:
    """The folder of `name` at `depth`, or None if the file itself lies there."""
    parts = name.split("/", depth + 1)
    return parts[depth] if len(parts) > depth + 1 else None


def _printable(name: str) -> str:
    """File names may be no valid text; what is not is written as an escape."""
    return name.encode("utf-8", "backslashreplace").decode()
