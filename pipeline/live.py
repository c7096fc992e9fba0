"""What a person sees while a run goes on: real examples, samples and the history, in one folder.

Training imports this module by name, so that it, and what draws, are no part of what the run
depends on (see `gan.code`): an edit of a chart does not make a run start afresh. Nor does a picture
that fails end it: the stage `report` draws everything once more.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gan import figures
from gan.data import Prepared
from gan.training.history import HistoryRow, write_csv
from gan.training.snapshots import Snapshot

HISTORY_SECONDS = 2.0  # between two writes of the history
# A picture that takes longer than this waits until the run has gone on for so many times as long.
QUICK, PATIENCE = 0.1, 20


class Live:
    """Writes into a folder what a `Trainer` tells its watcher."""

    def __init__(self, folder: Path, prepared: Prepared, columns: int) -> None:
        """Watch a run.

        Args:
            folder: made with the first picture.
            prepared: the data that the game is played on.
            columns: of a grid of samples.
        """
        self.folder = folder
        self._prepared = prepared
        self._columns = columns
        self._history_at = self._not_before = float("-inf")
        self._gave_up = False

    def snapshot(self, snapshot: Snapshot) -> None:
        """Draw samples of a step, as `samples/step-….png`, and real ones with the first."""
        if self._gave_up or time.monotonic() < self._not_before:
            return
        self._attempt(lambda: self._draw(snapshot))

    def rows(self, rows: Sequence[HistoryRow], measures: Sequence[str]) -> None:
        """Write `history.csv`, not too often."""
        if self._gave_up or time.monotonic() - self._history_at < HISTORY_SECONDS:
            return
        self._attempt(lambda: write_csv(rows, self.folder / "history.csv", measures))
        self._history_at = time.monotonic()

    def _draw(self, snapshot: Snapshot) -> None:
        draw = figures.of_kind(snapshot.kind)
        if not (self.folder / "real.png").exists():
            draw.real(self._prepared, self.folder, self._columns)
        path = self.folder / "samples" / f"step-{snapshot.step:09d}.png"
        # Not what comes with the first picture: imports, fonts, real examples.
        started, first = time.monotonic(), not path.parent.exists()
        draw.moment(snapshot, self._prepared, path, self._columns)
        took = time.monotonic() - started
        if took > QUICK and not first:
            self._not_before = started + took * (1 + PATIENCE)

    def _attempt(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:
            self._gave_up = True
            print(f"warning: no more pictures while training: {error}", file=sys.stderr)
