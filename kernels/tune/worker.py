"""Measuring in a process of its own, so that what breaks a GPU's context breaks nothing else.

An error of CUDA is sticky: after it every call of the process fails. The worker says what it is
about to do before it does it, ends itself after such an error, and whoever waits for it goes on in
a new one, without the candidate that was under way.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple, Protocol

import torch

from ..conv_transpose.tiles import TileConfig
from .case import Case, Times, fp32_precision, in_a_line
from .clock import Clock
from .plan import Problem

Job = tuple[Problem, tuple[TileConfig, ...]]

# Seconds without a word after which a candidate is taken to hang.
PATIENCE = 60.0
# And before its first: torch is imported, a context made.
START = 120.0
_ENDED = "the process ended with it"
# The part of a problem before its first candidate.
OPERANDS = None


class Outcome(NamedTuple):
    """What came of one candidate: times, or why it is not to be used."""

    problem: Problem
    config: TileConfig
    defect: str | None
    times: Times | None = None


class Measurable(Protocol):
    """One problem, ready to be measured."""

    def defect(self, config: TileConfig) -> str | None:
        """Why a configuration is not to be used."""

    def times(self, config: TileConfig) -> Times:
        """How long it takes."""


class Bench(Protocol):
    """Where problems are measured; made in the worker."""

    def case(self, problem: Problem) -> Measurable:
        """One problem."""

    def is_alive(self) -> bool:
        """Whether the process can go on after an error."""


class DeviceBench:
    """Problems on one device."""

    def __init__(self, device: str, rounds: int = 15) -> None:
        self.device = torch.device(device)
        self.rounds = rounds
        self.clock = Clock(self.device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
            torch.backends.cudnn.benchmark = True
        else:
            torch.set_num_threads(1)

    def case(self, problem: Problem) -> Measurable:
        """One problem."""
        return _InItsPrecision(Case(problem, self.device, self.clock), self.rounds)

    def is_alive(self) -> bool:
        """Whether the device still answers."""
        if self.device.type != "cuda":
            return True
        try:
            torch.zeros(1, device=self.device).add_(1).item()
        except Exception:  # whatever it is called: no call works any more
            return False
        return True


class _InItsPrecision:
    """A case under the arithmetic that its problem names."""

    def __init__(self, case: Case, rounds: int) -> None:
        self._case, self._rounds = case, rounds
        self._precision = "tf32" if case.problem.precision == "tf32" else "ieee"

    def defect(self, config: TileConfig) -> str | None:
        with fp32_precision(self._precision):
            return self._case.defect(config)

    def times(self, config: TileConfig) -> Times:
        with fp32_precision(self._precision):
            return self._case.times(config, self._rounds)


def serve(connection: Connection, make: Callable[[], Bench], jobs: Sequence[Job]) -> None:
    """What a worker does: measure `jobs`, one after the other, and tell of each step."""
    bench = make()
    for problem, configs in jobs:
        connection.send(("begin", problem, OPERANDS))
        case = bench.case(problem)
        for config in configs:
            connection.send(("begin", problem, config))
            times = None
            try:
                defect = case.defect(config)
                if defect is None:
                    times = case.times(config)
            except Exception as error:
                defect = in_a_line(error)
            alive = defect is None or bench.is_alive()
            if not alive:
                defect = f"{defect}; {_ENDED}"
            connection.send(("end", Outcome(problem, config, defect, times)))
            if not alive:
                return
    connection.send(("done",))


def outcomes(
    make: Callable[[], Bench],
    jobs: Sequence[Job],
    deadline: float | None = None,
    patience: float = PATIENCE,
) -> Iterator[Outcome]:
    """Measure `jobs` in worker processes, as many as it takes.

    Args:
        make: makes a bench, in the worker; to be pickled.
        jobs: problems and their candidates, in the order in which they are measured.
        deadline: of `time.monotonic`, after which no more is waited for.
        patience: seconds without a word after which the candidate under way is given up.

    Yields:
        An outcome a candidate; those that a deadline cut off are missing.
    """
    left = [job for job in jobs if job[1]]
    context = multiprocessing.get_context("spawn")
    while left and (deadline is None or time.monotonic() < deadline):
        before = left
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=serve, args=(theirs, make, left), daemon=True)
        process.start()
        theirs.close()
        try:
            for outcome in _listen(ours, left, deadline, patience):
                left = _without(left, outcome)
                yield outcome
        finally:
            process.kill()
            process.join()
            ours.close()
        if left == before and (deadline is None or time.monotonic() < deadline):
            raise RuntimeError("the measuring process ended, or hung, before it measured anything")


def _listen(
    connection: Connection, left: Sequence[Job], deadline: float | None, patience: float
) -> Iterator[Outcome]:
    """What one worker says, until it ends, hangs, or the time is up."""
    under_way: tuple[Problem, TileConfig | None] | None = None
    wait_for = max(patience, START)
    while True:
        wait = wait_for if deadline is None else min(wait_for, deadline - time.monotonic())
        why = f"no answer for {patience:.0f} s"
        if connection.poll(max(wait, 0.0)):
            wait_for = patience
            try:
                message = connection.recv()
            except EOFError:
                why = _ENDED
            else:
                if message[0] == "done":
                    return
                under_way = message[1:] if message[0] == "begin" else None
                if message[0] == "end":
                    yield message[1]
                continue
        elif deadline is not None and time.monotonic() >= deadline:
            return
        if under_way is not None:
            yield from _condemned(*under_way, left, why)
        return


def _condemned(
    problem: Problem, config: TileConfig | None, left: Sequence[Job], why: str
) -> Iterator[Outcome]:
    """The candidate that was under way; before the first one of a problem, all of that problem."""
    configs = next(job[1] for job in left if job[0] == problem)
    for each in configs if config is OPERANDS else (config,):
        yield Outcome(problem, each, why)


def _without(jobs: Sequence[Job], outcome: Outcome) -> list[Job]:
    """The jobs that are left after an outcome."""
    left = []
    for problem, configs in jobs:
        if problem == outcome.problem:
            configs = tuple(each for each in configs if each != outcome.config)
        if configs:
            left.append((problem, configs))
    return left
