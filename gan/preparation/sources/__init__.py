"""Where data comes from: one module a source, named as `data.name`.

A source module has one public function, `open_source(config, workers) -> Source`. It looks at what
is there, raises what can be known at once, and hands back a stream that has read next to nothing.
Data sets that are fetched by their names (`gan.preparation.published`) are read by one of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from gan.config import DataConfig
from gan.data.manifest import Column, StoredKind, WithoutSymbol
from gan.pixels import Examples
from gan.preparation import formats
from gan.preparation.published import PUBLISHED, fetched
from gan.symbols import Alphabet


class Failure(NamedTuple):
    """An example that could not be read."""

    name: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Some consecutive examples of a source."""

    examples: Examples  # [B, *Source.shape], of the dtype of their kind
    in_test: npt.NDArray[np.bool_]  # [B]
    labels: npt.NDArray[np.int64] | None  # [B], indices into `Source.label_names`
    failures: tuple[Failure, ...] = ()  # besides the B examples above


@dataclass(frozen=True)
class Source:
    """A stream of examples and what is known about them beforehand.

    The stream raises `DataError` for what makes the source unusable as a whole. An example that
    cannot be read is a `Failure` in its batch; what follows from it is decided by the reader.
    """

    shape: tuple[int, ...]  # of one example: [C, H, W], [D], or of symbols [H, W] or [L]
    label_names: tuple[str, ...] | None
    total: int | None  # examples, failures included; None when it is not known
    batches: Generator[Batch, None, None]
    kind: StoredKind = "images"
    toy: str | None = None  # of points, which density they are drawn from
    columns: tuple[Column, ...] | None = None  # of other points, what they are standardised by
    alphabet: Alphabet | None = None  # where examples are made of symbols
    without_symbol: WithoutSymbol | None = None  # of text, where some characters have none
    if_few: str = ""  # what helps where a split gets no examples
    # What is there and no example: files by their endings, examples of a folder that is left out.
    passed_over: Mapping[str, int] = field(default_factory=dict)


def passed_over_text(passed_over: Mapping[str, int]) -> str:
    """What was passed over as one line: `6 .heic (install pillow-heif), 2 .tga`."""
    told = []
    for kind, count in passed_over.items():
        hint = formats.hint(kind)
        told.append(f"{count:,} {kind}" + (f" ({hint})" if hint else ""))
    return ", ".join(told)


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """Open the source that `config.name` asks for, with `workers` processes where it decodes.

    Raises:
        DataError: the source is missing, empty or damaged; names the path.
        UserError: a package that the source needs is not installed.
    """
    if config.name in PUBLISHED:
        by_path = {"name": PUBLISHED[config.name].source, "path": str(fetched(config.name))}
        config = config.model_copy(update=by_path)
    module = importlib.import_module(f"{__name__}.{config.name}")
    opener = cast("Callable[[DataConfig, int], Source]", module.open_source)
    return opener(config, workers)
