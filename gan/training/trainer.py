"""The loop around the game: history, average, samples, checkpoints, signals.

Numbers come to the host when a row of the history is due, and not before. All that the trainer
holds goes into its state, so that a run that was killed ends in the same bytes as one that was not.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Protocol

import torch
from tqdm import tqdm

from gan.config import Config, RuntimeConfig, TrainConfig
from gan.data.batches import StaticBatch
from gan.data.prepared import Prepared
from gan.data.training_set import TrainingSet, training_set
from gan.errors import StateError, TrainingError, UserError, reading
from gan.game.choice import make_players
from gan.game.static_number import StaticNumber
from gan.models.base import Discriminator, Generator
from gan.pixels import Examples
from gan.runtime import stream_seed
from gan.training.alarms import Alarm, alarms
from gan.training.averaging import averaged_copy, decay, move
from gan.training.history import HistoryRow, as_columns
from gan.training.round_graph import Recorder, RoundGraphs, make_recorder
from gan.training.snapshots import (
    Snapshot,
    save_snapshot,
    snapshot_path,
    snapshot_steps,
    take_snapshot,
)
from gan.training.state import RunState

# Ctrl-C, `kill`, and a terminal that went away, where the platform has it.
STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

# Steps after which it is said how long the rest will take; the very first are slower.
EXPECTED_AFTER = 20
WORTH_SAYING = 5.0  # seconds


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Someone asked the run to stop; its state is saved."""


class Watcher(Protocol):
    """Who looks on while a run goes on. What it does must not change the run."""

    def snapshot(self, snapshot: Snapshot) -> None:
        """A snapshot was taken."""

    def rows(self, rows: Sequence[HistoryRow], measures: Sequence[str]) -> None:
        """The history has come this far."""


class Trainer:
    """The players, the averaged generator, and where the run stands."""

    def __init__(
        self,
        config: Config,
        data: TrainingSet,
        *,
        device: torch.device,
        recorder: Recorder | None = None,
    ) -> None:
        """Set up a run at step 0.

        Args:
            config: `seed`, `model`, `objective` and `train` are used, and of `runtime` how rounds
                are played.
            data: what the game is played on.
            device: where to train.
            recorder: what records rounds; by default what `gan.training.round_graph` has for this
                run.

        Raises:
            DataError: there are fewer examples than one batch takes.
            ValueError: the networks of `model` are not for such examples.
        """
        self.config = config
        self.data = data
        self.device = device
        self.step = 0
        self.history: list[HistoryRow] = []
        self.players = make_players(config, data, device)
        self.average = averaged_copy(self.generator)
        self._batches = data.batches(
            config.train.batch_size, seed=stream_seed(config.seed, "order"), device=device
        )
        # Measures of the steps since the last row of the history.
        self._window = torch.zeros(
            config.train.record_every, len(self.players.measures), device=device
        )
        self._filled = 0
        # Of the round: its row in the window, and how far the average moves.
        self._row = StaticNumber(0, torch.int64, device)
        self._share = StaticNumber(0.0, torch.float32, device)
        # Of the round: its batches, where it is recorded and replayed.
        self._graphs: RoundGraphs | None = None
        self._static: list[StaticBatch] = []
        recorder = recorder or make_recorder(config, device)
        if recorder is not None:
            self._graphs = RoundGraphs(recorder)
            self._static = [self._batches.static() for _ in range(config.objective.d_steps)]

    @property
    def generator(self) -> Generator:
        """The generator that plays; the one to publish is `average`."""
        return self.players.generator

    @property
    def discriminator(self) -> Discriminator:
        """The discriminator."""
        return self.players.discriminator

    @property
    def images_seen(self) -> int:
        """Latent vectors whose examples the generator has learned from."""
        return self.step * self.config.objective.g_steps * self.config.train.batch_size

    def advance(self) -> None:
        """One round of the game."""
        objective, train = self.config.objective, self.config.train
        a_round = objective.g_steps * train.batch_size
        kept = decay((self.step + 1) * a_round, a_round, train.ema_half_life, train.ema_warmup)
        self.players.prepare(self.step)
        self._row.set(self._filled)
        self._share.set(1 - kept)
        due = self.players.due(self.step)
        if self._graphs is None:
            self._round(due, self._batches.next)
        else:
            for batch in self._static:
                batch.fill()
            self._graphs.play(due, lambda: self._round_of_static(due), self.players.streams)
        self._filled += 1
        self.step += 1

    def _round(self, due: Sequence[bool], next_batch: Callable[[], Any]) -> None:
        """All that a round does on the device: nothing that the host counts is in it."""
        measured = self.players.round(due, next_batch)
        self._window.index_copy_(0, self._row.tensor, measured[None])
        move(self.average, self.generator, self._share.tensor)

    def _round_of_static(self, due: Sequence[bool]) -> None:
        batches = iter(self._static)
        self._round(due, lambda: next(batches).get())

    # --- the history -----------------------------------------------------------------------

    def _measured(self) -> HistoryRow | None:
        """The row that the steps since the last one make so far.

        This is where numbers come to the host.

        Raises:
            TrainingError: one of them is not finite.
        """
        if self._filled == 0:
            return None
        window = self._window[: self._filled].tolist()
        for offset, values in enumerate(window):
            for name, value in zip(self.players.measures, values, strict=True):
                if not math.isfinite(value):
                    step = self.step - self._filled + offset + 1
                    raise TrainingError(
                        f"{name} became {value} at step {step}; training stops. The state before "
                        "it is kept. A smaller learning rate, or another objective, may help"
                    )
        means = [sum(column) / len(window) for column in zip(*window, strict=True)]
        real_images = self.step * self.config.objective.d_steps * self.config.train.batch_size
        return [float(self.step), float(real_images), *means]

    def _record(self) -> None:
        row = self._measured()
        if row is not None:
            self.history.append(row)
            self._filled = 0

    def rows(self) -> list[HistoryRow]:
        """The history, with the last row over fewer steps when the run ends between two rows."""
        unfinished = self._measured()
        return self.history + ([unfinished] if unfinished is not None else [])

    def columns(self) -> dict[str, list[float]]:
        """The history by column, without those that say nothing about this game."""
        columns = as_columns(self.rows(), self.players.measures)
        for name in self.players.game.meaningless:
            del columns[name]
        return columns

    def alarms(self) -> list[Alarm]:
        """What the history so far gives cause to worry about; see `gan.training.alarms`."""
        columns = self.columns()
        for name in self.players.never_alarming:
            columns.pop(name, None)
        return alarms(columns)

    # --- the loop --------------------------------------------------------------------------

    def run(
        self,
        state: RunState,
        runtime: RuntimeConfig,
        watcher: Watcher | None = None,
        *,
        progress: bool = True,
    ) -> None:
        """Train until `train.steps`, from the state's last checkpoint when there is one.

        Snapshots go into the state's folder, at `snapshot_steps`.

        Args:
            state: the run's folder, held.
            runtime: intervals of progress and checkpoints.
            watcher: is told of snapshots and of the history.
            progress: show a bar on stderr.

        Raises:
            TrainingError: a loss or gradient is not finite; the last good state is kept.
            Interrupted: one of `STOP_SIGNALS` came; the state is saved.
            StateError: the state cannot be gone on with; see `RunState.resume_point`.
            UserError: a checkpoint cannot be written; those from before are as they were.
        """
        train = self.config.train
        resumed = state.resume_point(train.steps)
        if resumed is not None:
            with reading(f"the checkpoint of step {resumed[0]}", "this run's", StateError):
                self.load_state_dict(resumed[1])
        steps = set(snapshot_steps(train.steps, train.sample_every))
        saved_at = recorded_at = time.monotonic()
        recorded = started = self.step
        looked_on = 0.0  # seconds that snapshots took
        raised: set[str] = set()
        if self.step == 0:
            self._keep_snapshot(state, watcher)
        started_at = time.monotonic()
        with (
            _stop_request() as stop_requested,
            tqdm(
                total=train.steps, initial=self.step, unit="step", disable=not progress,
                desc="train" if resumed is None else f"train (resumed at {self.step})",
                dynamic_ncols=True, smoothing=0.05,
            ) as bar,
        ):  # fmt: skip
            while self.step < train.steps:
                self.advance()
                if self._filled == train.record_every:
                    self._record()
                    now = time.monotonic()
                    _note_speed(
                        state, self.step, train, (now - recorded_at) / (self.step - recorded)
                    )
                    recorded_at, recorded = now, self.step
                    if watcher is not None:
                        watcher.rows(self.history, self.players.measures)
                if self.step in steps:
                    looked_on += self._keep_snapshot(state, watcher)
                    if progress and self.step % train.sample_every == 0:
                        raised = self._raise_alarms(raised)
                if progress and self.step - started == EXPECTED_AFTER:
                    seconds = time.monotonic() - started_at - looked_on
                    self._say_how_long(seconds / EXPECTED_AFTER)
                if progress and self.step % runtime.progress_every == 0:
                    bar.set_postfix_str(self._summary(bar.format_dict), refresh=False)
                bar.update()
                due = time.monotonic() - saved_at >= runtime.checkpoint_seconds
                if due or stop_requested() or self.step == train.steps:
                    self._save(state)
                    saved_at = time.monotonic()
                if stop_requested():
                    raise Interrupted(
                        f"stopped at step {self.step} of {train.steps}; the state is saved and "
                        "the next run goes on from here"
                    )
        # A run may be found at its end, at a step where a longer one was interrupted.
        if not snapshot_path(state.snapshots, self.step).exists():
            try:
                self._keep_snapshot(state, watcher)
            except UserError as error:  # an ornament, of a run that is done
                print(f"warning: {error}", file=sys.stderr)

    def _keep_snapshot(self, state: RunState, watcher: Watcher | None) -> float:
        """Write a snapshot into the state, and show it; how long that took, in seconds."""
        started = time.monotonic()
        state.ensure_held()
        snapshot = self.snapshot()
        save_snapshot(snapshot, snapshot_path(state.snapshots, self.step))
        if watcher is not None:
            watcher.snapshot(snapshot)
        return time.monotonic() - started

    def _say_how_long(self, seconds: float) -> None:
        """Say how long the steps that are left will take, at `seconds` each."""
        left = self.config.train.steps - self.step
        if left * seconds < WORTH_SAYING:
            return
        tqdm.write(
            f"about {_duration(left * seconds)} for the {left:,} steps that are left, at "
            f"{seconds * 1000:.3g} ms each",
            file=sys.stderr,
        )

    def _raise_alarms(self, raised: set[str]) -> set[str]:
        """Say which alarms are new since those named `raised`; returns the names of all."""
        present = self.alarms()
        for alarm in present:
            if alarm.name not in raised:
                tqdm.write(f"step {self.step}: {alarm.message}", file=sys.stderr)
        return {alarm.name for alarm in present}

    def _summary(self, bar: dict[str, Any]) -> str:
        row = self._measured() or (self.history[-1] if self.history else None)
        if row is None:
            return ""
        value = dict(zip(self.players.measures, row[2:], strict=True))
        rate = (bar["rate"] or 0.0) * self.config.train.batch_size
        accuracy = (
            ""
            if "real_accuracy" in self.players.game.meaningless
            else (f"acc {value['real_accuracy']:.2f}/{value['fake_accuracy']:.2f}, ")
        )
        return (
            f"{rate:.0f} img/s, loss D {value['discriminator_loss']:.3f} "
            f"G {value['generator_loss']:.3f}, "
            f"logit {value['real_logit']:+.2f}/{value['fake_logit']:+.2f}, "
            f"{accuracy}|∇| {value['discriminator_gradient_norm']:.2f}/"
            f"{value['generator_gradient_norm']:.2f}"
        )

    def fixed_samples(self, count: int) -> Examples:
        """Samples of the averaged generator that are comparable between steps.

        As `Players.shown` of the players.
        """
        return self.players.shown(self.average, count)

    def snapshot(self) -> Snapshot:
        """The game as it stands; changes nothing of it."""
        count = self.config.train.sample_grid**2
        return take_snapshot(self.step, self.players, self.average, count, self.data.toy)

    # --- the state -------------------------------------------------------------------------

    def _save(self, state: RunState) -> None:
        self._measured()  # a state with a number that is not finite is not a good one
        state.save(self.step, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything the run is: tensors and plain Python values only."""
        return {
            "step": self.step,
            "players": self.players.state_dict(),
            "average": self.average.state_dict(),
            "batches": self._batches.state_dict(),
            "window": self._window,
            "filled": self._filled,
            "history": self.history,
        }

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        if self._graphs is not None:
            self._graphs.forget()
        self.step = content["step"]
        self.players.load_state_dict(content["players"], self.step)
        self.average.load_state_dict(content["average"])
        self._batches.load_state_dict(content["batches"])
        self._window.copy_(content["window"])
        self._filled = content["filled"]
        self.history = content["history"]


def trainer_of(config: Config, prepared: Prepared, *, device: torch.device) -> Trainer:
    """A run at step 0 on the training split of `prepared`; of a classifier, with its labels.

    Raises:
        DataError: data without the labels that a classifier learns from, or too few examples.
    """
    data = training_set(prepared, labelled=config.model.name == "classifier")
    return Trainer(config, data, device=device)


def _duration(seconds: float) -> str:
    """`seconds` as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _note_speed(state: RunState, step: int, train: TrainConfig, seconds: float) -> None:
    """Append a row to `speed.csv` of the state: `seconds` a step, and images a second.

    Beside the history and not in it: times differ from run to run, what DVC caches must not. No
    run ends because a note could not be made.
    """
    with contextlib.suppress(OSError), (state.folder / "speed.csv").open("a") as rows:
        if rows.tell() == 0:
            rows.write("step,seconds_per_step,images_per_second\n")
        rows.write(f"{step},{seconds:.6f},{train.batch_size / seconds:.1f}\n")


@contextlib.contextmanager
def _stop_request() -> Iterator[Callable[[], bool]]:
    """Turn the first signal that asks to stop into a flag; the second has its usual effect."""
    requested = False
    previous: dict[signal.Signals, Any] = {}

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        requested = True
        for each, handler in previous.items():
            signal.signal(each, handler)

    # Only the main thread may set handlers.
    if threading.current_thread() is threading.main_thread():
        for each in STOP_SIGNALS:
            # One that is ignored stays so: nohup means just that with SIGHUP.
            if signal.getsignal(each) is not signal.SIG_IGN:
                previous[each] = signal.signal(each, request)
    try:
        yield lambda: requested
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
