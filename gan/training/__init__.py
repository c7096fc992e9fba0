"""The loop around the game: history, averaging, snapshots, states, alarms.

Public: `Trainer`, `trainer_of`, `Interrupted`; `state.hold` keeps a run's folder.
"""

from __future__ import annotations

from gan.training.trainer import Interrupted, Trainer, Watcher, trainer_of

__all__ = ["Interrupted", "Trainer", "Watcher", "trainer_of"]
