"""One checkpoint as a file: whole, or told to be damaged before anything in it is looked at.

It is what `torch.save` writes, with the SHA-256 of itself as the comment that a zip file may end
with. `torch.load` reads it as it is.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gan.errors import StateError, is_lack_of_memory, reading, shown

_NAME = re.compile(r"step-(\d{9,})\.pt")
_NAME_ASIDE = re.compile(r"step-(\d{9,})\.damaged(-\d+)?")

_LABEL = b"sha256:"
_COMMENT_LENGTH = len(_LABEL) + 2 * hashlib.sha256().digest_size
# A zip file ends with the length of its comment, and with that.
_NO_COMMENT = b"\0\0"
_LENGTH = _COMMENT_LENGTH.to_bytes(2, "little")


class Damaged(Exception):  # noqa: N818 - what a checkpoint is, rather than an error of its own
    """A checkpoint was read, and is not what was written; the message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        step: steps done.
        content: of the trainer.
        environments: what the steps were computed with, each once and in order, see `environment`.
    """

    step: int
    content: dict[str, Any]
    environments: tuple[dict[str, Any], ...]


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where in `folder` the checkpoint of `step` stands."""
    return folder / f"step-{step:09d}.pt"


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """Steps and files of the checkpoints in `folder`, the newest first.

    Raises:
        StateError: the folder cannot be read. Not taken for one without checkpoints.
    """
    return sorted(_matching(folder, _NAME), reverse=True)


def aside_in(folder: Path, steps: int | None = None) -> list[Path]:
    """Damaged checkpoints that were set aside in `folder`, of at most `steps` steps if given.

    Raises as `checkpoints_in`.
    """
    found = sorted(_matching(folder, _NAME_ASIDE))
    return [path for step, path in found if steps is None or step <= steps]


def _matching(folder: Path, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
    # `Path.glob` would take a folder that may not be read for an empty one.
    with reading(folder, "a folder", StateError):
        names = os.listdir(folder)  # noqa: PTH208
    return [(int(each[1]), folder / each[0]) for each in map(pattern.fullmatch, names) if each]


def set_aside(path: Path) -> Path:
    """Give a damaged checkpoint a name under which it is not tried again; nothing is overwritten.

    Raises:
        StateError: it cannot be renamed.
    """
    number, target = 1, path.with_suffix(".damaged")
    while target.exists():
        number += 1
        target = path.with_suffix(f".damaged-{number}")
    try:
        path.rename(target)
    except OSError as error:
        raise StateError(
            f"the damaged checkpoint {shown(path)} cannot be set aside: "
            f"{shown(error.strerror or error)}"
        ) from error
    return target


def pack(fingerprint: str, checkpoint: Checkpoint) -> bytes:
    """The bytes of a checkpoint file."""
    buffer = io.BytesIO()
    torch.save(
        {
            "fingerprint": fingerprint,
            "step": checkpoint.step,
            "content": checkpoint.content,
            "environments": list(checkpoint.environments),
        },
        buffer,
    )
    return seal(buffer.getvalue())


def seal(archive: bytes) -> bytes:
    """`archive`, a zip file without a comment, with its digest as the comment."""
    assert archive.endswith(_NO_COMMENT)
    digest = hashlib.sha256(archive).hexdigest().encode()
    return b"".join((memoryview(archive)[: -len(_NO_COMMENT)], _LENGTH, _LABEL, digest))


def read(path: Path, fingerprint: str) -> Checkpoint:
    """The checkpoint at `path`, of the run of `fingerprint`. Runs no code from the file.

    Raises:
        StateError: it cannot be read now; the file may be sound.
        Damaged: it was read, and is damaged or another run's.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to read a pipe would be to wait
            raise OSError(errno.EINVAL, "it is no plain file")
        raw = path.read_bytes()
        _check_seal(raw)
        return _parsed(raw, path, fingerprint)
    except (MemoryError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "there is not enough memory"
        raise StateError(
            f"cannot read the checkpoint {shown(path)}: {shown(reason)}. It may be sound, and "
            "nothing was changed: see to the cause, and run it again"
        ) from error


def _check_seal(raw: bytes) -> None:
    view = memoryview(raw)
    tail = len(_LENGTH) + _COMMENT_LENGTH
    end = raw[-tail:]
    if len(raw) < tail or not end.startswith(_LENGTH + _LABEL):
        raise Damaged("it is cut off, or was not written as a checkpoint")
    digest = hashlib.sha256(view[:-tail])
    digest.update(_NO_COMMENT)
    if end[len(_LENGTH + _LABEL) :] != digest.hexdigest().encode():
        raise Damaged("its bytes are not those that were written: the checksum differs")


def _parsed(raw: bytes, path: Path, fingerprint: str) -> Checkpoint:
    try:
        loaded = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        found, step = loaded["fingerprint"], loaded["step"]
        content, environments = loaded["content"], loaded["environments"]
    except (MemoryError, OSError):
        raise
    except Exception as error:
        if is_lack_of_memory(error):
            raise MemoryError from error
        raise Damaged(f"{type(error).__name__}: {shown(error)}") from error
    if type(found) is not str or found != fingerprint:
        raise Damaged(f"it belongs to another run ({shown(found, 40)}, expected {fingerprint})")
    if type(step) is not int or step != int(path.stem.removeprefix("step-")):
        raise Damaged(f"it is of step {shown(step, 40)}, which is not the one in its name")
    if not isinstance(content, dict):
        raise Damaged(f"found {type(content).__name__} as its content, expected a mapping")
    if not isinstance(environments, list) or not all(isinstance(e, dict) for e in environments):
        raise Damaged("it does not say what it was computed with")
    return Checkpoint(step, content, tuple(environments))
