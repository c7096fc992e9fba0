"""Stage `train`: the game is played, and the averaged generator is published."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import cast

from gan.config import Config
from gan.data.meaning import labels_of, toy_of
from gan.data.prepared import open_prepared
from gan.errors import StateError
from gan.figures import images as figures
from gan.figures import labels as classification_figures
from gan.figures import points as toy_figures
from gan.figures import text as text_figures
from gan.files import write_bytes, write_json
from gan.game.schedules import depends_on_total
from gan.generators.published import save_generator
from gan.models import load_family
from gan.pixels import Examples, Images, Points
from gan.runtime import pick_device
from gan.symbols import Symbols
from gan.toys import Toy
from gan.training.history import write_csv
from gan.training.snapshots import observe, optimum
from gan.training.state import DEFAULT_ROOT, RunState, code_digest, hold
from gan.training.trainer import Interrupted, Trainer, grid_path, grid_steps, trainer_of
from pipeline.params import STOPPED, run_stage
from pipeline.paths import GENERATOR, PREPARED, TRAIN_METRICS, TRAINING


def main(config: Config) -> None:
    """Write the generator, its metrics, and `results/training`."""
    device = pick_device(config.runtime.device)
    prepared = open_prepared(PREPARED)
    provenance = {
        "seed": config.seed,
        "model": config.model.model_dump(),
        "objective": config.objective.model_dump(),
        # More steps go on from the steps before, unless these were taken with the end in view.
        "train": config.train.model_dump(
            exclude=None if depends_on_total(config.train.schedule) else {"steps"}
        ),
        "data": prepared.manifest.checksum,
    }
    load_family(config.model.name)  # its code is part of what determines the result
    # Not part of the provenance: an edited comment would change the published file.
    identity = {**provenance, "code": code_digest()}
    about = {
        "data": prepared.manifest.source,
        "model": config.model.name,
        "objective": f"{config.objective.discriminator}/{config.objective.generator}",
        "steps": config.train.steps,
    }
    with hold(state_root(), identity, about) as state:
        trainer = trainer_of(config, prepared, device=device)
        grids = state.folder / "samples"
        toy = toy_of(prepared) if prepared.manifest.kind == "points" else None

        def write_grid(step: int, samples: Examples) -> None:
            path = grid_path(grids, step)
            if prepared.manifest.kind == "text":
                assert prepared.alphabet is not None
                texts = prepared.alphabet.decode_text(cast(Symbols, samples))
                text_figures.page(texts, path, title=f"step {step:,}")
            elif config.model.name == "classifier":
                count = len(samples)
                classification_figures.predictions(
                    prepared.images("train")[:count],
                    cast(Points, samples),
                    labels_of(prepared, "train")[:count],
                    prepared.manifest.label_names or [],
                    path,
                    columns=config.train.sample_grid,
                )
            elif toy is None:
                figures.image_grid(cast(Images, samples), config.train.sample_grid, path)
            else:
                snapshot = observe(trainer, toy)
                toy_figures.save_snapshot(snapshot, toy_figures.snapshot_path(grids, step))
                _draw_game([snapshot], toy, config, path)

        try:
            trainer.run(state, config.runtime, write_grid)
        except Interrupted as stop:
            print(stop, file=sys.stderr)
            sys.exit(STOPPED)
        _publish(trainer, state, grids, provenance, toy)
        state.finish(trainer.step)


def state_root() -> Path:
    """The folder of training states, at the root of the main repository.

    DVC works in a copy below `.dvc/tmp/exps` for `dvc exp run --temp`, which it throws away when
    the run fails; the states stay outside it, where the next run finds them.
    """
    root = os.environ.get("DVC_ROOT", ".").partition("/.dvc/tmp/exps/")[0]
    return Path(root) / DEFAULT_ROOT


def _draw_game(snapshots: list[toy_figures.Snapshot], toy: Toy, config: Config, path: Path) -> None:
    probabilities = config.objective.discriminator == "gan"
    toy_figures.game(snapshots, toy, path, probabilities=probabilities)


def _publish(
    trainer: Trainer,
    state: RunState,
    grids: Path,
    provenance: dict[str, object],
    toy: Toy | None,
) -> None:
    """Write every out of the stage from the state, whatever was there before."""
    config = trainer.config
    rows = trainer.rows()
    write_csv(rows, TRAINING / "history.csv", trainer.players.measures)
    columns = trainer.columns()
    figures.curves(columns, TRAINING / "curves.png")
    for other in (TRAINING / "samples").glob("*.png"):  # of another run, when DVC is not around
        other.unlink()
    steps = grid_steps(config.train.steps, config.train.sample_every)
    for step in steps:
        try:
            grid = grid_path(grids, step).read_bytes()
        except OSError as error:
            raise StateError(
                f"the state {state.folder} has lost a grid of samples ({error}); remove it "
                "with `python -m gan.state prune --all` and run again"
            ) from error
        write_bytes(grid_path(TRAINING / "samples", step), grid)
    theory = None
    (TRAINING / "game.png").unlink(missing_ok=True)
    if toy is not None:
        snapshots = [
            toy_figures.load_snapshot(toy_figures.snapshot_path(grids, step)) for step in steps
        ]
        _draw_game(snapshots, toy, config, TRAINING / "game.png")
        theory = optimum(trainer, toy)
    save_generator(
        trainer.average,
        GENERATOR,
        provenance={
            **provenance,
            "steps": trainer.step,
            "images_seen": trainer.images_seen,
        },
    )
    alarms = trainer.alarms()
    for alarm in alarms:
        print(f"alarm: {alarm.message}", file=sys.stderr)
    write_json(
        TRAIN_METRICS,
        {
            "steps": trainer.step,
            "images_seen": trainer.images_seen,
            "parameters": {
                "generator": sum(p.numel() for p in trainer.generator.parameters()),
                "discriminator": sum(p.numel() for p in trainer.discriminator.parameters()),
            },
            "last": {name: values[-1] for name, values in columns.items()},
            "alarms": {alarm.name: alarm.message for alarm in alarms},
            # The discriminator against the best there is, where that is known.
            **({} if theory is None else {"theory": asdict(theory)}),
        },
    )


if __name__ == "__main__":
    run_stage(main)
