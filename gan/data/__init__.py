"""What later stages read: prepared data, what they mean, and batches of them.

Public: `open_prepared`, `TrainingSet`, `training_set`.
"""

from __future__ import annotations

from gan.data.prepared import Prepared, open_prepared
from gan.data.training_set import TrainingSet, training_set

__all__ = ["Prepared", "TrainingSet", "open_prepared", "training_set"]
