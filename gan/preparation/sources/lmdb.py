"""Image files in an LMDB, as LSUN stores them: every value is an encoded image.

An environment is a folder with `data.mdb`, or such a file. Several in one folder, named like LSUN's
`bedroom_train_lmdb` and `bedroom_val_lmdb`, are one data set: what comes before the split is the
label, where there are several. LMDB checks little of what it reads and dies of damaged files, so it
reads in a process of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from gan.config import DataConfig
from gan.errors import DataError, reading, shown
from gan.preparation.apart import apart
from gan.preparation.extras import need
from gan.preparation.listing import (
    MAX_FILE_BYTES,
    Content,
    Sorter,
    UnreadableError,
    Wanted,
    is_debris,
)
from gan.preparation.lmdb_reader import DATA, EXPECTED, count_entries, read_entries
from gan.preparation.named_splits import choose, split_of
from gan.preparation.sources import Source
from gan.preparation.split import in_test
from gan.preparation.stream import Example, decoded, form_of

_NAME = re.compile(r"(?P<label>.*?)[_-]?(?P<split>train|val|test)[_-]lmdb", re.IGNORECASE)

_log = logging.getLogger(__name__)


class _Environment(NamedTuple):
    path: Path
    key: str  # of its name, for the split
    label: str
    held_out: bool | None


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The environments at `config.path`, decoded by `workers` processes; the extra `lmdb` reads.

    Without a split to test with one is held out by a stable hash of the keys.

    Raises:
        DataError: an environment is missing, empty, truncated, or no LMDB; names it. Values that
            are no images are failures in the batches.
        UserError: lmdb is not installed.
    """
    need("lmdb", "lmdb", "data.name lmdb")
    sorter = Sorter(Wanted(frozenset()))
    environments = _find(Path(config.path), sorter)
    names = tuple(sorted({each.label for each in environments}))
    total = 0
    for environment in environments:
        with contextlib.closing(
            apart(count_entries, environment.path, path=environment.path)
        ) as counts:
            count = next(counts)
        if not count:
            raise DataError(f"{shown(environment.path)} is empty: expected {EXPECTED}")
        total += count
    labels = names if len(names) > 1 else None
    return Source(
        shape=(config.channels, config.size, config.size),
        label_names=labels,
        total=total,
        batches=decoded(
            form_of(config),
            _examples(environments, names, config.test_fraction),
            workers if total > 64 else 0,
            labelled=labels is not None,
        ),
        passed_over=sorter.passed_over(),
    )


def _examples(
    environments: list[_Environment], names: tuple[str, ...], test_fraction: float
) -> Generator[Example, None, None]:
    for environment in environments:
        label = names.index(environment.label)
        read = apart(read_entries, environment.path, path=environment.path)
        with contextlib.closing(read) as blocks:
            for key, value in itertools.chain.from_iterable(blocks):
                name = key.decode("utf-8", "backslashreplace")
                held_out = environment.held_out
                if held_out is None:
                    held_out = in_test(f"{environment.key}/{name}", test_fraction)
                yield Example(
                    f"{shown(environment.key)}: {shown(name)}", _content(value), label, held_out
                )


def _content(value: bytes | int) -> Content:
    if isinstance(value, int):
        return UnreadableError(f"has {value} bytes, more than the {MAX_FILE_BYTES} that are read")
    return value


def _find(path: Path, sorter: Sorter) -> list[_Environment]:
    """The environments at `path`; what lies beside them, or is left out, is counted by `sorter`."""
    if not path.exists():
        raise DataError(f"data.path {shown(path)} does not exist: expected {EXPECTED}")
    if path.is_file() or (path / DATA).is_file():
        return [_Environment(path, "lmdb", "", None)]
    with reading(path, EXPECTED):
        there = sorted(path.iterdir())
        found = [each for each in there if (each / DATA).is_file()]
        for each in there:
            if each not in found and not is_debris(each.name):
                sorter.pass_over(each.name, "folders" if each.is_dir() else None)
    if not found:
        raise DataError(f"data.path {shown(path)} holds no LMDB: expected {EXPECTED}")
    matches = {each: _NAME.fullmatch(each.name) for each in found}
    others = [each.name for each, match in matches.items() if match is None]
    if others and len(found) > 1:
        raise DataError(
            f"data.path {shown(path)} holds {len(found)} LMDBs, among them {shown(others[0])}: "
            f"expected {EXPECTED}"
        )
    splits = {each: split_of(match["split"]) if match else None for each, match in matches.items()}
    try:
        chosen = choose(set(splits.values()))
    except ValueError as error:
        raise DataError(
            f"data.path {shown(path)} has LMDBs whose splits do not go together: {error}"
        ) from None
    if chosen.left_out:
        left = [each.name for each, split in splits.items() if split in chosen.left_out]
        _log.warning("%s: left out %s", shown(path), shown(", ".join(left)))
        for name in left:
            sorter.pass_over(name, f"{name}/")
    return [
        _Environment(
            each,
            f"lmdb/{each.name}",
            match["label"] if match else "",
            None if chosen.test is None else splits[each] == chosen.test,
        )
        for each, match in matches.items()
        if splits[each] in (chosen.train, chosen.test)
    ]
