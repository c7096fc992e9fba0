"""Image files in a folder, nested as deep as may be, or in a `.zip` or `.tar` of such.

What folders mean is the business of `gan.preparation.layout`, and what stands in files beside the
images of `gan.preparation.label_files`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gan.config import DataConfig
from gan.errors import DataError, shown
from gan.preparation import formats
from gan.preparation.archives import open_collection
from gan.preparation.decode import Form, decode_chunk
from gan.preparation.label_files import is_label_file, labels_beside
from gan.preparation.layout import folder_labels, printable, read_layout
from gan.preparation.listing import Content, Wanted
from gan.preparation.pool import ordered_map
from gan.preparation.shards import open_shards
from gan.preparation.sources import Batch, Failure, Source, passed_over_text

# A chunk goes to one worker and comes back as one array: large enough that the journey costs
# little, small enough that some dozens of them are nothing in memory.
CHUNK_IMAGES = 64
CHUNK_BYTES = 1 << 21

_EXPECTED = f"{formats.NAMES} files, in folders named after their labels if they have any"


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The images under `config.path`, decoded by `workers` processes.

    Raises:
        DataError: the path is missing, holds no images, or is an archive that is damaged or
            refused (see `gan.preparation.archives`), or a file of labels does not fit the images;
            names the path. Images that cannot be read are failures in the batches.
    """
    path = Path(config.path)
    open_one = functools.partial(
        open_collection,
        wanted=Wanted(formats.readable_endings(), is_label_file(config.labels)),
        links=config.links,
        zip_names=config.zip_names,
    )
    if config.shards:
        collection = open_shards(path, config.shards, open_one, config.labels)
    else:
        collection = open_one(path)
    names = collection.names
    if not names:
        others = passed_over_text(collection.passed_over)
        raise DataError(
            f"data.path {shown(path)} holds no images: expected {_EXPECTED}"
            + (f"; passed over: {others}" if others else "")
        )
    layout = read_layout(path, names, config.test_fraction)
    names = [names[place] for place in layout.kept]
    labels, told = labels_beside(path, names, collection.aside, config.labels, config.label_column)
    if not told:
        labels = folder_labels(path, names, layout.depth)
    fit = "resize" if config.fit == "auto" else config.fit
    form = Form(config.size, config.channels, fit, config.max_pixels)
    return Source(
        shape=(form.channels, form.size, form.size),
        label_names=None if labels is None else labels.names,
        total=len(names),
        batches=_batches(
            form,
            names,
            collection.read(layout.kept.tolist()),
            None if labels is None else labels.indices,
            layout.held_out,
            workers,
        ),
        passed_over={**collection.passed_over, **layout.left_out},
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
                failures=tuple(Failure(printable(name), reason) for name, reason in failures),
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
