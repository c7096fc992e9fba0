"""What becomes of each file of a folder or an archive: listed, read at once, or passed over."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from gan.errors import DataError, shown

# No image of use is larger, while a few kilobytes of an archive can unpack to petabytes.
MAX_FILE_BYTES = 1 << 28
# Endings of files passed over that are told apart; those of all others are counted together.
MAX_ENDINGS = 20
# What systems and programs leave behind: their own bins, thumbnails and caches.
DEBRIS_FOLDERS = frozenset(
    {
        "__macosx", "__pycache__", "@eadir", "#recycle", "#snapshot", "@recycle", "$recycle.bin",
        "recycler", "system volume information", "lost+found",
    }
)  # fmt: skip
DEBRIS_FILES = frozenset({"thumbs.db", "desktop.ini"})


class UnreadableError(Exception):
    """The content of one file cannot be read; the message says why, without the name."""


# What `load` takes: the content itself, where it lies, or why there is none.
Content: TypeAlias = "bytes | Path | UnreadableError"


def _nothing(name: str) -> bool:
    return False


@dataclass(frozen=True)
class Wanted:
    """Which files are listed, and which are read at once."""

    suffixes: frozenset[str]  # lower case, with dot
    aside: Callable[[str], bool] = _nothing  # says of a name whether its file is read at once


@dataclass(frozen=True)
class Collection:
    """The files of a folder or an archive."""

    names: list[str]  # relative, parts joined by "/", in the order in which they are read
    # The contents at these places, which ascend.
    read: Callable[[Sequence[int]], Generator[Content, None, None]]
    aside: Mapping[str, bytes] = field(default_factory=dict)  # contents of those read at once
    passed_over: Mapping[str, int] = field(default_factory=dict)  # files by their endings

    def contents(self) -> Generator[Content, None, None]:
        """All contents, in the order of `names`."""
        return self.read(range(len(self.names)))


class Sorter:
    """Decides over files by their names and counts what is passed over."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._passed_over: collections.Counter[str] = collections.Counter()

    def is_listed(self, name: str) -> bool:
        """Whether the file `name` is one of those that are listed."""
        return ending(name) in self._wanted.suffixes

    def is_aside(self, name: str) -> bool:
        """Whether the file `name` is to be read at once."""
        return self._wanted.aside(name)

    def pass_over(self, name: str, kind: str | None = None) -> None:
        """Count the file `name`, as one of this kind rather than by its ending if that is given."""
        if name.rpartition("/")[2].lower() not in DEBRIS_FILES:
            self._passed_over[ending(name) if kind is None else kind] += 1

    def passed_over(self) -> dict[str, int]:
        """Files by ending, in the order of endings."""
        return by_ending(self._passed_over)


def by_ending(counted: Mapping[str, int]) -> dict[str, int]:
    """Counts of endings as they are told: the most frequent ones, and the rest together."""
    common = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    told: dict[str, int] = {}
    for rank, (name, count) in enumerate(common):
        key = (shown(name, 24) or "no ending") if rank < MAX_ENDINGS else "other endings"
        told[key] = told.get(key, 0) + count
    return dict(sorted(told.items()))


def ending(name: str) -> str:
    """The ending of a file's name in lower case, with its dot; or nothing."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - called for every file


def is_debris(part: str) -> bool:
    """Whether a part of a name says that it and what is in it is no data: hidden, or a bin."""
    return part.startswith(".") or part.lower() in DEBRIS_FOLDERS


def load(content: Content) -> bytes:
    """The bytes of a file.

    Raises:
        UnreadableError: they cannot be read, or are more than `MAX_FILE_BYTES`.
    """
    if isinstance(content, UnreadableError):
        raise content
    if isinstance(content, bytes):
        return content
    try:
        with content.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise UnreadableError(too_large(size))
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror or error}") from error


def too_large(size: int) -> str:
    """What is wrong with a file of so many bytes."""
    return f"has {size} bytes, more than the {MAX_FILE_BYTES} that are read"


def refused(archive: Path, member: str, reason: str) -> DataError:
    """The error over a member for which a whole archive is refused."""
    return DataError(f"{shown(archive)} is refused: its member '{shown(member)}' {reason}")
