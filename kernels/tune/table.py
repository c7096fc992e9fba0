"""The tables that measurements end in, and the ones that the rules propose."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..conv_transpose.tiles import TuningEntry
from .plan import BATCHES, DTYPES, LAYERS, problems


def propose(architecture: int) -> list[TuningEntry]:
    """The rule's configurations of `LAYERS` as entries that are not verified."""
    found: dict[tuple[object, ...], TuningEntry] = {}
    for problem in problems(LAYERS, BATCHES, tuple(DTYPES), only=["plain"]):
        config = problem.config(architecture)
        entry = TuningEntry(*problem[:4], problem.positions, config, False, None, None)
        found.setdefault((*problem[:4], config), entry)
    return list(found.values())


def merged(rows: Iterable[TuningEntry], measured: Iterable[TuningEntry]) -> list[TuningEntry]:
    """`rows`, those of `measured` in the place of what they are for."""
    found = {row.key: row for row in rows}
    found.update({row.key: row for row in measured})
    return list(found.values())


def write_table(
    path: Path, architecture: int, device: str | None, rows: Sequence[TuningEntry]
) -> None:
    """Write a table whole or not at all, one entry a line, those of `rows` in a fixed order."""
    lines = [json.dumps(_plain(row)) for row in sorted(rows, key=lambda row: row.key)]
    head = {"architecture": f"sm_{architecture}", "measured_on": device}
    text = json.dumps(head)[:-1] + ', "entries": [\n' + ",\n".join(lines) + "\n]}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _plain(row: TuningEntry) -> dict[str, object]:
    """An entry as JSON has it, without a measurement where there is none."""
    values: dict[str, object] = {**row._asdict(), "config": row.config._asdict()}
    if row.measurement is None:
        del values["measurement"]
    else:
        values["measurement"] = row.measurement._asdict()
    return values
