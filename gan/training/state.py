"""Everything a training run is, saved and resumed: fingerprint, lock, checkpoints.

Each run has a folder of its own below a root, named by the fingerprint of what determines its
result: configuration, data, code. A killed run goes on from its last checkpoint; a run that
differs in anything that matters never finds it. The last two checkpoints are kept, and a damaged
newest one falls back to the one before.

`python -m gan.state list` shows what is there, `python -m gan.state prune` removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from gan.errors import StateError
from gan.files import write_bytes, write_json

# Part of every fingerprint: a change in what a checkpoint holds starts runs afresh.
FORMAT_VERSION = 3
KEPT_CHECKPOINTS = 2
DEFAULT_ROOT = Path(".state")


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that stand for `identity`, any JSON values."""
    text = json.dumps({"format": FORMAT_VERSION, **identity}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunState:
    """The folder of one run, held by this process alone. Made by `hold`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fingerprint = folder.name

    @property
    def snapshots(self) -> Path:
        """The folder of the run's snapshots, see `gan.training.snapshots`."""
        return self.folder / "snapshots"

    # --- checkpoints -----------------------------------------------------------------------

    def save(self, step: int, content: dict[str, Any]) -> None:
        """Save a checkpoint of `step`, whole or not at all, and drop all but the last two.

        Args:
            step: steps done so far.
            content: tensors and plain Python values only; anything else could not be loaded
                without running code.
        """
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "step": step, "content": content}, buffer)
        write_bytes(self.folder / f"step-{step:09d}.pt", buffer.getvalue())
        for old in self._checkpoints()[KEPT_CHECKPOINTS:]:
            old.unlink(missing_ok=True)

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest checkpoint that is whole: its step and content, or None.

        A damaged or foreign one is passed over with a warning on stderr, and set aside under
        another name, so that it is not tried again.
        """
        for path in self._checkpoints():
            try:
                return self._load(path)
            except StateError as error:
                print(f"warning: {error}; using the checkpoint before it", file=sys.stderr)
                path.replace(path.with_suffix(".damaged"))
        return None

    def _load(self, path: Path) -> tuple[int, dict[str, Any]]:
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # torch.load alone would take flipped bits
            if damaged is not None:
                raise StateError(f"checkpoint {path} is damaged (in {damaged})")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            found = loaded["fingerprint"]
            if found != self.fingerprint:
                raise StateError(
                    f"checkpoint {path} belongs to another run ({found}, "
                    f"expected {self.fingerprint})"
                )
            step, content = loaded["step"], loaded["content"]
        except (
            OSError,
            RuntimeError,
            EOFError,
            KeyError,
            TypeError,
            ValueError,
            pickle.UnpicklingError,
            zipfile.BadZipFile,
        ) as error:
            raise StateError(f"checkpoint {path} cannot be read ({error})") from error
        return step, content

    def _checkpoints(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("step-*.pt"), reverse=True)

    # --- life of a run ---------------------------------------------------------------------

    @property
    def finished_at(self) -> int | None:
        """The step at which the run's results were written out, or None."""
        try:
            return int(json.loads((self.folder / "finished.json").read_text())["step"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def finish(self, step: int) -> None:
        """Note that everything the run owes up to `step` has been written out."""
        write_json(self.folder / "finished.json", {"step": step})

    def resume_point(self, steps: int) -> tuple[int, dict[str, Any]] | None:
        """Where a run of `steps` steps goes on; None when it starts afresh.

        An unfinished run is resumed and a finished one extended. One that is finished and asked
        for again, or that has gone further than `steps`, starts afresh: someone wants it redone.
        """
        found = self.latest()
        if found is None:
            self.clear()
            return None
        finished = self.finished_at
        if found[0] > steps or (finished is not None and finished >= steps):
            self.clear()
            return None
        return found

    def clear(self) -> None:
        """Remove everything but the lock and the description.

        Checkpoints first: killed in the middle, nobody takes what is left for a run to go on with.
        """
        order = [*self._checkpoints(), *self.folder.iterdir()]
        for path in order:
            if path.name in {"lock", "run.json"} or not path.exists():
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(
    root: str | os.PathLike[str],
    identity: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
) -> Iterator[RunState]:
    """Hold the state of the run that `identity` determines, alone, for the length of the block.

    The lock is the operating system's: it ends with the process, however that ends.

    Args:
        root: folder of all states; made when it is not there.
        identity: JSON values that determine the run's result.
        about: further JSON values for `list`, without influence on the fingerprint.

    Raises:
        StateError: another process holds it.
    """
    folder = Path(root) / fingerprint(identity)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StateError(
            f"another process{_holder(folder)} is training this very run ({folder}); "
            "wait for it or end it, then try again"
        ) from None
    try:
        _note_other_code(Path(root), folder, identity)
        # What a killed process left half-written.
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        write_json(
            folder / "run.json",
            {"identity": dict(identity), "about": dict(about or {}), "process": os.getpid()},
        )
        yield RunState(folder)
    finally:
        lock.release()


def _note_other_code(root: Path, folder: Path, identity: Mapping[str, Any]) -> None:
    """Say that a run which goes by the same parameters and data is not gone on with, and why."""
    if any(folder.glob("step-*.pt")):
        return
    own = _without_code(identity)
    for file in root.glob("*/run.json"):
        try:
            other = _without_code(json.loads(file.read_text())["identity"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        state = RunState(file.parent)
        checkpoints = sorted(file.parent.glob("step-*.pt"))
        if other != own or not checkpoints or file.parent == folder:
            continue
        step = int(checkpoints[-1].stem.removeprefix("step-"))
        if state.finished_at != step:
            print(
                f"note: {file.parent} holds step {step} of a run with these very parameters and "
                "data, made by other code or another version of PyTorch: it is left alone, and "
                "this run starts afresh. Remove that folder when nobody wants it any more",
                file=sys.stderr,
            )


def _without_code(identity: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: value for key, value in identity.items() if key not in ("code", "torch")}
    # As JSON has it: the other one comes from a file.
    found: dict[str, Any] = json.loads(json.dumps(values))
    return found


def _holder(folder: Path) -> str:
    try:
        return f" (process {json.loads((folder / 'run.json').read_text())['process']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
