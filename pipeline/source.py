"""Stage `source`: what `data.path` names lies where the other stages look for it.

DVC runs an experiment of `dvc exp run --temp` or of its queue in a copy of the checkout below
`.dvc/tmp/exps`, in which is what Git and DVC track, and nothing else. Data that neither of them
has, those in `data/raw` for example, are linked into the copy here, before DVC looks at what
`prepare` depends on: so they are part of its key there as they are in the checkout.

The stage runs wherever its out is missing, which neither Git nor DVC's cache keeps: in every copy,
in a checkout once, where there is nothing to link, and when `data.path` has changed.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from gan.config import Config
from gan.errors import DataError, shown
from gan.files import write_json
from pipeline.params import run_stage
from pipeline.paths import SOURCE, main_checkout

# Where DVC's copies of a checkout are.
SCRATCH = Path(".dvc/tmp/exps")


def main(config: Config) -> None:
    """Link the data where they are missing, and write `results/source.json`.

    Raises:
        DataError: there is nothing at `data.path`, or it cannot be had in this copy.
    """
    path = Path(config.data.path)
    copy, checkout = Path.cwd().resolve(), main_checkout().resolve()
    if copy != checkout and not path.is_absolute():
        bring(path, checkout, copy)
    _check(path)
    # The same in every copy: `prepare` depends on it, so as to come after.
    write_json(SOURCE, {"path": config.data.path})


def bring(path: Path, checkout: Path, copy: Path) -> None:
    """Link into `copy` what `checkout` has at `path` and `copy` lacks, if it has anything.

    What is missing altogether becomes one link. In a folder that both have, files are linked one
    by one, since DVC follows no link to a folder inside of what it hashes. What DVC tracks is left
    to DVC.

    Args:
        path: relative to either.
        checkout: root of the checkout; absolute, without links.
        copy: root of DVC's copy of it; likewise.

    Raises:
        DataError: `path` leads out of `copy`, to a place that something else has.
    """
    origin, place = checkout / path, Path(os.path.normpath(copy / path))
    if not os.path.exists(origin):  # noqa: PTH110 - False for what cannot be a name, too
        return
    if not place.is_relative_to(copy):
        _link_beside(path, checkout, place)
    elif not os.path.lexists(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(origin.resolve())
    elif place != copy and not _is_within_tracked(place, copy):
        _complete(origin.resolve(), place)


def _link_beside(path: Path, checkout: Path, place: Path) -> None:
    """A path with `..` leads from a copy to where DVC has other copies, and files of its own."""
    origin, scratch = (checkout / path).resolve(), checkout / SCRATCH
    free = scratch in place.parents
    if free and (place.is_symlink() or not os.path.lexists(place)):
        # One of a run before may lead elsewhere. In one step: jobs of DVC's queue share the link.
        if not (place.is_symlink() and place.readlink() == origin):
            new = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
            new.symlink_to(origin)
            new.replace(place)
    elif not place.exists() or not place.samefile(origin):
        raise DataError(
            f"data.path {shown(path)} leads to {shown(place)} from the copy of the checkout that "
            f"DVC has for this experiment: expected a path without .., or {shown(origin)}"
        )


def _complete(root: Path, place: Path) -> None:
    """Give the folder `place` what `root` has besides, file by file."""
    folders = [(root, place)]
    while folders:
        origin, place = folders.pop()
        if not place.is_dir() or place.is_symlink():
            continue
        with os.scandir(origin) as entries:
            for entry in entries:
                source, target = origin / entry.name, place / entry.name
                if entry.is_dir(follow_symlinks=False):
                    if not os.path.lexists(target):
                        target.mkdir()
                    if not _is_tracked(target):
                        folders.append((source, target))
                elif not os.path.lexists(target):
                    _link(source, target, root)


def _link(source: Path, target: Path, root: Path) -> None:
    if source.is_symlink():
        led_to = source.readlink()
        inside = Path(os.path.normpath(source.parent / led_to)).is_relative_to(root)
        relative = inside and not led_to.is_absolute()
        target.symlink_to(led_to if relative else source.parent / led_to)
    elif source.name == ".gitignore" or source.suffix == ".dvc":
        shutil.copyfile(source, target)  # DVC may write to it
    else:
        try:
            # No symbolic link: sources may refuse those that lead out of `data.path`.
            target.hardlink_to(source)
        except OSError:  # another file system, or the file of another user
            target.symlink_to(source)


def _is_tracked(path: Path) -> bool:
    """Whether DVC has put `path` where it is, after a `dvc add` or `dvc import`."""
    return path.with_name(f"{path.name}.dvc").is_file()


def _is_within_tracked(path: Path, copy: Path) -> bool:
    within = path.relative_to(copy)
    return any(_is_tracked(copy / each) for each in (within, *within.parents) if each.name)


def _check(path: Path) -> None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"data.path {shown(path)} does not exist: expected a folder, an archive or a file"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"data.path {shown(path)} cannot be read: {shown(error)}") from error


if __name__ == "__main__":
    run_stage(main)
