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
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan.alarms import Alarm, alarms
from gan.averaging import averaged_copy, decay, update
from gan.classification import label_alphabet, labels_of, predict
from gan.classification_step import make_classifying_players
from gan.config import Config, RuntimeConfig, TrainConfig
from gan.data.batches import Batches, Labelled
from gan.data.prepared import Prepared
from gan.discrete_step import make_players
from gan.errors import TrainingError
from gan.history import Row, as_columns
from gan.models.base import Discriminator, Generator
from gan.pixels import Examples, Images, Labels
from gan.runtime import stream_seed
from gan.sampling import generate
from gan.state import RunState
from gan.symbols import Alphabet

# Ctrl-C, `kill`, and a terminal that went away, where the platform has it.
STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

# Given a step and samples, images uint8 [N, C, S, S], points fp32 [N, D] or symbols of texts uint8
# [N, L], draws them somewhere. Of a classifier it is given probabilities, fp32 [N, V], of the first
# training images' labels.
GridWriter = Callable[[int, Examples], None]


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Someone asked the run to stop; its state is saved."""


class Trainer:
    """The players, the averaged generator, and where the run stands."""

    def __init__(
        self,
        config: Config,
        examples: Examples,
        *,
        device: torch.device,
        shape: Sequence[int] | None = None,
        alphabet: Alphabet | None = None,
        labels: Labels | None = None,
    ) -> None:
        """Set up a run at step 0.

        Args:
            config: `seed`, `model`, `objective` and `train` are used.
            examples: training images, uint8 `[N, C, S, S]`, or points, fp32 `[N, D]`; or symbols
                of images, uint8 `[N, S, S]`, or of texts, uint8 `[N, L]`.
            device: where to train.
            shape: of one example, images of symbols decoded, `(C, S, S)`; by default what the
                examples and the alphabet say.
            alphabet: what symbols mean, where examples are symbols; of a classifier, what labels
                mean.
            labels: of images, int64 `[N]`, where the model is a classifier.

        Raises:
            ValueError: a classifier without labels, or labels without a classifier.
        """
        if (labels is not None) != (config.model.name == "classifier"):
            raise ValueError(
                f"labels are {'missing' if labels is None else 'given'}, and model.name is "
                f"{config.model.name}: expected labels for a classifier, and for nothing else"
            )
        if shape is None:
            shape = examples.shape[1:]
            if alphabet is not None and alphabet.colours is not None:
                shape = (alphabet.channels, *shape)
        self.config = config
        self.device = device
        self.step = 0
        self.history: list[Row] = []
        make = make_players if labels is None else make_classifying_players
        self.players = make(config, shape, device, alphabet)
        self.average = averaged_copy(self.generator)
        self._batches = Batches(
            examples,
            config.train.batch_size,
            seed=stream_seed(config.seed, "order"),
            device=device,
        )
        self._labels: Batches | None = None
        if labels is not None:
            # The same seed: in step with the images.
            self._labels = Batches(
                labels,
                config.train.batch_size,
                seed=stream_seed(config.seed, "order"),
                device=device,
            )
            self._first_images = cast(Images, examples[: config.train.sample_grid**2])
        # Measures of the steps since the last row of the history.
        self._window = torch.zeros(
            config.train.record_every, len(self.players.measures), device=device
        )
        self._filled = 0

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
        train = self.config.train
        self._window[self._filled] = self.players.play(self.step, self._next_batch)
        self._filled += 1
        self.step += 1
        update(
            self.average,
            self.generator,
            decay(
                self.images_seen,
                self.config.objective.g_steps * train.batch_size,
                train.ema_half_life,
                train.ema_warmup,
            ),
        )

    def _next_batch(self) -> Tensor | Labelled:
        examples = self._batches.next()
        return examples if self._labels is None else Labelled(examples, self._labels.next())

    # --- the history -----------------------------------------------------------------------

    def _measured(self) -> Row | None:
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

    def rows(self) -> list[Row]:
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
        """What the history so far gives cause to worry about; see `gan.alarms`."""
        columns = self.columns()
        if self._labels is not None:
            # A classifier is to be certain.
            columns.pop("generator_entropy", None)
        return alarms(columns)

    # --- the loop --------------------------------------------------------------------------

    def run(
        self,
        state: RunState,
        runtime: RuntimeConfig,
        write_grid: GridWriter,
        *,
        progress: bool = True,
    ) -> None:
        """Train until `train.steps`, from the state's last checkpoint when there is one.

        Args:
            state: the run's folder, held.
            runtime: intervals of progress and checkpoints.
            write_grid: called with samples from one fixed latent every `train.sample_every` steps
                and at the end; must replace what it wrote for the same step before.
            progress: show a bar on stderr.

        Raises:
            TrainingError: a loss or gradient is not finite; the last good state is kept.
            Interrupted: one of `STOP_SIGNALS` came; the state is saved.
        """
        train = self.config.train
        resumed = state.resume_point(train.steps)
        if resumed is not None:
            self.load_state_dict(resumed[1])
        saved_at = recorded_at = time.monotonic()
        recorded = self.step
        raised: set[str] = set()
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
                if self.step % train.sample_every == 0:
                    write_grid(self.step, self.fixed_samples(train.sample_grid**2))
                    if progress:
                        raised = self._raise_alarms(raised)
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
            # Not in the loop: a run may be found at its end, at a step where it was interrupted.
            if self.step % train.sample_every:
                write_grid(self.step, self.fixed_samples(train.sample_grid**2))

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
        """Samples `[count, *shape]` of the averaged generator, from the same latent each time.

        Symbols are drawn with the same random numbers each time; see `gan.sampling.generate`. Of a
        classifier: its probabilities of the first training images, `[≤ count, V]`.
        """
        if self._labels is not None:
            return predict(self.average, self._first_images[:count])
        # Drawn on the CPU: the same latent on every device.
        rng = torch.Generator().manual_seed(stream_seed(self.config.seed, "fixed latent"))
        latent = self.average.draw_latent(count, rng)
        seed = stream_seed(self.config.seed, "fixed symbols")
        return np.concatenate(list(generate(self.average, latent, seed=seed)))

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
        self.step = content["step"]
        self.players.load_state_dict(content["players"], self.step)
        self.average.load_state_dict(content["average"])
        self._batches.load_state_dict(content["batches"])
        if self._labels is not None:
            self._labels.load_state_dict(content["batches"])
        self._window.copy_(content["window"])
        self._filled = content["filled"]
        self.history = content["history"]


def trainer_of(config: Config, prepared: Prepared, *, device: torch.device) -> Trainer:
    """A run at step 0 on the training split of `prepared`; of a classifier, with its labels.

    Raises:
        DataError: data without the labels that a classifier learns from, or too few examples.
    """
    classifies = config.model.name == "classifier"
    return Trainer(
        config,
        prepared.examples("train"),
        device=device,
        shape=prepared.example_shape,
        alphabet=label_alphabet(prepared) if classifies else prepared.alphabet,
        labels=labels_of(prepared, "train") if classifies else None,
    )


def grid_steps(steps: int, sample_every: int) -> list[int]:
    """The steps at which a run of `steps` steps writes a grid of samples."""
    return sorted({*range(sample_every, steps + 1, sample_every), steps})


def grid_path(folder: Path, step: int) -> Path:
    """Where in `folder` the grid of `step` stands."""
    return folder / f"step-{step:09d}.png"


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
