"""The files of a folder, links included."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from gan.errors import DataError, shown
from gan.preparation.listing import Collection, Content, Sorter, UnreadableError, is_debris, load

Links = Literal["follow", "refuse"]

# Of what links lead to: a link to the root of a file system lists all of it.
MAX_LINKED_FOLDERS = 100_000
# Folders below each other; no path of a file is longer than 4096 bytes either.
MAX_DEPTH = 256


class _Folder(NamedTuple):
    prefix: str  # of the names within, "" or with a slash at its end
    around: tuple[tuple[int, int], ...]  # device and number of what has been entered to get here
    linked: bool  # whether a link led here


def open_folder(root: Path, sorter: Sorter, links: Links) -> Collection:
    """List the files under `root` by name.

    A link to what is found under its own name in the same folder is passed over, since it would
    come twice. Any other is followed, and what it leads to has the name of the link.

    Raises:
        DataError: a link leads out of `root` and `links` is `refuse`, or more than
            `MAX_LINKED_FOLDERS` folders are reached by links.
        OSError: a folder cannot be listed.
    """
    return _Walk(root, sorter, links).collection()


class _Walk:
    def __init__(self, root: Path, sorter: Sorter, links: Links) -> None:
        self._root, self._sorter, self._links = root, sorter, links
        self._real_root = root.resolve()
        self._names: list[str] = []
        self._aside: dict[str, bytes] = {}
        self._linked = 0
        self._folders = [_Folder("", (_identity(root),), linked=False)]

    def collection(self) -> Collection:
        while self._folders:
            folder = self._folders.pop()
            with os.scandir(self._root / folder.prefix) as entries:
                for entry in entries:
                    if is_debris(entry.name):
                        continue
                    name = folder.prefix + entry.name
                    if entry.is_symlink():
                        self._follow(name, folder)
                    elif entry.is_dir():
                        self._enter(name, folder, linked=folder.linked)
                    elif entry.is_file():
                        self._add(name)
        names, root = self._names, self._root
        names.sort()

        def read(places: Sequence[int]) -> Generator[Content, None, None]:
            for place in places:
                yield root / names[place]

        return Collection(names, read, self._aside, self._sorter.passed_over())

    def _add(self, name: str) -> None:
        if self._sorter.is_listed(name):
            self._names.append(name)
        elif self._sorter.is_aside(name):
            try:
                self._aside[name] = load(self._root / name)
            except UnreadableError as error:
                raise DataError(f"{shown(self._root / name)} {error}") from None
        else:
            self._sorter.pass_over(name)

    def _enter(self, name: str, folder: _Folder, *, linked: bool) -> None:
        around = folder.around
        if linked:
            identity = _identity(self._root / name)
            if identity in around:
                return  # a cycle: all of it is being listed
            around = (*around, identity)
            self._linked += 1
            if self._linked > MAX_LINKED_FOLDERS:
                raise DataError(
                    f"links in {shown(self._root)} lead to more than {MAX_LINKED_FOLDERS} folders, "
                    f"{shown(name)} among them: expected links to images, or data.links refuse"
                )
        if name.count("/") >= MAX_DEPTH:
            raise DataError(
                f"{shown(self._root / name)} lies more than {MAX_DEPTH} folders deep: expected "
                "fewer"
            )
        self._folders.append(_Folder(name + "/", around, linked))

    def _follow(self, name: str, folder: _Folder) -> None:
        path = self._root / name
        kind = _kind(path)
        # By names alone where it leads nowhere, or round and round.
        target = Path(os.path.realpath(path))
        inside = target.is_relative_to(self._real_root) and kind != "nothing"
        if inside and self._is_found(target, kind):
            return
        wanted = self._sorter.is_listed(name) or self._sorter.is_aside(name)
        if self._links == "refuse" and not inside and (kind == "folder" or wanted):
            raise DataError(
                f"{shown(path)} is a link that leads out of data.path, and data.links is refuse: "
                "expected the file or folder itself"
            )
        if kind == "folder":
            self._enter(name, folder, linked=True)
        elif kind == "file" or (kind == "nothing" and wanted):
            self._add(name)  # what leads nowhere is listed, and then cannot be read
        elif kind == "nothing":
            self._sorter.pass_over(name, "broken links")

    def _is_found(self, target: Path, kind: str) -> bool:
        """Whether what lies at `target`, in the folder, is listed under its own name."""
        if any(map(is_debris, target.relative_to(self._real_root).parts)):
            return False
        return kind != "file" or self._sorter.is_listed(target.name)


def _kind(path: Path) -> Literal["file", "folder", "other", "nothing"]:
    """What a link leads to: `nothing` where that is missing, out of reach, or the link itself."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "nothing"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
