"""What benchmarks share that train many runs and put them into one table.

A run is a name and a seed with a configuration of the pipeline. Finished runs are rows of a CSV
file, unfinished ones states below a working directory, so that an interrupted comparison goes on
where it was, within a run as well.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.report import TableRow, machine, write_csv
from gan.code import code_digest
from gan.config import Config
from gan.data.prepared import Prepared, open_prepared
from gan.errors import ConfigError, UserError
from gan.preparation.prepare import prepare
from gan.training.history import HistoryRow
from gan.training.snapshots import Snapshot
from gan.training.state import fingerprint, hold
from gan.training.trainer import Interrupted, Trainer, trainer_of

BAR_UPDATES = 50  # a run
# Of a row; all others are numbers.
TEXTS = ("game", "config", "failed", "alarms")

Run = tuple[str, int]  # what is played, and the seed


def command_line(prog: str, about: str, *, steps: str, work: Path) -> argparse.ArgumentParser:
    """The arguments that all comparisons take.

    Args:
        prog: module.
        about: its docstring.
        steps: whose, for the help.
        work: where states are by default.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {prog}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", default="digits", help="data preset (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs a row (%(default)s)")
    parser.add_argument("--steps", type=int, help=f"{steps}; the preset's by default")
    parser.add_argument("--path", help="where the data are, short for data.path=…")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path, default=work, help="data, states (%(default)s)")
    parser.add_argument("--output", type=Path, help="CSV file")
    parser.add_argument("pairs", nargs="*", metavar="key=value", help="for every run")
    return parser


def pair(key: str, value: object) -> str:
    """`key=value` as the command line takes it: texts as they are, all else as YAML."""
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def run_command(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    compare: Callable[[argparse.Namespace], None],
) -> int:
    """Parse `arguments` and `compare`. Returns the exit status."""
    options = parser.parse_intermixed_args(arguments)
    try:
        for name in ("seeds", "steps"):
            value = getattr(options, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name} is {value}, expected at least 1")
        if options.path is not None:
            options.pairs.append(pair("data.path", options.path))
        compare(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Interrupted, KeyboardInterrupt):
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def identity(config: Config) -> dict[str, Any]:
    """What determines a row: everything but where and how the work runs.

    Without what has its default, so that rows outlive keys that are new to the configuration.
    """
    return config.model_dump(exclude={"runtime"}, exclude_defaults=True)


def prepared_data(config: Config, work: Path) -> Prepared:
    """The data of `config`, prepared below `work` when they are not there yet."""
    key = fingerprint({"data": config.data.model_dump()})
    folder = work / f"data-{key}"
    try:
        return open_prepared(folder)
    except UserError:
        prepare(config.data, folder, workers=config.runtime.workers)
    return open_prepared(folder)


def updates(config: Config) -> int:
    """Steps of either player in a run: what the bar counts."""
    return config.train.steps * (config.objective.d_steps + config.objective.g_steps)


def play(config: Config, prepared: Prepared, work: Path, device: torch.device, bar: Any) -> Trainer:
    """Train by `config`, from the state of an interrupted run where there is one.

    Raises:
        Interrupted: someone asked to stop; the state is saved.
        TrainingError: the game diverged.
    """
    objective = config.objective
    progress = _Progress(bar, objective.d_steps + objective.g_steps)
    about = {"run": identity(config), "data": prepared.manifest.checksum, "code": _code()}
    with hold(work, about) as state:
        trainer = trainer_of(config, prepared, device=device)
        found = state.latest()
        if found is not None and found[0] < config.train.steps:
            progress.reached(found[0])
        trainer.run(state, config.runtime, progress, progress=False)
        # Its samples and its row are what is kept of it.
        state.clear()
    return trainer


class _Progress:
    """A bar over many runs that moves with the snapshots of one."""

    def __init__(self, bar: Any, a_round: int) -> None:
        self._bar, self._a_round, self._step = bar, a_round, 0

    def reached(self, step: int) -> None:
        self._bar.update((step - self._step) * self._a_round)
        self._step = step

    def snapshot(self, snapshot: Snapshot) -> None:
        self.reached(snapshot.step)

    def rows(self, rows: Sequence[HistoryRow], measures: Sequence[str]) -> None:
        pass


@functools.cache
def _code() -> str:
    return code_digest(["gan.training.trainer", "gan.evaluation", "gan.judges"])


def complete(
    path: Path,
    configs: Mapping[Run, Config],
    keys: Mapping[Run, str],
    run: Callable[[str, Config, Any], TableRow],
    device: torch.device,
    length: Callable[[str, Config], int] = lambda name, config: updates(config),
) -> list[TableRow]:
    """The rows of all runs: those that are at `path`, and the others as they finish.

    Args:
        path: the CSV file. Rows of other settings are replaced: a table has one budget.
        configs: of every run, in the order in which they are played.
        keys: of every run, what determines its row; runs that have the same are one.
        run: plays one by name and configuration, and moves the bar.
        device: named in the file.
        length: of a run by name and configuration, as `run` moves the bar.

    Returns:
        Rows: what is played in the order of `configs`, and its seeds one after the other.
    """
    names = list(dict.fromkeys(name for name, _ in configs))
    order = sorted(configs, key=lambda each: (names.index(each[0]), each[1]))
    rows = {
        (row["game"], row["seed"]): row
        for row in read_rows(path)
        if keys.get((row["game"], row["seed"])) == row["config"]
    }
    todo = [each for each in configs if each not in rows]
    print(f"{len(rows)} runs are there, {len(todo)} to go", file=sys.stderr)
    total = sum(length(each[0], configs[each]) for each in todo)
    with tqdm(total=total, unit="update", dynamic_ncols=True, smoothing=0.02) as bar:
        for each in todo:
            name, config = each[0], configs[each]
            bar.set_description(f"{name}, seed {each[1]}")
            before = bar.n
            same = next((row for row in rows.values() if row["config"] == keys[each]), None)
            rows[each] = run(name, config, bar) if same is None else {**same, "game": name}
            # All of it, when it diverged on the way too.
            bar.update(before + length(name, config) - bar.n)
            write_csv(path, [rows[each] for each in order if each in rows], device)
    return [rows[each] for each in order]


def read_rows(path: Path) -> list[TableRow]:
    """The rows that are there, numbers as numbers."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_machine = {*machine(), "gpu"}
    return [
        {
            key: value if key in TEXTS else _number(value)
            for key, value in row.items()
            if key not in of_machine
        }
        for row in rows
    ]


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def markdown(table: Iterable[TableRow]) -> str:
    """`table`, at least one row, as Markdown."""
    rows = list(table)
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
