"""Inputs: small sound files of every kind, and the changed ones that are made of them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzzing.formats import mutate
from benchmarks.fuzzing.raw import Mutator

# The files of one input, by their names in a folder.
Files = Mapping[str, bytes]


class WrongError(Exception):
    """Something wrong was taken for sound; says what."""


@dataclass(frozen=True)
class Reader:
    """What is tried.

    Attributes:
        name: in the table.
        seeds: sound inputs; `make` writes each into a folder of its own.
        read: reads a folder like those; raises WrongError where it took what is wrong.
        share: of the inputs, relative to other readers.
        mutators: by the name of a file, where its ending does not say all.
    """

    name: str
    seeds: tuple[Callable[[Path], None], ...]
    read: Callable[[Path], None]
    share: float = 1.0
    mutators: Mapping[str, Mutator] | None = None


def sound(reader: Reader, scratch: Path) -> list[Files]:
    """The sound inputs of `reader`, made in the folder `scratch`, which is left empty."""
    found = []
    for make in reader.seeds:
        folder = scratch / "sound"
        folder.mkdir(parents=True)
        make(folder)
        found.append(
            {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
        )
        shutil.rmtree(folder)
    return found


def changed(reader: Reader, seeds: list[Files], seed: int, number: int) -> Files:
    """Input `number`: one of the sound ones with one file changed, seldom two, or one missing.

    Numbers below zero are the sound ones as they are, from the end.
    """
    if number < 0:
        return seeds[number]
    rng = random.Random(f"{seed}/{reader.name}/{number}")
    files = dict(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 1, 2))):
        # Small ones say what the large ones are: as often as these.
        name = rng.choice(sorted(files))
        own = (reader.mutators or {}).get(name.rpartition("/")[2])
        if own is not None and rng.random() < 0.7:
            files[name] = own(rng, files[name])
        elif rng.random() < 0.02 and len(files) > 1:
            del files[name]
        else:
            files[name] = mutate(rng, name, files[name])
    return files


def write(files: Files, folder: Path) -> None:
    """Write `files` to `folder` in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
