"""Stage `train`: the game is played, and the averaged generator is published."""

from __future__ import annotations

import importlib
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from gan.code import code_digest
from gan.config import Config
from gan.data import Prepared, open_prepared
from gan.errors import StateError, shown
from gan.files import write_bytes, write_json
from gan.generators import save_generator
from gan.runtime import pick_device
from gan.schedules import depends_on_total
from gan.training import Interrupted, Trainer, Watcher, trainer_of
from gan.training.history import write_csv
from gan.training.snapshots import (
    load_snapshot,
    optimum,
    save_snapshot,
    snapshot_path,
    snapshot_steps,
)
from gan.training.state import DEFAULT_ROOT, RunState, hold
from pipeline.params import STOPPED, run_stage
from pipeline.paths import (
    GENERATOR,
    PREPARED,
    SNAPSHOTS,
    TRAIN_METRICS,
    TRAINING,
    main_checkout,
)


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
    # Not part of the provenance: another version would change the published file.
    code = code_digest(["pipeline.train"])
    identity = {**provenance, "code": code, "torch": torch.__version__}
    if config.runtime.compile:  # to other last bits: a run of its own
        identity["compile"] = True
    about = {
        "data": prepared.manifest.source,
        "model": config.model.name,
        "objective": f"{config.objective.discriminator}/{config.objective.generator}",
        "steps": config.train.steps,
    }
    with hold(state_root(), identity, about) as state:
        trainer = trainer_of(config, prepared, device=device)
        live = _watcher(state, prepared, config.train.sample_grid)
        try:
            trainer.run(state, config.runtime, live)
        except Interrupted as stop:
            print(stop, file=sys.stderr)
            sys.exit(STOPPED)
        _publish(trainer, state, provenance)
        state.finish(trainer.step)


def _watcher(state: RunState, prepared: Prepared, columns: int) -> Watcher | None:
    """Who draws pictures while it trains; None, with a warning, where nothing can be drawn."""
    try:
        # By name: what draws is no part of what the result depends on, see `gan.code`.
        watching = importlib.import_module("pipeline.live")
    except Exception as error:  # of a library for pictures, whatever it is
        print(f"warning: no pictures while training: {shown(error)}", file=sys.stderr)
        return None
    live: Watcher = watching.Live(state.folder / "live", prepared, columns)
    print(f"while it trains, {state.folder / 'live'} has real.png, samples/ and history.csv")
    return live


def state_root() -> Path:
    """The folder of training states, in the checkout itself.

    A copy of it DVC throws away when the run fails; the states stay where the next run finds them.
    """
    return main_checkout() / DEFAULT_ROOT


def _publish(trainer: Trainer, state: RunState, provenance: dict[str, object]) -> None:
    """Write every out of the stage from the state, whatever was there before."""
    write_csv(trainer.rows(), TRAINING / "history.csv", trainer.players.measures)
    columns = trainer.columns()
    _publish_snapshots(trainer, state)
    toy = trainer.data.toy
    theory = None if toy is None else optimum(trainer.players, toy)
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


def _publish_snapshots(trainer: Trainer, state: RunState) -> None:
    """Copy the snapshots that are owed out of the state, without those that are lost.

    Only the last can be taken anew: the game is no more what it was at the others.
    """
    if SNAPSHOTS.exists():  # of another run, when DVC is not around
        shutil.rmtree(SNAPSHOTS)
    train = trainer.config.train
    for step in snapshot_steps(train.steps, train.sample_every):
        kept, target = snapshot_path(state.snapshots, step), snapshot_path(SNAPSHOTS, step)
        try:
            load_snapshot(kept)  # a damaged one would stop the report
            content = kept.read_bytes()
        except (OSError, MemoryError, StateError) as error:
            if step == trainer.step:
                save_snapshot(trainer.snapshot(), target)
            else:
                print(
                    f"warning: the snapshot of step {step} is lost and left out: {shown(error)}",
                    file=sys.stderr,
                )
            continue
        write_bytes(target, content)


if __name__ == "__main__":
    run_stage(main, "train")
