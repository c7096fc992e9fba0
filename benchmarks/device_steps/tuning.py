"""Launch configurations against cuDNN, by `kernels.tune`: its table and journal into the folder."""

from __future__ import annotations

import functools
import time

from benchmarks.device_steps.results import JOURNAL, Row
from benchmarks.device_steps.step import Context, Failed, Rows, Unfinished, plural
from kernels.conv_transpose.tiles import architecture_of
from kernels.tune import BATCHES, LAYERS, Clock, DeviceBench, Problem, problems, tune
from kernels.tune.journal import Journal, environment

# Seconds at the end of the step's time in which the table is written.
_MARGIN = 10.0


def wanted(context: Context) -> list[Problem]:
    """What is tuned, the most important first."""
    if context.dry:
        return list(problems([(16, 16, 2)], [1], ["fp32"], ["plain"]))
    return list(problems(LAYERS, sorted(BATCHES, reverse=True), ["bf16", "tf32"]))


def run(context: Context) -> Rows:
    """A row a problem, of its fastest right configuration."""
    device = context.torch_device
    architecture = architecture_of(device)
    path = context.folder / f"sm_{architecture}.json"
    asked = wanted(context)
    found = tune(
        asked,
        architecture,
        functools.partial(DeviceBench, str(device), 1 if context.dry else 15),
        Journal(context.folder / JOURNAL, environment(device)),
        path,
        how=Clock.HOW_ON_GPU if context.gpu else Clock.HOW_ON_CPU,
        verified=context.gpu,
        compiled_on=str(device) if context.gpu else None,
        quick=context.dry,
        deadline=time.monotonic() + context.seconds - _MARGIN,
        say=functools.partial(print, flush=True),
    )
    rows: list[Row] = []
    for entry in found.entries:
        timed = entry.measurement
        assert timed is not None
        row: Row = {
            "case": f"{entry.op} {entry.precision} {entry.b}<>{entry.a} {timed.side} "
            f"{timed.batch} {entry.epilogue}",
            "op": entry.op,
            "precision": entry.precision,
            "b": entry.b,
            "a": entry.a,
            "side": timed.side,
            "batch": timed.batch,
            "epilogue": entry.epilogue,
            "config": " ".join(map(str, entry.config)),
            "ours_us": timed.microseconds,
            "other_us": timed.other_microseconds,
            "ratio": entry.measured_ratio if entry.measured_ratio is not None else "",
            "timed": timed.how,
            "verified": int(entry.verified),
        }
        rows.append(row)
    yield [row for row in rows if row["case"] not in context.done]
    if found.left:
        raise Unfinished(f"{len(found.left)} of {plural(len(asked), 'problem')} left")
    if found.hopeless:
        raise Failed(f"{plural(len(found.hopeless), 'problem')} without a right configuration")
    faster = sum((entry.measured_ratio or 0) >= 1 for entry in found.entries)
    return f"{plural(len(rows), 'problem')}, {faster} at least as fast as cuDNN"
