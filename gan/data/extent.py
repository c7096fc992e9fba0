"""How many examples there are, and of what: what `gan.data.limits` compares with the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gan.data.manifest import Manifest, StoredKind


class Extent(NamedTuple):
    """The size of prepared data.

    Attributes:
        kind: what the examples are.
        shape: of one, as it is stored.
        train: examples to train with.
        test: examples held out.
        classes: how many labels there are; 0: none.
        only_held_out: classes that no training example is of, and how many held-out ones are; known
            only while the data are prepared.
        complete: whether these are the counts; False: before anything was read, when there may be
            fewer of everything.
    """

    kind: StoredKind
    shape: tuple[int, ...]
    train: int
    test: int
    classes: int
    only_held_out: Mapping[str, int] = {}
    complete: bool = True


def extent_of(manifest: Manifest) -> Extent:
    """The size of the data that `manifest` describes."""
    return Extent(
        kind=manifest.kind,
        shape=tuple(manifest.shape),
        train=manifest.splits["train"].count,
        test=manifest.splits["test"].count,
        classes=len(manifest.label_names or ()),
    )
