"""Image files out of a stream, with what is known of each, to batches of decoded images."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np

from gan.config import DataConfig
from gan.preparation.decode import Form, decode_chunk
from gan.preparation.listing import Content
from gan.preparation.pool import ordered_map
from gan.preparation.sources import Batch, Failure
from gan.preparation.sources.images import CHUNK_BYTES, CHUNK_IMAGES


class Example(NamedTuple):
    """An image file."""

    name: str  # for messages
    content: Content
    label: int  # an index; -1 where there are no labels
    held_out: bool


def form_of(config: DataConfig) -> Form:
    """What the images become."""
    fit = "resize" if config.fit == "auto" else config.fit
    return Form(config.size, config.channels, fit, config.max_pixels)


def decoded(
    form: Form, examples: Generator[Example, None, None], workers: int, *, labelled: bool
) -> Generator[Batch, None, None]:
    """Batches of `examples`, decoded by `workers` processes; closes `examples` in the end.

    Raises:
        DataError: an image is larger than the square that it should be padded to.
        UserError: a worker died, or there is not enough memory for an image.
    """
    images_a_chunk = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // (form.channels * form.size**2)))
    kept: list[list[Example]] = []  # of each chunk on its way, what is known without its content

    def chunks() -> Iterator[list[tuple[str, Content]]]:
        for chunk in _chunks(examples, images_a_chunk):
            kept.append([each._replace(content=b"") for each in chunk])
            yield [(each.name, each.content) for each in chunk]

    results = ordered_map(functools.partial(decode_chunk, form), chunks(), workers)
    with contextlib.closing(examples), contextlib.closing(results):
        for _, (images, places, failures) in results:
            known = kept.pop(0)
            readable = [known[place] for place in places]
            yield Batch(
                examples=images,
                in_test=np.array([each.held_out for each in readable], bool),
                labels=np.array([each.label for each in readable], np.int64) if labelled else None,
                failures=tuple(Failure(name, reason) for name, reason in failures),
            )


def _chunks(examples: Iterator[Example], images_a_chunk: int) -> Iterator[list[Example]]:
    chunk: list[Example] = []
    size = 0
    for example in examples:
        chunk.append(example)
        size += len(example.content) if isinstance(example.content, bytes) else 0
        if len(chunk) == images_a_chunk or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
