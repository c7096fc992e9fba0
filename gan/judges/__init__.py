"""What samples are compared with, one module a kind of data: images, points, text, labels.

Each has `make(prepared, config, path, device)`, which writes a judge's file and reports on it, and
`load(path, prepared, device)`. Public: `of_kind` finds the module.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from gan.config import JudgeConfig
from gan.data.prepared import Prepared
from gan.pixels import Kind

__all__ = ["JudgeKind", "of_kind"]


class JudgeKind(Protocol):
    """What the module of a kind offers."""

    def make(
        self, prepared: Prepared, config: JudgeConfig, path: Path, device: torch.device
    ) -> dict[str, Any]:
        """Write the judge of `prepared` to `path`; its metrics, JSON values.

        Raises:
            DataError: the data are not what this judge is made of.
        """

    def load(self, path: Path, prepared: Prepared, device: torch.device) -> Any:
        """The judge at `path`, made of `prepared`.

        Raises:
            StateError: the file is missing, damaged, another sort of judge, or of other data.
        """


def of_kind(kind: Kind) -> JudgeKind:
    """The module that judges `kind`."""
    return cast(JudgeKind, importlib.import_module(f"{__name__}.{kind}"))
