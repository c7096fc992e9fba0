"""Everything a training run is, saved and resumed: fingerprint, lock, checkpoints.

Each run has a folder of its own below a root, named by the fingerprint of what determines its
result: configuration, data, code. A killed run goes on from its last checkpoint; a run that
differs in anything that matters never finds it. The last two checkpoints are kept, and a damaged
newest one falls back to the one before.

**Nothing that cost time is removed unless someone asks for it by name.** What cannot be read just
now stops the run; what is damaged is set aside; checkpoints beyond the steps that are asked for
stay where they are; and a run whose steps are all done is there to be published again, as often
as it takes.

`python -m gan.state list` shows what is there, `restart` makes a run start afresh, and `prune`
removes states.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan.errors import StateError, UserError, shown
from gan.files import write_bytes, write_json
from gan.training.checkpoints import (
    Checkpoint,
    Damaged,
    aside_in,
    checkpoint_path,
    checkpoints_in,
    pack,
    read,
    set_aside,
)
from gan.training.environment import differences, environment
from gan.training.folder_lock import FolderLock, read_record

# Part of every fingerprint, those in the tables of benchmarks included: another one makes these be
# computed again. A change in what a checkpoint holds needs none where the identity has the code.
FORMAT_VERSION = 3
KEPT_CHECKPOINTS = 2
DEFAULT_ROOT = Path(".state")
# Damaged checkpoints of a run that someone had started afresh.
GIVEN_UP = "given-up"


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that stand for `identity`, any JSON values."""
    text = json.dumps({"format": FORMAT_VERSION, **identity}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunState:
    """The folder of one run, held by this process alone. Made by `hold`."""

    def __init__(self, folder: Path, held: FolderLock | None = None) -> None:
        self.folder = folder
        self.fingerprint = folder.name
        self._held = held
        self._environments = [environment()]  # that the steps so far were computed in

    @property
    def snapshots(self) -> Path:
        """The folder of the run's snapshots, see `gan.training.snapshots`."""
        return self.folder / "snapshots"

    # --- checkpoints -----------------------------------------------------------------------

    def save(self, step: int, content: dict[str, Any]) -> None:
        """Save a checkpoint of `step`, whole or not at all.

        Of those before it only the newest is kept; those of later steps, of a longer run that this
        one is a part of, stay.

        Args:
            step: steps done so far.
            content: tensors and plain Python values only; anything else could not be loaded
                without running code.

        Raises:
            UserError: it cannot be written; those from before are as they were.
            StateError: the folder was removed, and another process has taken its place.
        """
        self.ensure_held()
        checkpoint = Checkpoint(step, content, tuple(self._environments))
        try:
            packed = pack(self.fingerprint, checkpoint)
        except MemoryError as error:
            raise StateError(
                f"there is not enough memory to save step {step}; the state before it is kept"
            ) from error
        write_bytes(checkpoint_path(self.folder, step), packed)
        older = [path for other, path in checkpoints_in(self.folder) if other <= step]
        for path in older[KEPT_CHECKPOINTS:]:
            with contextlib.suppress(OSError):  # the next one tries again
                path.unlink(missing_ok=True)

    def latest(self, steps: int | None = None) -> tuple[int, dict[str, Any]] | None:
        """The newest checkpoint that is whole: its step and content, or None.

        A damaged or foreign one is passed over with a warning on stderr, and set aside under
        another name, so that it is not tried again.

        Args:
            steps: of no later step than this.

        Raises:
            StateError: one cannot be read just now; nothing was changed.
        """
        found = self._newest(steps)
        return None if found is None else (found.step, found.content)

    def _newest(self, steps: int | None) -> Checkpoint | None:
        for step, path in checkpoints_in(self.folder):
            if steps is not None and step > steps:
                continue
            try:
                return read(path, self.fingerprint)
            except Damaged as reason:
                aside = set_aside(path)
                print(
                    f"warning: the checkpoint {shown(path)} is damaged ({reason}) and set aside as "
                    f"{aside.name}; using the checkpoint before it, if there is one",
                    file=sys.stderr,
                )
        return None

    # --- life of a run ---------------------------------------------------------------------

    @property
    def finished_at(self) -> int | None:
        """The step up to which the run's results were written out, or None."""
        step = read_record(self.folder / "finished.json").get("step")
        return step if type(step) is int else None

    def finish(self, step: int) -> None:
        """Note that everything the run owes up to `step` has been written out.

        It is a note for those who list and prune states, and no run fails because it could not be
        made.
        """
        try:
            self.ensure_held()
            write_json(self.folder / "finished.json", {"step": max(step, self.finished_at or step)})
        except UserError as error:
            print(f"warning: the state is not marked as finished: {error}", file=sys.stderr)

    def resume_point(self, steps: int) -> tuple[int, dict[str, Any]] | None:
        """Where a run of `steps` steps goes on; None when it starts afresh. Removes nothing.

        That is its newest checkpoint that does not go beyond `steps`. A run that has all its steps
        gets the last, finished or not: who asks for it again may have lost what was published.

        Raises:
            StateError: a checkpoint cannot be read just now, or all there were are damaged:
                starting over takes someone's word.
        """
        found = self._newest(steps)
        beyond = [step for step, _ in checkpoints_in(self.folder) if step > steps]
        if found is None:
            aside = aside_in(self.folder, steps)
            if aside:
                raise StateError(
                    f"no checkpoint of this run up to step {steps} can be used any more: "
                    f"{len(aside)} damaged in "
                    f"{shown(self.folder)}, {aside[-1].name} the newest. Nothing was removed. To "
                    f"start over from step 0: {self._restart_command()}"
                )
            if beyond:
                self._say(
                    f"note: the state of this run is at step {beyond[0]} and stays as it is; the "
                    f"{steps} steps asked for are taken from the start"
                )
            return None
        if beyond:
            self._say(
                f"note: the state of this run is at step {beyond[0]} and stays as it is; the "
                f"{steps} steps asked for go on from step {found.step}"
            )
        elif found.step == steps:
            self._say(
                f"note: all {steps} steps of this run are in its state, and what comes of them is "
                f"published again, the same. To train it anew: {self._restart_command()}"
            )
        now = environment()
        differ = differences(found.environments, now)
        if differ:
            self._say(
                "warning: these steps were not all computed in this environment "
                f"({'; '.join(differ)}): results may differ in their last bits from those of a run "
                "that was never interrupted"
            )
        self._environments = [*found.environments]
        if now not in self._environments and found.step < steps:
            self._environments.append(now)
        return found.step, found.content

    def _say(self, message: str) -> None:
        print(message, file=sys.stderr)

    def _restart_command(self) -> str:
        root = self.folder.parent
        where = "" if root == DEFAULT_ROOT else f" --root {shown(shlex.quote(str(root)), 4096)}"
        return f"python -m gan.state{where} restart {self.fingerprint}"

    def clear(self) -> None:
        """Remove everything but the lock, the description, and damaged checkpoints.

        Checkpoints first: killed in the middle, nobody takes what is left for a run to go on with.

        Raises:
            StateError: something cannot be removed.
        """
        kept = {"lock", "run.json", GIVEN_UP, *(path.name for path in aside_in(self.folder))}
        order = [path for _, path in checkpoints_in(self.folder)]
        try:
            for path in [*order, *self.folder.iterdir()]:
                if path.name in kept:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise StateError(
                f"cannot remove {shown(error.filename)}: {shown(error.strerror or error)}"
            ) from error

    def give_up(self) -> None:
        """Make the next run start afresh: `clear`, and damaged checkpoints are put away.

        They go into a folder of their own and are never removed but with the whole state.

        Raises:
            StateError: something cannot be removed or moved.
        """
        self.clear()
        aside = aside_in(self.folder)
        try:
            for path in aside:
                place = self.folder / GIVEN_UP
                place.mkdir(exist_ok=True)
                number, target = 1, place / path.name
                while target.exists():
                    number += 1
                    target = place / f"{path.name}.{number}"
                path.rename(target)
        except OSError as error:
            raise StateError(
                f"cannot put away the damaged checkpoints of {shown(self.folder)}: "
                f"{shown(error.strerror or error)}"
            ) from error

    def ensure_held(self) -> None:
        """Notice when the folder was removed while the run holds it, and make it anew.

        Raises:
            StateError: another process has taken its place.
        """
        if self._held is not None:
            self._held.ensure()


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
        StateError: another process holds it, or the operating system refuses it.
    """
    folder = Path(root) / fingerprint(identity)
    held = FolderLock(
        folder,
        {
            "identity": dict(identity),
            "about": dict(about or {}),
            "process": os.getpid(),
            "environment": environment(),
        },
    )
    held.acquire()
    try:
        _note_other_code(Path(root), folder, identity)
        # What a killed process left half-written.
        for leftover in folder.rglob(".*.tmp"):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)
        held.describe()
        yield RunState(folder, held)
    finally:
        held.release()


def _note_other_code(root: Path, folder: Path, identity: Mapping[str, Any]) -> None:
    """Say that a run which goes by the same parameters and data is not gone on with, and why."""
    if checkpoints_in(folder):
        return
    own = _without_code(json.loads(json.dumps(dict(identity))))  # as the other one, from a file
    for file in root.glob("*/run.json"):
        other = read_record(file).get("identity")
        if file.parent == folder or not isinstance(other, dict) or _without_code(other) != own:
            continue
        try:
            checkpoints = checkpoints_in(file.parent)
        except StateError:
            continue  # not this run's concern
        if checkpoints and RunState(file.parent).finished_at != checkpoints[0][0]:
            print(
                f"note: {shown(file.parent)} holds step {checkpoints[0][0]} of a run with these "
                "very parameters and data, made by other code or another version of PyTorch: it "
                "is left alone, and this run starts afresh. Remove that folder when nobody wants "
                "it any more",
                file=sys.stderr,
            )


def _without_code(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key not in ("code", "torch")}
