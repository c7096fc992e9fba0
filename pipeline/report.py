"""Stage `report`: every picture of the run."""

from __future__ import annotations

from gan import figures
from gan.array_file import read_arrays
from gan.config import Config
from gan.data import open_prepared
from gan.errors import reading
from gan.figures.history import curves
from gan.generators.samples_file import FORMS, read_samples
from gan.json_file import read_json
from gan.npy_file import map_array
from gan.training.history import read_csv
from gan.training.snapshots import load_snapshots
from pipeline.params import run_stage
from pipeline.paths import EVALUATION, PREPARED, REPORT, SAMPLES, SNAPSHOTS, TRAIN_METRICS, TRAINING


def main(config: Config) -> None:
    """Write `results/report` from the arrays of the other stages."""
    for other in REPORT.rglob("*.png"):  # of another run, when DVC is not around
        other.unlink()
    prepared, samples = open_prepared(PREPARED), read_samples(SAMPLES)
    draw, columns = figures.of_kind(samples.kind), config.train.sample_grid
    draw.real(prepared, REPORT, columns)
    snapshots = load_snapshots(SNAPSHOTS)
    for snapshot in snapshots:
        path = REPORT / "samples" / f"step-{snapshot.step:09d}.png"
        draw.moment(snapshot, prepared, path, columns)
    draw.course(snapshots, prepared, REPORT)
    history = read_csv(TRAINING / "history.csv")
    with reading(TRAIN_METRICS, "what `train` measured; run train"):
        # Without what this game does not say.
        telling = read_json(TRAIN_METRICS, "what `train` measured; run train")["last"]
        columns_of_game = {key: history[key] for key in telling}
    curves(columns_of_game, REPORT / "curves.png")
    draw.grid(samples.array, prepared, REPORT, config.sample.grid)
    if (SAMPLES / "interpolation.npy").exists():
        dtypes, ndim = FORMS[samples.kind]
        between = map_array(
            SAMPLES / "interpolation.npy",
            "an interpolation; run sample",
            dtypes=dtypes,
            ndim=ndim + 1,
        )
        draw.between(between, prepared, REPORT)
    shown = read_arrays(EVALUATION / "shown.safetensors")
    draw.evaluation(shown, samples.array, prepared, REPORT)


if __name__ == "__main__":
    run_stage(main)
