"""Stage `report`: every picture of the run."""

from __future__ import annotations

import csv
import json

import numpy as np

from gan import figures
from gan.array_file import read_arrays
from gan.config import Config
from gan.data import open_prepared
from gan.figures.history import curves
from gan.generators.samples_file import read_samples
from gan.training.snapshots import load_snapshots
from pipeline.params import run_stage
from pipeline.paths import EVALUATION, PREPARED, REPORT, SAMPLES, SNAPSHOTS, TRAIN_METRICS, TRAINING


def main(config: Config) -> None:
    """Write `results/report` from the arrays of the other stages."""
    for other in [
        *REPORT.rglob("*.png"),
        *REPORT.glob("*.txt"),
        *REPORT.glob("*.csv"),
    ]:  # when DVC is not around
        other.unlink()
    prepared, samples = open_prepared(PREPARED), read_samples(SAMPLES)
    draw, columns = figures.of_kind(samples.kind), config.train.sample_grid
    draw.real(prepared, REPORT, columns)
    snapshots = load_snapshots(SNAPSHOTS)
    for snapshot in snapshots:
        path = REPORT / "samples" / f"step-{snapshot.step:09d}.png"
        draw.moment(snapshot, prepared, path, columns)
    draw.course(snapshots, prepared, REPORT)
    with (TRAINING / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    telling = json.loads(TRAIN_METRICS.read_bytes())["last"]  # without what this game does not say
    curves({key: [float(row[key]) for row in rows] for key in telling}, REPORT / "curves.png")
    draw.grid(samples.array, prepared, REPORT, config.sample.grid)
    if (SAMPLES / "interpolation.npy").exists():
        between = np.load(SAMPLES / "interpolation.npy", allow_pickle=False)
        draw.between(between, prepared, REPORT)
    shown = read_arrays(EVALUATION / "shown.safetensors")
    draw.evaluation(shown, samples.array, prepared, REPORT)


if __name__ == "__main__":
    run_stage(main)
