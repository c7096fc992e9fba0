"""Pictures, one module a kind of data: images, points, text, labels. Imported by `pipeline` alone.

Each has `real`, `moment`, `course`, `grid`, `between` and `evaluation`, all of which write into a
folder. Public: `of_kind` finds the module; `history.curves` draws what all kinds have.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy.typing as npt

from gan.data.prepared import Prepared
from gan.pixels import Kind
from gan.training.snapshots import Snapshot

__all__ = ["FigureKind", "of_kind"]


class FigureKind(Protocol):
    """What the module of a kind offers. `columns` are those of a grid."""

    def real(self, prepared: Prepared, folder: Path, columns: int) -> None:
        """Training examples, as `real.png`."""

    def moment(self, snapshot: Snapshot, prepared: Prepared, path: Path, columns: int) -> None:
        """The game at one step."""

    def course(self, snapshots: Sequence[Snapshot], prepared: Prepared, folder: Path) -> None:
        """The game over all steps, where that is one picture."""

    def grid(
        self, samples: npt.NDArray[Any], prepared: Prepared, folder: Path, columns: int
    ) -> None:
        """Samples of the published generator, as `grid.png`."""

    def between(self, path: npt.NDArray[Any], prepared: Prepared, folder: Path) -> None:
        """Samples between latent vectors, `[R, steps, …]`, as `interpolation.png`."""

    def evaluation(
        self,
        shown: Mapping[str, npt.NDArray[Any]],
        samples: npt.NDArray[Any],
        prepared: Prepared,
        folder: Path,
    ) -> None:
        """What the evaluation found."""


def of_kind(kind: Kind) -> FigureKind:
    """The module that draws `kind`."""
    return cast(FigureKind, importlib.import_module(f"{__name__}.{kind}"))
