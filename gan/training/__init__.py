"""The loop around the game: history, averaging, snapshots, states, alarms.

Public: `Trainer`, `trainer_of`, `Interrupted`, `Watcher`, and `hold`, which keeps a run's folder.
"""

from __future__ import annotations

from gan.training.state import hold
from gan.training.trainer import Interrupted, Trainer, Watcher, trainer_of

__all__ = ["Interrupted", "Trainer", "Watcher", "hold", "trainer_of"]
