"""The training step and the loop around it.

The step has static shapes and no host synchronisation: what it measures stays on the device until
a row of the history is due. All randomness comes from generators that the trainer holds, and all
that the trainer holds goes into its state, so that a run that was killed ends in the same bytes as
one that was not.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from gan.averaging import Network, averaged_copy, decay, update
from gan.config import Config, RuntimeConfig, TrainConfig
from gan.data.batches import Batches
from gan.errors import TrainingError
from gan.history import MEASURES, Row
from gan.models import build_discriminator, build_generator
from gan.objectives import Game
from gan.pixels import Images, from_uint8
from gan.runtime import computes_in_bf16, stream_seed
from gan.sampling import generate
from gan.state import RunState

_log = logging.getLogger(__name__)

# Ctrl-C, `kill`, and a terminal that went away, where the platform has it.
STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

# Given a step and images [N, C, S, S] uint8, draws them somewhere.
GridWriter = Callable[[int, Images], None]


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Someone asked the run to stop; its state is saved."""


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Gradients pass through `network` within the block, but nothing of it changes.

    No gradient of its parameters is computed, and BatchNorm uses the batch's statistics, as in
    training, without moving the running ones.
    """
    parameters = [each for each in network.parameters() if each.requires_grad]
    norms = [
        each
        for each in network.modules()
        if isinstance(each, nn.modules.batchnorm._BatchNorm) and each.track_running_stats
    ]
    for parameter in parameters:
        parameter.requires_grad_(False)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for norm in norms:
            norm.track_running_stats = True


class Trainer:
    """Two players, their optimisers, the averaged generator, and where the run stands."""

    def __init__(
        self,
        config: Config,
        images: Images,
        *,
        device: torch.device,
    ) -> None:
        """Set up a run at step 0.

        Args:
            config: `seed`, `model`, `objective` and `train` are used.
            images: training images, uint8 `[N, C, S, S]`.
            device: where to train.
        """
        self.config = config
        self.device = device
        self.step = 0
        self.history: list[Row] = []
        channels, size = images.shape[1], images.shape[2]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(config.seed, "initialisation"))
            generator = build_generator(config.model, channels, size)
            discriminator = build_discriminator(config.model, channels, size)
        self.generator = _placed(generator, device)
        self.discriminator = _placed(discriminator, device)
        self.average = averaged_copy(self.generator)
        self.game = Game(config.objective)
        train = config.train
        self._generator_optimiser = _adam(
            self.generator, train.generator_learning_rate, train.betas
        )
        self._discriminator_optimiser = _adam(
            self.discriminator, train.discriminator_learning_rate, train.betas
        )
        self._batches = Batches(
            images,
            train.batch_size,
            seed=stream_seed(config.seed, "order"),
            device=device,
        )
        self._latent_rng = torch.Generator(device).manual_seed(stream_seed(config.seed, "latent"))
        self._zero = torch.zeros((), device=device)
        self._autocast = train.precision == "bf16"
        if self._autocast and not computes_in_bf16(device):
            _log.warning(
                "train.precision is bf16, but this CPU has no bf16 instructions and would be "
                "slower with it: training in fp32"
            )
            self._autocast = False
        # Measures of the steps since the last row of the history.
        self._window = torch.zeros(train.record_every, len(MEASURES), device=device)
        self._filled = 0

    # --- one step --------------------------------------------------------------------------

    def advance(self) -> None:
        """One generator step, with the discriminator steps that go before it."""
        train, game = self.config.train, self.game
        for remaining in reversed(range(game.config.d_steps)):
            # The last of these fakes is the one that the generator learns from.
            with contextlib.nullcontext() if remaining == 0 else torch.no_grad():
                fake = self._draw_fake()  # [B, C, S, S]
            real = from_uint8(self._batches.next())  # [B, C, S, S]
            pays = game.penalty_due((self.step + 1) * game.config.d_steps - 1 - remaining)
            real.requires_grad_(pays)
            self._discriminator_optimiser.zero_grad()
            with self._precision():
                real_logits = self.discriminator(real)  # [B]
                fake_logits = self.discriminator(fake.detach())  # [B]
            discriminator_loss, statistics = game.discriminator_loss(real_logits, fake_logits)
            penalty = game.penalty(real_logits, real) if pays else self._zero
            (discriminator_loss + penalty).backward()
            discriminator_norm = _gradient_norm(self.discriminator)
            self._discriminator_optimiser.step()

        self._generator_optimiser.zero_grad()
        with frozen(self.discriminator):
            with self._precision():
                fake_logits = self.discriminator(fake)  # [B]
            generator_loss = game.generator_loss(fake_logits)
            generator_loss.backward()
        generator_norm = _gradient_norm(self.generator)
        self._generator_optimiser.step()

        self.step += 1
        update(
            self.average,
            self.generator,
            decay(self.images_seen, train.batch_size, train.ema_half_life, train.ema_warmup),
        )
        measures = (
            discriminator_loss.detach(),
            penalty.detach(),
            generator_loss.detach(),
            *statistics,
            discriminator_norm,
            generator_norm,
        )
        torch.stack(measures, out=self._window[self._filled])
        self._filled += 1

    @property
    def images_seen(self) -> int:
        """Images that the averaged generator's half-life is counted in: one batch a step."""
        return self.step * self.config.train.batch_size

    def _draw_fake(self) -> Tensor:
        latent = self.generator.draw_latent(self.config.train.batch_size, self._latent_rng)
        with self._precision():
            fake: Tensor = self.generator(latent)
        return fake

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=self._autocast,
        )

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
            for name, value in zip(MEASURES, values, strict=True):
                if not math.isfinite(value):
                    step = self.step - self._filled + offset + 1
                    raise TrainingError(
                        f"{name} became {value} at step {step}; training stops. The state before "
                        "it is kept. A smaller learning rate, or another objective, may help"
                    )
        means = [sum(column) / len(window) for column in zip(*window, strict=True)]
        real_images = self.images_seen * self.config.objective.d_steps
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

    def _summary(self, bar: dict[str, Any]) -> str:
        row = self._measured() or (self.history[-1] if self.history else None)
        if row is None:
            return ""
        value = dict(zip(MEASURES, row[2:], strict=True))
        rate = (bar["rate"] or 0.0) * self.config.train.batch_size
        return (
            f"{rate:.0f} img/s, loss D {value['discriminator_loss']:.3f} "
            f"G {value['generator_loss']:.3f}, "
            f"logit {value['real_logit']:+.2f}/{value['fake_logit']:+.2f}, "
            f"acc {value['real_accuracy']:.2f}/{value['fake_accuracy']:.2f}, "
            f"|∇| {value['discriminator_gradient_norm']:.2f}/"
            f"{value['generator_gradient_norm']:.2f}"
        )

    def fixed_samples(self, count: int) -> Images:
        """Samples `[count, C, S, S]` of the averaged generator, from the same latent each time."""
        # Drawn on the CPU: the same latent on every device.
        rng = torch.Generator().manual_seed(stream_seed(self.config.seed, "fixed latent"))
        latent = self.average.draw_latent(count, rng)
        return np.concatenate(list(generate(self.average, latent)))

    # --- the state -------------------------------------------------------------------------

    def _save(self, state: RunState) -> None:
        self._measured()  # a state with a number that is not finite is not a good one
        state.save(self.step, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything the run is: tensors and plain Python values only."""
        return {
            "step": self.step,
            "device": self.device.type,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "generator_optimiser": self._generator_optimiser.state_dict(),
            "discriminator_optimiser": self._discriminator_optimiser.state_dict(),
            "batches": self._batches.state_dict(),
            "latent_rng": self._latent_rng.get_state(),
            "window": self._window,
            "filled": self._filled,
            "history": self.history,
        }

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.step = content["step"]
        self.generator.load_state_dict(content["generator"])
        self.discriminator.load_state_dict(content["discriminator"])
        self.average.load_state_dict(content["average"])
        self._generator_optimiser.load_state_dict(content["generator_optimiser"])
        self._discriminator_optimiser.load_state_dict(content["discriminator_optimiser"])
        self._batches.load_state_dict(content["batches"])
        if content["device"] == self.device.type:
            self._latent_rng.set_state(content["latent_rng"])
        else:
            _log.warning(
                f"the run was interrupted on {content['device']} and goes on on "
                f"{self.device.type}: with other latent vectors, and to other bytes, than without "
                "the interruption"
            )
            stream = f"latent from step {self.step} on {self.device.type}"
            self._latent_rng.manual_seed(stream_seed(self.config.seed, stream))
        self._window.copy_(content["window"])
        self._filled = content["filled"]
        self.history = content["history"]


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


def _placed(network: Network, device: torch.device) -> Network:
    """`network` on `device`, its weights in channels_last as the activations are."""
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _adam(network: nn.Module, learning_rate: float, betas: list[float]) -> torch.optim.Adam:
    return torch.optim.Adam(
        network.parameters(), lr=learning_rate, betas=(betas[0], betas[1]), fused=True
    )


def _gradient_norm(network: nn.Module) -> Tensor:
    """The L2 norm over all parameters' gradients, a device scalar."""
    gradients = [each.grad for each in network.parameters() if each.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


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
