"""Can a discriminator teach a classifier? Test errors of every divergence and both estimators.

    python -m benchmarks.adversarial_classification --data digits
    python -m benchmarks.adversarial_classification --data mnist --path /path/to/mnist --steps 3000
    python -m benchmarks.adversarial_classification data.name=images data.path=faces --output f.csv

The sanity check of Hjelm et al. 2018 (arXiv 1702.08431): a classifier g(y|x) is trained as a
generator, its only signal a discriminator of pairs (x, y), real ones and those that it makes.
Beside it stand the same network, initial weights, batches, optimiser and average trained by
cross-entropy, and as a critic's pupil: WGAN with clipped weights on the probabilities themselves.

All runs take as many steps of the classifier. `--data` names a data preset; `key=value` come on
top, for every run alike. There is one setting for all divergences, that of the preset
`adversarial-classifier`; WGAN plays with three: the published one, and two that suit it better.

Interrupted, it goes on where it was: finished runs are rows of the CSV file, unfinished ones states
under `--work`. Beside it there will be a table of means over seeds, as Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.comparison import (
    BAR_UPDATES,
    command_line,
    complete,
    identity,
    markdown,
    pair,
    play,
    prepared_data,
    run_command,
    updates,
)
from benchmarks.report import TableRow, print_table, results_path
from gan.config import Config, parse
from gan.data.batches import Batches
from gan.data.meaning import label_alphabet, labels_of
from gan.data.prepared import Prepared
from gan.errors import TrainingError
from gan.files import write_bytes
from gan.game.optimisers import make_optimiser
from gan.generators.prediction import predict
from gan.metrics.predictions import error_rate
from gan.models import build_generator
from gan.models.base import Generator, categorical_logits
from gan.pixels import to_network
from gan.runtime import pick_device, stream_seed
from gan.schedules import learning_rate_factor
from gan.training.averaging import averaged_copy, decay, update
from gan.training.state import DEFAULT_ROOT, fingerprint
from pipeline import preset

WORK = DEFAULT_ROOT / "adversarial_classification"
PRESET = "adversarial-classifier"

DIVERGENCES = ("gan", "jensen_shannon", "kl", "reverse_kl", "pearson", "squared_hellinger")
ESTIMATORS = ("importance", "reinforce")
CROSS_ENTROPY = "cross-entropy"
CRITIC: dict[str, Any] = {
    "objective.discriminator": "wasserstein",
    "objective.generator": "wasserstein",
    "objective.output": "nowozin",
    "objective.discrete.estimator": "relaxed",
    "objective.d_steps": 5,
    "train.generator_optimiser": "rmsprop",
    "train.discriminator_optimiser": "rmsprop",
    "train.betas": [0.0, 0.99],
}


def _critic(clip: float, rate: float) -> dict[str, Any]:
    rates = {f"train.{player}_learning_rate": rate for player in ("generator", "discriminator")}
    return {**CRITIC, **rates, "objective.weight_clip": clip}


# Arjovsky et al. 2017, algorithm 1; the same at a rate like that of the other games; and clipped
# less, too.
CRITICS = {
    "WGAN, clip 0.01, rate 5e-5": _critic(0.01, 5e-5),
    "WGAN, clip 0.01, rate 1e-3": _critic(0.01, 1e-3),
    "WGAN, clip 0.1, rate 1e-3": _critic(0.1, 1e-3),
}


def methods() -> dict[str, dict[str, Any]]:
    """Every row of the table by name, and what it sets on top of the preset."""
    games = {
        f"{divergence} {estimator}": {
            "objective.discriminator": divergence,
            "objective.discrete.estimator": estimator,
        }
        for divergence in DIVERGENCES
        for estimator in ESTIMATORS
    }
    return {CROSS_ENTROPY: {}, **games, **CRITICS}


def configure(method: str, data: str, pairs: Sequence[str], steps: int | None, seed: int) -> Config:
    """The configuration of one run.

    Args:
        method: one of `methods`.
        data: preset of the data.
        pairs: `key=value` on top.
        steps: of the classifier; those of the preset by default, whatever the data's preset says.
        seed: of the run.

    Raises:
        ConfigError: an unknown preset, or values that are not valid.
    """
    if steps is None:
        steps = preset.load(PRESET)["params"]["train"]["steps"]
    own = [pair(key, value) for key, value in methods()[method].items()]
    # Nobody looks at grids: where they would be drawn, the bar moves.
    fixed = [f"train.steps={steps}", f"train.sample_every={max(1, steps // BAR_UPDATES)}"]
    values = preset.resolve([PRESET, data], [*fixed, "train.sample_grid=1", *own, *pairs])
    return parse(Config, {**values, "seed": seed}, f"{method} on {data}")


def length(method: str, config: Config) -> int:
    """Steps of either player in a run: what the bar counts."""
    return config.train.steps if method == CROSS_ENTROPY else updates(config)


def fit_by_cross_entropy(
    config: Config, prepared: Prepared, device: torch.device, bar: Any
) -> Generator:
    """The averaged classifier, fitted to the labels themselves.

    As the game's: the same initial weights, batches, optimiser, rates, average and steps.

    Raises:
        TrainingError: the loss is not finite.
    """
    train, labels = config.train, label_alphabet(prepared)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "initialisation"))
        classifier = build_generator(config.model, prepared.example_shape, labels)
    classifier.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = averaged_copy(classifier)
    optimiser = make_optimiser(
        train.generator_optimiser,
        classifier.parameters(),
        learning_rate=train.generator_learning_rate,
        betas=train.betas,
        weight_decay=train.weight_decay if train.generator_optimiser == "adamw" else 0.0,
    )
    images, targets = (
        Batches(rows, train.batch_size, seed=stream_seed(config.seed, "order"), device=device)
        for rows in (prepared.examples("train"), labels_of(prepared, "train"))
    )
    for step in range(train.steps):
        for group in optimiser.param_groups:
            share = learning_rate_factor(train.schedule, step, train.steps)
            group["lr"] = train.generator_learning_rate * share
        logits = categorical_logits(classifier(to_network(images.next())), labels.size)
        loss = F.cross_entropy(logits, targets.next())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen = (step + 1) * train.batch_size
        kept = decay(seen, train.batch_size, train.ema_half_life, train.ema_warmup)
        update(average, classifier, kept)
        bar.update()
    if not torch.isfinite(loss):
        raise TrainingError(f"the cross-entropy became {loss.item()}; a smaller rate may help")
    return average


def run(
    method: str, config: Config, prepared: Prepared, work: Path, device: torch.device, bar: Any
) -> TableRow:
    """Train one classifier and test it; a row of the table."""
    row: TableRow = {
        "game": method,
        "seed": config.seed,
        "steps": config.train.steps,
        "config": key_of(method, config),
        "failed": "",
    }
    started = time.monotonic()
    try:
        if method == CROSS_ENTROPY:
            classifier = fit_by_cross_entropy(config, prepared, device, bar)
        else:
            classifier = play(config, prepared, work, device, bar).average
    except TrainingError as error:
        row["failed"] = str(error).partition(";")[0]
        return row
    row["seconds"] = round(time.monotonic() - started, 1)
    for split in ("test", "train"):
        probabilities = predict(classifier, prepared.images(split))
        row[f"{split}_error"] = error_rate(probabilities, np.asarray(labels_of(prepared, split)))
    return row


def key_of(method: str, config: Config) -> str:
    """What determines a row: the method, and everything but where and how the work runs."""
    return fingerprint({"method": method, "run": identity(config)})


def table(rows: Sequence[TableRow]) -> list[TableRow]:
    """Test errors in per cent, mean ± deviation over seeds: divergences by estimators, then others.

    The deviation is that of the population; what failed is counted, and left out of the mean.
    """

    def cell(method: str) -> str:
        runs = [row for row in rows if row["game"] == method]
        errors = [100 * row["test_error"] for row in runs if not row["failed"]]
        failed = len(runs) - len(errors)
        lost = f" ({failed} of {len(runs)} failed)" if failed else ""
        if not errors:
            return f"–{lost}"
        return f"{np.mean(errors):.2f} ± {np.std(errors):.2f}{lost}"

    lines: list[TableRow] = [
        {"": divergence, **{each: cell(f"{divergence} {each}") for each in ESTIMATORS}}
        for divergence in DIVERGENCES
    ]
    # One number: there is nothing to estimate.
    others: list[TableRow] = [
        {"": method, ESTIMATORS[0]: cell(method), ESTIMATORS[1]: ""}
        for method in (CROSS_ENTROPY, *CRITICS)
    ]
    return lines + others


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    parser = command_line(
        "benchmarks.adversarial_classification", __doc__, steps="of the classifier", work=WORK
    )
    return run_command(parser, arguments, _compare)


def _compare(options: argparse.Namespace) -> None:
    device = pick_device(options.device)
    stem = f"adversarial_classification_{options.data.replace('-', '_')}"
    path = options.output or results_path(stem, device)
    configs = {
        (method, seed): configure(method, options.data, options.pairs, options.steps, seed)
        for seed in range(options.seeds)
        for method in methods()
    }
    keys = {each: key_of(each[0], config) for each, config in configs.items()}
    prepared = prepared_data(next(iter(configs.values())), options.work)
    label_alphabet(prepared)  # raises where there is nothing to learn from
    rows = complete(
        path,
        configs,
        keys,
        lambda method, config, bar: run(method, config, prepared, options.work, device, bar),
        device,
        length,
    )
    lines = table(rows)
    print_table(lines)
    write_bytes(path.with_suffix(".md"), markdown(lines).encode())


if __name__ == "__main__":
    sys.exit(main())
