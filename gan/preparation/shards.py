"""Data in many archives, `train-{000..999}.tar` and the like, read as one.

Names are those in the archives. One that several of them have gets the name of its archive before
its own; the folders stay, since they may be labels. Archives whose names begin with different
splits, `{train,val}-{00..09}.tar`, are as folders of these splits.
"""

from __future__ import annotations

import collections
import functools
import itertools
import posixpath
import re
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from gan.errors import DataError, shown
from gan.preparation.label_files import CLASS_ENDING
from gan.preparation.listing import Collection, Content, UnreadableError, by_ending, load
from gan.preparation.named_splits import split_of

MAX_SHARDS = 100_000

_GROUP = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")


def open_shards(
    folder: Path, pattern: str, open_one: Callable[[Path], Collection], table: str = ""
) -> Collection:
    """All files of the archives in `folder` that `pattern` names, those of the first one first.

    Args:
        folder: where they are.
        pattern: of their names; see `expand`.
        open_one: lists one of them.
        table: name of the table of labels of all, in `folder` or in one of them; empty: none.

    Raises:
        DataError: the pattern is none, or an archive is missing, or there are several tables;
            as `open_one` raises it.
    """
    names = expand(pattern)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"data.shards {shown(pattern)} names {len(names)} archives in {shown(folder)}, of "
            f"which {len(missing)} {'is' if len(missing) == 1 else 'are'} missing: the first is "
            f"{shown(missing[0])}"
        )
    shards = [open_one(folder / name) for name in names]
    splits = [split_of(posixpath.basename(name)) for name in names]
    divided = None not in splits and len(set(splits)) > 1
    counted = collections.Counter(
        stem for shard in shards for stem in {_stem(each) for each in (*shard.names, *shard.aside)}
    )

    def told(each: str, name: str, split: str | None) -> str:
        return _named(each, name, split if divided else None, counted[_stem(each)] > 1)

    passed_over: collections.Counter[str] = collections.Counter()
    for shard in shards:
        passed_over.update(shard.passed_over)
        for each in shard.aside:
            if counted[_stem(each)] > 1 and not each.endswith(CLASS_ENDING):
                raise DataError(
                    f"data.shards {shown(pattern)}: several archives have labels in "
                    f"{shown(each)}: expected one, or a {CLASS_ENDING} file an image"
                )
    rows = list(zip(names, splits, shards, strict=True))
    aside = {
        # The table is of all splits.
        each if each == table else told(each, name, split): content
        for name, split, shard in rows
        for each, content in shard.aside.items()
    }
    if table and _is_within(table) and (folder / table).is_file():
        if table in aside:
            raise DataError(
                f"data.labels {shown(table)} is in {shown(folder)} and in one of its archives: "
                "expected one of them"
            )
        try:
            aside[table] = load(folder / table)
        except UnreadableError as error:
            raise DataError(f"{shown(folder / table)} {error}") from None
    return Collection(
        [told(each, name, split) for name, split, shard in rows for each in shard.names],
        functools.partial(_read, shards),
        aside,
        by_ending(passed_over),
    )


def _read(shards: list[Collection], places: Sequence[int]) -> Generator[Content, None, None]:
    start = at = 0
    for shard in shards:
        end = at
        while end < len(places) and places[end] < start + len(shard.names):
            end += 1
        if end > at:
            yield from shard.read([place - start for place in places[at:end]])
        start, at = start + len(shard.names), end


def _stem(name: str) -> str:
    """What a file and the one with its label have in common."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def expand(pattern: str) -> list[str]:
    """The names that `pattern` stands for: `{000..999}` counts, `{a,b}` lists.

    Numbers have as many digits as the longer end has, where either begins with 0.

    Raises:
        DataError: a brace is alone, a range runs backwards, the pattern leads out of the folder, or
            it stands for more than `MAX_SHARDS` names, or for one name twice.
    """
    parts = _GROUP.split(pattern)
    # Texts at even places, what is in braces at odd ones.
    choices = [_choices(part, pattern) if place % 2 else [part] for place, part in enumerate(parts)]
    count = 1
    for each in choices:
        count *= len(each)
    if any(brace in part for part in parts for brace in "{}"):
        raise _refused(pattern, "has a brace alone")
    if count > MAX_SHARDS:
        raise _refused(pattern, f"stands for {count} names, more than {MAX_SHARDS}")
    names = ["".join(each) for each in itertools.product(*choices)]
    if len(set(names)) < len(names):
        raise _refused(pattern, "stands for a name twice")
    if not all(map(_is_within, names)):
        raise _refused(pattern, "leads out of data.path")
    return names


def _is_within(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/")


def _choices(group: str, pattern: str) -> list[str]:
    match = _RANGE.fullmatch(group)
    if match is None:
        if ".." in group:
            raise _refused(pattern, f"has the range {{{shown(group, 40)}}}")
        return group.split(",")
    first, last = match.groups()
    if int(first) > int(last):
        raise _refused(pattern, f"has the range {{{group}}}, which runs backwards")
    if int(last) - int(first) >= MAX_SHARDS:
        raise _refused(pattern, f"has the range {{{group}}}, of more than {MAX_SHARDS} names")
    padded = any(end.startswith("0") and len(end) > 1 for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return [f"{number:0{width}}" for number in range(int(first), int(last) + 1)]


def _named(name: str, shard: str, split: str | None, ambiguous: bool) -> str:
    if ambiguous:
        folder, slash, last = name.rpartition("/")
        # Without dots: what comes before the first is what an image and its label share.
        own = posixpath.basename(shard).replace(".", "_")
        name = f"{folder}{slash}{own}:{last}"
    return name if split is None else f"{split}/{name}"


def _refused(pattern: str, reason: str) -> DataError:
    return DataError(
        f"data.shards {shown(pattern)} {reason}: expected names with {{000..999}} or {{a,b}}"
    )
