"""From data to the Fréchet distance: what the pipeline does, without DVC."""

from __future__ import annotations

import time
from pathlib import Path

from tqdm import tqdm

from benchmarks import games
from benchmarks.comparison import pair, prepared_data
from benchmarks.device_steps.step import Context, Failed, Rows, number
from benchmarks.kill_and_resume import SMALL
from gan.config import Config, parse
from pipeline import preset


def configured(context: Context) -> tuple[str, Config]:
    """MNIST's settings on a path, the defaults on the embedded digits; their name."""
    name = "mnist" if context.data else "digits"
    pairs = [pair("data.path", context.data)] if context.data else []
    if context.dry:
        pairs += [*SMALL, "train.steps=20"]
    values = preset.resolve([name], pairs)
    values["train"]["sample_every"] = values["train"]["steps"]
    return name, parse(Config, {**values, "seed": 0, "runtime": {"device": context.device}}, name)


def newest_checkpoint(root: Path) -> int:
    """The step of the newest checkpoint of the runs below a folder, 0 without one."""
    steps = (path.stem.removeprefix("step-") for path in root.glob("*/step-*.pt"))
    return max((int(step) for step in steps if step.isdigit()), default=0)


def run(context: Context) -> Rows:
    """One row: rounds, seconds, metrics with their floors."""
    name, config = configured(context)
    if name in context.done:
        return "its row is there"
    started = time.monotonic()
    prepared_data(config, context.work)
    prepared = time.monotonic()
    # Of a call before that was stopped within the run: seconds are those of the rest.
    resumed_at = newest_checkpoint(context.work)
    with tqdm(disable=True) as bar:
        row = games.run(name, config, context.work, context.torch_device, bar)
    if row["failed"]:
        raise Failed(str(row["failed"]))
    seconds = time.monotonic() - prepared
    found = {key: number(value) for key, value in row.items() if key not in ("config", "failed")}
    played = {
        "batch": config.train.batch_size,
        "arithmetic": config.train.precision,
        "resumed_at": resumed_at,
        "seconds_prepare": round(prepared - started, 1),
        "seconds_judge": round(seconds - row["seconds"], 1),
    }
    yield [{"case": name, **found, **played}]
    rounds = config.train.steps - resumed_at
    return f"{name}: FD {found['fd']}; the last {rounds} rounds in {row['seconds']} s"
