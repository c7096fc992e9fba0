"""Stage `evaluate`: the samples are judged."""

from __future__ import annotations

import sys

from gan import evaluation, judges
from gan.array_file import write_arrays
from gan.config import Config
from gan.data import open_prepared
from gan.evaluation.found import write_table
from gan.files import write_json
from gan.generators.samples_file import read_samples
from gan.runtime import pick_device
from pipeline.params import run_stage
from pipeline.paths import EVALUATE_METRICS, EVALUATION, JUDGE, PREPARED, SAMPLES


def main(config: Config) -> None:
    """Write the metrics, and `results/evaluation`: tables, and arrays for the report."""
    prepared, samples = open_prepared(PREPARED), read_samples(SAMPLES)
    judge = judges.of_kind(samples.kind).load(JUDGE, prepared, pick_device(config.runtime.device))
    found = evaluation.of_kind(samples.kind).evaluate(
        samples.array, prepared, judge, config.evaluate, seed=config.seed
    )
    write_json(EVALUATE_METRICS, found.metrics)
    for other in EVALUATION.glob("*.csv"):  # of another run, when DVC is not around
        other.unlink()
    for name, table in found.tables.items():
        write_table(table, EVALUATION / f"{name}.csv")
    write_arrays(found.shown, EVALUATION / "shown.safetensors")
    print(found.summary, file=sys.stderr)


if __name__ == "__main__":
    run_stage(main, "evaluate")
