"""Rounds that are recorded once and replayed: on a GPU as CUDA graphs, one launch a round.

A round of a small game is hundreds of launches, and the host needs longer for them than the GPU
for the work. A recording has the addresses and the numbers of the round it was made of, so what
changes between rounds stands in tensors that stay where they are: the batch or its index, learning
rates, the averaging's weight, the row of the history, the counter of draws. What is left are
penalties, which fall due in some rounds: for each pattern of them there is a recording of its own.

The rounds before a recording, in which PyTorch and the kernels set themselves up, are rounds of the
game, and so is the one that is recorded: no state has to be put back, and a run that is
recorded, replayed or resumed goes to the same bytes as one that never is.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from gan.config import Config
from gan.errors import shown

_log = logging.getLogger(__name__)

# Rounds of each pattern before it is recorded. The first makes what is made once: the optimisers'
# moments, workspaces of cuBLAS and cuDNN, compiled kernels.
WARM_UP = 2

Round = Callable[[], None]


class Recording(Protocol):
    """A round as it was recorded."""

    def replay(self) -> None:
        """Play it again, on what its tensors hold by now."""


class Recorder(Protocol):
    """What records rounds."""

    def play(self, play_round: Round) -> None:
        """Play a round as one is played that is recorded, but without a recording."""

    def record(self, play_round: Round, streams: Sequence[torch.Generator]) -> Recording:
        """Play a round and record it.

        Args:
            play_round: the round; whatever it allocates stays its recording's.
            streams: all random numbers that it draws come from these; replays go on with them.

        Raises:
            RuntimeError: it cannot be recorded; it was not played, and nothing has changed.
        """

    def forget(self) -> None:
        """All recordings so far are dropped, and will not be replayed."""


class CudaGraphs:
    """Rounds as CUDA graphs, all in one pool of memory: nothing in it is needed between rounds."""

    def __init__(self, device: torch.device) -> None:
        """For rounds on `device`, a CUDA device."""
        self._device = device
        # Recording needs a stream of its own, and what is set up by stream needs the same one.
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def play(self, play_round: Round) -> None:
        """Play a round on the stream that is recorded."""
        with torch.cuda.device(self._device):
            outside = torch.cuda.current_stream()
            self._stream.wait_stream(outside)
            with torch.cuda.stream(self._stream):
                play_round()
            outside.wait_stream(self._stream)

    def record(self, play_round: Round, streams: Sequence[torch.Generator]) -> Recording:
        """Capture a round, which does not play it, and replay it once, which does."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), _unharmed(streams):
            for stream in streams:
                graph.register_generator_state(stream)
            # No cycle of what the rounds before have left may hold memory, or be found meanwhile.
            gc.collect()
            with torch.cuda.graph(
                graph,
                pool=self._pool,
                stream=self._stream,
                # The thread that reads batches may pin memory meanwhile.
                capture_error_mode="thread_local",
            ):
                play_round()
            graph.replay()
        return graph

    def forget(self) -> None:
        """Begin another pool: while gradients hold that of dropped graphs, it takes no more."""
        self._pool = torch.cuda.graph_pool_handle()


@contextmanager
def _unharmed(streams: Sequence[torch.Generator]) -> Iterator[None]:
    """Put back what a capture in the block leaves behind where it fails.

    That is the current stream, and random numbers that wait for a replay.
    """
    outside = torch.cuda.current_stream()
    before = [stream.clone_state() for stream in streams]
    try:
        yield
    except BaseException:
        torch.cuda.set_stream(outside)
        for stream, state in zip(streams, before, strict=True):
            stream.graphsafe_set_state(state)
        raise


class RoundGraphs:
    """Plays rounds: those of a pattern as they are, then recorded, then replayed."""

    def __init__(self, recorder: Recorder) -> None:
        """Nothing is recorded yet."""
        self._recorder = recorder
        self._played: dict[Hashable, int] = {}
        self._recordings: dict[Hashable, Recording] = {}
        # Why no more is recorded; None while it is.
        self.given_up: str | None = None

    def play(
        self, pattern: Hashable, play_round: Round, streams: Sequence[torch.Generator]
    ) -> None:
        """Play one round.

        What cannot be recorded is played as it is from here on, with a warning that says why.

        Args:
            pattern: rounds of one pattern have the same operators on the same memory.
            play_round: the round.
            streams: all random numbers that it draws come from these.
        """
        recording = self._recordings.get(pattern)
        if recording is not None:
            recording.replay()
            return
        played = self._played.get(pattern, 0)
        self._played[pattern] = played + 1
        if self.given_up is None and played >= WARM_UP:
            try:
                self._recordings[pattern] = self._recorder.record(play_round, streams)
            except RuntimeError as error:
                self.given_up = shown(error)
                _log.warning(
                    f"runtime.graph: rounds cannot be recorded ({self.given_up}); they go on "
                    "launch by launch, to the same bytes"
                )
            else:
                return
        self._recorder.play(play_round)

    def forget(self) -> None:
        """Drop all recordings: the memory they work on is no more what the round works on."""
        self._played.clear()
        self._recordings.clear()
        self._recorder.forget()


def why_not_recorded(config: Config, device: torch.device) -> str | None:
    """Why rounds of this run are played launch by launch; None if they are recorded.

    Args:
        config: of the run.
        device: that it trains on.
    """
    if config.runtime.graph == "off":
        return "runtime.graph is off"
    if device.type != "cuda":
        return f"the device is {device.type}: graphs are CUDA's"
    if config.runtime.compile:
        return "runtime.compile is true, which is another way to fewer launches"
    return None


def make_recorder(config: Config, device: torch.device) -> Recorder | None:
    """What records the rounds of a run, or None: then they are played launch by launch.

    Where `runtime.graph` is auto and there is a CUDA device, a warning says why.
    """
    reason = why_not_recorded(config, device)
    if reason is None:
        return CudaGraphs(device)
    if device.type == "cuda" and config.runtime.graph == "auto":
        _log.warning(f"runtime.graph: rounds are played launch by launch: {reason}")
    return None
