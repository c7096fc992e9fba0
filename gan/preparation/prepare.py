"""From a source to the prepared form, as a stream."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import sys
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from gan.config import DataConfig
from gan.data.extent import Extent
from gan.data.manifest import SPLITS, STORED, Manifest
from gan.errors import DataError, shown
from gan.preparation.quantise import PaletteSample, quantised
from gan.preparation.sources import Batch, Failure, Source, open_source, passed_over_text
from gan.preparation.writer import PreparedWriter
from gan.symbols import Colours

# Names of unreadable examples that a message shows.
MAX_NAMES_SHOWN = 20

_log = logging.getLogger(__name__)


def prepare(
    config: DataConfig,
    out: str | os.PathLike[str],
    *,
    workers: int = 0,
    progress: bool = True,
    check: Callable[[Extent], None] | None = None,
) -> Manifest:
    """Read the source that `config` asks for and write it to the folder `out`.

    Args:
        config: which source, and what its examples become.
        out: folder of the prepared form; see `gan.data.prepared`.
        workers: processes that decode images; 0 decodes in this one. Does not change the result.
        progress: show a progress bar.
        check: is asked whether data of this size will do, before anything is read and again before
            anything takes its place; raises if not, see `gan.data.limits`.

    Returns:
        The manifest, as it stands in `out`.

    Raises:
        DataError: the source is missing, empty or damaged, names of its labels are empty or come
            twice, a split would be empty, or examples cannot be read while `config.on_error` is
            `stop`; nothing is written.
        UserError: `out` cannot be written, or a package is missing; nothing is written.
    """
    source = _open(config, workers, progress)
    _check_names(config, source.label_names or ())
    stored = STORED[source.kind]
    if source.passed_over:
        _log.warning(
            "%s: passed over: %s", shown(config.path), passed_over_text(source.passed_over)
        )
    if check is not None:
        most = sys.maxsize if source.total is None else source.total
        check(_extent(source, most, most, complete=False))
    failures = _Failures(config, stored.noun)
    classes = _Classes(source.label_names)
    with (
        contextlib.closing(source.batches) as batches,
        PreparedWriter(
            out,
            source=config.name,
            shape=source.shape,
            label_names=source.label_names,
            kind=source.kind,
            alphabet=source.alphabet,
            toy=source.toy,
            without_symbol=source.without_symbol,
            passed_over=source.passed_over,
            columns=source.columns,
        ) as writer,
        tqdm(total=source.total, desc="prepare", unit=stored.unit, disable=not progress) as bar,
    ):
        for batch in batches:
            _append(writer, batch)
            classes.add(batch)
            failures.add(batch.failures)
            for failure in batch.failures:
                writer.skip(failure.name)
            bar.update(len(batch.examples) + len(batch.failures))
        failures.finish()
        _check_counts(config, writer, stored.noun, source.if_few)
        if check is not None:
            extent = _extent(source, writer.count("train"), writer.count("test"), complete=True)
            check(extent._replace(only_held_out=classes.only_held_out()))
    return writer.manifest()


def _check_names(config: DataConfig, names: tuple[str, ...]) -> None:
    """Raises for names of classes by which these cannot be told apart."""
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    if repeated or "" in names:
        found = (
            f"{shown(repeated[0])!r} more than once, at the places "
            + shown(", ".join(str(at) for at, name in enumerate(names) if name == repeated[0]))
            if repeated
            else f"an empty one, at the place {names.index('')}"
        )
        raise DataError(
            f"data.path {shown(config.path)} has among its {len(names)} names of labels {found}: "
            "expected a name for each, all different"
        )


def _extent(source: Source, train: int, test: int, *, complete: bool) -> Extent:
    classes = len(source.label_names or ())
    return Extent(source.kind, source.shape, train, test, classes, complete=complete)


def _open(config: DataConfig, workers: int, progress: bool) -> Source:
    """The source that `config` asks for, its images as symbols if it asks for these."""
    if config.levels:
        return quantised(open_source(config, workers), Colours.levels(config.levels))
    if config.palette:
        palette = _choose_palette(config, workers, progress)
        return quantised(open_source(config, workers), palette)
    return open_source(config, workers)


def _choose_palette(config: DataConfig, workers: int, progress: bool) -> Colours:
    """Read the source once for the colours of its training images."""
    source = open_source(config, workers)
    failures = _Failures(config)
    sample = PaletteSample()
    with (
        contextlib.closing(source.batches) as batches,
        tqdm(total=source.total, desc="palette", unit="img", disable=not progress) as bar,
    ):
        for batch in batches:
            sample.add(batch.examples[np.flatnonzero(~batch.in_test)])
            failures.add(batch.failures)
            bar.update(len(batch.examples) + len(batch.failures))
    if config.on_error == "stop":
        failures.finish()  # rather than after reading everything once more
    return sample.palette(config.palette)


class _Failures:
    """What becomes of examples that cannot be read: all are listed, then `data.on_error` rules."""

    def __init__(self, config: DataConfig, noun: str = "image") -> None:
        self._config = config
        self._noun = noun
        self._count = 0
        self._shown: list[Failure] = []

    def add(self, failures: tuple[Failure, ...]) -> None:
        self._count += len(failures)
        self._shown += failures[: MAX_NAMES_SHOWN - len(self._shown)]

    def finish(self) -> None:
        if not self._count:
            return
        several = self._count > 1
        counted = (
            f"{self._count} {self._noun}{'s' if several else ''} in {shown(self._config.path)}"
        )
        lines = [
            f"  {shown(failure.name)}: {shown(failure.reason, 400)}" for failure in self._shown
        ]
        if self._count > len(lines):
            lines.append(f"  … and {self._count - len(lines)} more")
        listing = "\n".join(lines)
        if self._config.on_error == "stop":
            raise DataError(
                f"{counted} cannot be read:\n{listing}\n"
                f"Repair or remove {'them' if several else 'it'}, or set data.on_error to skip"
            )
        _log.warning("%s %s skipped:\n%s", counted, "were" if several else "was", listing)


class _Classes:
    """How many examples of each class either split has."""

    def __init__(self, names: tuple[str, ...] | None) -> None:
        self._names = names or ()
        self._counts = {split: np.zeros(len(self._names), np.int64) for split in SPLITS}

    def add(self, batch: Batch) -> None:
        if batch.labels is None:
            return
        for split, counts in self._counts.items():
            chosen = batch.labels[batch.in_test == (split == "test")]
            counts += np.bincount(chosen, minlength=len(counts))

    def only_held_out(self) -> dict[str, int]:
        """Classes with examples to test with and none to train with, and how many."""
        return {
            name: int(test)
            for name, train, test in zip(
                self._names, self._counts["train"], self._counts["test"], strict=True
            )
            if test and not train
        }


def _append(writer: PreparedWriter, batch: Batch) -> None:
    for split in SPLITS:
        chosen = batch.in_test == (split == "test")
        if chosen.all():
            # Nothing to pick out, so nothing to copy.
            writer.append(split, batch.examples, batch.labels)
        elif chosen.any():
            labels = None if batch.labels is None else batch.labels[chosen]
            writer.append(split, batch.examples[np.flatnonzero(chosen)], labels)


def _check_counts(config: DataConfig, writer: PreparedWriter, noun: str, if_few: str) -> None:
    train, test = writer.count("train"), writer.count("test")
    if train + test == 0:
        raise DataError(f"data.name {config.name}: no {noun} of it can be used")
    if train == 0 or test == 0:
        raise DataError(
            f"data.name {config.name}: of {train + test} {noun}s {train} are for training and "
            f"{test} for testing, and neither may be none: give more {noun}s, or another "
            f"data.test_fraction (now {config.test_fraction})" + (f"; {if_few}" if if_few else "")
        )
