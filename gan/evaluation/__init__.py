"""Samples against data, one module a kind: images, points, text, labels.

Each has `evaluate(samples, prepared, judge, config, *, seed)`. Public: `Evaluation`, and `of_kind`,
which finds the module.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from gan.config import EvaluateConfig
from gan.data.prepared import Prepared
from gan.evaluation.found import Evaluation
from gan.pixels import Kind

__all__ = ["Evaluation", "EvaluationKind", "of_kind"]


class EvaluationKind(Protocol):
    """What the module of a kind offers."""

    def evaluate(
        self,
        samples: npt.NDArray[np.generic],
        prepared: Prepared,
        judge: Any,
        config: EvaluateConfig,
        *,
        seed: int,
        progress: bool = True,
    ) -> Evaluation:
        """Judge `samples` against `prepared`. The same input gives the same result.

        Args:
            samples: as `gan.generators` wrote them.
            prepared: the data that the generator was trained on.
            judge: what `gan.judges` loaded, of the same data.
            config: counts and neighbours.
            seed: of the subsets that are drawn.
            progress: show bars on stderr.

        Raises:
            UserError: samples, judge and data do not belong together, or are too few.
        """


def of_kind(kind: Kind) -> EvaluationKind:
    """The module that evaluates `kind`."""
    return cast(EvaluationKind, importlib.import_module(f"{__name__}.{kind}"))
