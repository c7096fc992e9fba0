"""The games against each other: every one under the same budget, on the same data and networks.

    python -m benchmarks.games --data digits
    python -m benchmarks.games --data toy-ring --games wgan-gp,relativistic-r1r2 --seeds 3
    python -m benchmarks.games --data mnist --steps 3000 data.path=/path/to/mnist
    python -m benchmarks.games --data digits --games bgan-binary,gumbel,wgan-gp-relaxed

`--data` names a data preset, `--games` presets that say what is played, by default all but those
that play on symbols; `key=value` come on top, for every game alike. A run is what the pipeline
does: the same trainer, sampling and evaluation, on configurations that
`python -m pipeline.preset GAME DATA` would write.

The budget is counted in updates of either player: `--steps N` gives every game 2·N of them, so
that one with five discriminator steps a round plays N/3 rounds. Seconds stand in a column.

Interrupted, it goes on where it was, within a game as well: finished games are rows of the CSV
file, unfinished ones states under `--work`. Finished games stay when the code is edited: remove
the CSV file to play them anew. Beside it there will be the table of means over seeds as Markdown,
samples of all games side by side, and the metrics with error bars.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import games_figures
from benchmarks.comparison import (
    BAR_UPDATES,
    command_line,
    complete,
    identity,
    markdown,
    play,
    prepared_data,
    run_command,
)
from benchmarks.report import TableRow, print_table, results_path
from gan import evaluation, judges
from gan.config import Config, parse
from gan.data.meaning import toy_of
from gan.data.prepared import Prepared
from gan.errors import ConfigError, TrainingError
from gan.files import write_bytes
from gan.generators.sampling import generate
from gan.pixels import Examples
from gan.runtime import pick_device, stream_seed
from gan.training.state import DEFAULT_ROOT, fingerprint
from gan.training.trainer import Trainer
from pipeline import preset

WORK = DEFAULT_ROOT / "games"
SHOWN = 2000  # samples kept of every run, for the figure

# Column: where it stands in the metrics, and whether more is better.
IMAGE_METRICS = {
    "fd": ("fd.value", False),
    "fd_floor": ("fd.floor", None),
    "precision": ("precision.value", True),
    "recall": ("recall.value", True),
    "classes": ("classes.covered", True),
    "neural_js": ("neural_divergences.jensen_shannon.value", False),
    "neural_js_floor": ("neural_divergences.jensen_shannon.floor", None),
    "neural_reverse_kl": ("neural_divergences.reverse_kl.value", False),
    "neural_wasserstein": ("neural_divergences.wasserstein.value", False),
}
POINT_METRICS = {
    "modes": ("modes.hit", True),
    "good_share": ("good_share.value", True),
    "js": ("jensen_shannon.value", False),
    "js_floor": ("jensen_shannon.floor", None),
    "wasserstein_1": ("wasserstein_1.value", False),
    "neural_js": ("neural_divergences.jensen_shannon.value", False),
    "neural_reverse_kl": ("neural_divergences.reverse_kl.value", False),
    "neural_wasserstein": ("neural_divergences.wasserstein.value", False),
}


def game_names() -> list[str]:
    """The presets that say what is played, and not on what."""
    return [name for name in preset.names() if preset.is_game(name)]


def playable_names() -> list[str]:
    """Those, and games of images of symbols, to be compared with each other alone.

    Classifiers have a benchmark of their own: they draw no samples.
    """
    free = [name for name in preset.names() if preset.is_data_free(name)]
    return [name for name in free if "name" not in preset.load(name)["params"].get("model", {})]


def configure(game: str, data: str, pairs: Sequence[str], steps: int | None, seed: int) -> Config:
    """The configuration of one run: as many rounds as the budget allows.

    Args:
        game: preset of what is played.
        data: preset of the data.
        pairs: `key=value` on top.
        steps: rounds of one update of either player; those of the configuration by default.
        seed: of the run.

    Raises:
        ConfigError: an unknown preset, or values that are not valid.
    """
    values = preset.resolve([game, data], pairs)
    objective, train = values["objective"], values["train"]
    updates = 2 * (steps or train["steps"])
    rounds = max(1, round(updates / (objective["d_steps"] + objective["g_steps"])))
    train["steps"] = rounds
    # Samples are drawn where the bar moves; it changes nothing of the result.
    train["sample_every"] = max(1, rounds // BAR_UPDATES)
    train["sample_grid"] = 1
    return parse(Config, {**values, "seed": seed}, f"{game} on {data}")


def sample(trainer: Trainer, config: Config) -> Examples:
    """As the stage of that name."""
    rng = torch.Generator().manual_seed(stream_seed(config.seed, "samples"))
    latent = trainer.average.draw_latent(config.sample.count, rng)
    seed = stream_seed(config.seed, "symbols of samples")
    return np.concatenate(list(generate(trainer.average, latent, config.sample.batch_size, seed)))


def judged(
    samples: Examples, prepared: Prepared, config: Config, work: Path, device: torch.device
) -> dict[str, Any]:
    """As the stages `judge`, where that was not done yet, and `evaluate`: all metrics."""
    about = {"data": prepared.manifest.checksum, "judge": config.judge.model_dump()}
    path, judging = work / f"judge-{fingerprint(about)}.safetensors", judges.of_kind(prepared.kind)
    if not path.exists():
        judging.make(prepared, config.judge, path, device)
    judge = judging.load(path, prepared, device)
    found = evaluation.of_kind(prepared.kind).evaluate(
        samples, prepared, judge, config.evaluate, seed=config.seed, progress=False
    )
    return found.metrics


def run(game: str, config: Config, work: Path, device: torch.device, bar: Any) -> TableRow:
    """Play one game with one seed and judge it; a row of the table."""
    prepared = prepared_data(config, work)
    key = fingerprint({"run": identity(config)})
    row: TableRow = {
        "game": game,
        "seed": config.seed,
        "rounds": config.train.steps,
        "config": key,
        "failed": "",
    }
    started = time.monotonic()
    try:
        trainer = play(config, prepared, work, device, bar)
    except TrainingError as error:
        row["failed"] = str(error).partition(";")[0]
        return row
    row["seconds"] = round(time.monotonic() - started, 1)
    samples = sample(trainer, config)
    _keep(samples[:SHOWN], work / f"samples-{key}.npy")
    metrics = judged(samples, prepared, config, work, device)
    for column, (place, _) in columns(prepared).items():
        row[column] = _at(metrics, place)
    row["alarms"] = " ".join(alarm.name for alarm in trainer.alarms())
    return row


def columns(prepared: Prepared) -> Mapping[str, tuple[str, bool | None]]:
    """The metrics of images or points."""
    return POINT_METRICS if prepared.kind == "points" else IMAGE_METRICS


def _at(metrics: Mapping[str, Any], place: str) -> Any:
    value: Any = metrics
    for part in place.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return ""
        value = value[part]
    return "" if value is None else value


def _keep(samples: Examples, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, samples, allow_pickle=False)


def means(rows: Sequence[TableRow], metrics: Sequence[str]) -> list[TableRow]:
    """One row a game: mean ± deviation over the seeds that did not fail."""
    table = []
    for game in dict.fromkeys(row["game"] for row in rows):
        seeds = [row for row in rows if row["game"] == game]
        whole = [row for row in seeds if not row["failed"]]
        line: TableRow = {"game": game, "seeds": len(seeds), "rounds": seeds[0]["rounds"]}
        if len(whole) < len(seeds):
            line["seeds"] = f"{len(whole)} of {len(seeds)}"
        for name in ("seconds", *metrics):
            values = [row[name] for row in whole if isinstance(row.get(name), int | float)]
            line[name] = _mean_and_deviation(values)
        alarms = {alarm for row in whole for alarm in str(row.get("alarms", "")).split()}
        line["alarms"] = " ".join(sorted(alarms))
        table.append(line)
    return table


def _mean_and_deviation(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean, deviation = float(np.mean(values)), float(np.std(values))
    return f"{mean:.3g} ± {deviation:.2g}" if len(values) > 1 else f"{mean:.3g}"


def report(rows: Sequence[TableRow], data: str, prepared: Prepared, path: Path, work: Path) -> None:
    """Print the table; write it and the figures beside `path`."""
    table = means(rows, list(columns(prepared)))
    print_table(table)
    write_bytes(path.with_suffix(".md"), markdown(table).encode())
    shown = {}
    for row in rows:
        kept = work / f"samples-{row['config']}.npy"
        if row["game"] not in shown and not row["failed"] and kept.exists():
            shown[row["game"]] = np.load(kept, allow_pickle=False)
    if shown:
        toy = toy_of(prepared) if prepared.kind == "points" else None
        games_figures.samples(shown, path.with_name(f"{path.stem}_samples.png"), toy)
    ranked = {name: better for name, (_, better) in columns(prepared).items() if better is not None}
    games_figures.metrics(rows, ranked, path.with_name(f"{path.stem}_metrics.png"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    parser = command_line("benchmarks.games", __doc__, steps="updates of each player", work=WORK)
    parser.add_argument(
        "--games", default="", help="presets, by commas; by default all but those on symbols"
    )
    return run_command(parser, arguments, _compare)


def _compare(options: argparse.Namespace) -> None:
    device = pick_device(options.device)
    games = [name for name in options.games.split(",") if name] or game_names()
    known = playable_names()
    for name in games:
        if name not in known:
            raise ConfigError(f"there is no game {name!r}; known: {', '.join(known)}")
    # Fresh discriminators are what the comparison is about; off by default in the pipeline.
    pairs = ["evaluate.neural_steps=300", *options.pairs]
    configs = {
        (game, seed): configure(game, options.data, pairs, options.steps, seed)
        for seed in range(options.seeds)
        for game in games
    }
    config = next(iter(configs.values()))
    for (game, _), other in configs.items():
        if other.data != config.data:
            raise ConfigError(
                f"{game} and {games[0]} play on other data (data.levels {other.data.levels} and "
                f"{config.data.levels}): expected games on symbols, or games on numbers"
            )
    if config.data.kind == "text":
        raise ConfigError(f"--data {options.data} is text: expected images or points")
    symbols = "_symbols" if config.data.levels or config.data.palette else ""
    stem = f"games_{options.data.replace('-', '_')}{symbols}"
    path = options.output or results_path(stem, device)
    # Two names of one game, `fgan-gan` and `non-saturating`, are one run.
    keys = {each: fingerprint({"run": identity(config)}) for each, config in configs.items()}
    prepared = prepared_data(config, options.work)
    rows = complete(
        path,
        configs,
        keys,
        lambda game, config, bar: run(game, config, options.work, device, bar),
        device,
    )
    report(rows, options.data, prepared, path, options.work)


if __name__ == "__main__":
    sys.exit(main())
