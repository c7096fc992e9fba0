"""What an evaluation of any kind of data finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gan.metrics.as_json import Metrics

# Name of a column to its values.
Table = Mapping[str, Sequence[object]]


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        metrics: nested dictionaries of numbers, text and None: JSON without NaN.
        summary: the few numbers that one looks at first, in one line.
        shown: arrays that `gan.figures` draws.
        tables: name of a table to its columns.
    """

    metrics: Metrics
    summary: str
    shown: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
