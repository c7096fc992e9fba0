"""From a source to the prepared form, as a stream."""

from __future__ import annotations

import contextlib
import logging
import os

import numpy as np
from tqdm import tqdm

from gan.config import DataConfig
from gan.data.prepared import SPLITS, Manifest
from gan.data.sources import Batch, Failure, open_source
from gan.data.writer import PreparedWriter
from gan.errors import DataError

# Names of unreadable examples that a message shows.
MAX_NAMES_SHOWN = 20

_log = logging.getLogger(__name__)


def prepare(
    config: DataConfig,
    out: str | os.PathLike[str],
    *,
    workers: int = 0,
    progress: bool = True,
) -> Manifest:
    """Read the source that `config` asks for and write it to the folder `out`.

    Args:
        config: which source, and what its examples become.
        out: folder of the prepared form; see `gan.data.prepared`.
        workers: processes that decode images; 0 decodes in this one. Does not change the result.
        progress: show a progress bar.

    Returns:
        The manifest, as it stands in `out`.

    Raises:
        DataError: the source is missing, empty or damaged, a split would be empty, or examples
            cannot be read while `config.on_error` is `stop`; nothing is written.
        UserError: `out` cannot be written, or a package is missing; nothing is written.
    """
    source = open_source(config, workers)
    failures = _Failures(config)
    unit = "img" if source.kind == "images" else "pt"
    with (
        contextlib.closing(source.batches) as batches,
        PreparedWriter(
            out,
            source=source.name or config.name,
            shape=source.shape,
            label_names=source.label_names,
            kind=source.kind,
        ) as writer,
        tqdm(total=source.total, desc="prepare", unit=unit, disable=not progress) as bar,
    ):
        for batch in batches:
            _append(writer, batch)
            failures.add(batch.failures, writer)
            bar.update(len(batch.examples) + len(batch.failures))
        failures.finish()
        _check_counts(config, writer)
    return writer.manifest


class _Failures:
    """What becomes of examples that cannot be read: all are listed, then `data.on_error` rules."""

    def __init__(self, config: DataConfig) -> None:
        self._config = config
        self._count = 0
        self._shown: list[Failure] = []

    def add(self, failures: tuple[Failure, ...], writer: PreparedWriter) -> None:
        self._count += len(failures)
        self._shown += failures[: MAX_NAMES_SHOWN - len(self._shown)]
        for failure in failures:
            writer.skip(failure.name)

    def finish(self) -> None:
        if not self._count:
            return
        several = self._count > 1
        counted = f"{self._count} image{'s' if several else ''} in {self._config.path}"
        lines = [f"  {failure.name}: {failure.reason}" for failure in self._shown]
        if self._count > len(lines):
            lines.append(f"  … and {self._count - len(lines)} more")
        listing = "\n".join(lines)
        if self._config.on_error == "stop":
            raise DataError(
                f"{counted} cannot be read:\n{listing}\n"
                f"Repair or remove {'them' if several else 'it'}, or set data.on_error to skip"
            )
        _log.warning("%s %s skipped:\n%s", counted, "were" if several else "was", listing)


def _append(writer: PreparedWriter, batch: Batch) -> None:
    for split in SPLITS:
        chosen = batch.in_test == (split == "test")
        if chosen.all():
            # Nothing to pick out, so nothing to copy.
            writer.append(split, batch.examples, batch.labels)
        elif chosen.any():
            labels = None if batch.labels is None else batch.labels[chosen]
            writer.append(split, batch.examples[np.flatnonzero(chosen)], labels)


def _check_counts(config: DataConfig, writer: PreparedWriter) -> None:
    train, test = writer.count("train"), writer.count("test")
    if train + test == 0:
        raise DataError(f"data.name {config.name}: no image of it can be used")
    if train == 0 or test == 0:
        raise DataError(
            f"data.name {config.name}: of {train + test} images {train} are for training and "
            f"{test} for testing, and neither may be none: give more images, or another "
            f"data.test_fraction (now {config.test_fraction})"
        )
