"""Inputs tried in processes with limits on time and memory, which are replaced when they end.

A process tells the outcome of every input as soon as it has it, so that whatever ends the process
is the doing of the input after the last one it told of.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from benchmarks.fuzzing.inputs import Files, Reader, WrongError, changed, write
from gan.errors import UserError

What = Literal["accepted", "refused", "raw", "wrong", "hang", "crash"]
FAILURES: tuple[What, ...] = ("raw", "wrong", "hang", "crash")
# Of a message that a user is shown: lists of errors have some lines.
LONGEST_MESSAGE = 4000


class Outcome(NamedTuple):
    """What became of an input.

    Attributes:
        number: of the input.
        what: `accepted` and `refused`, by a `UserError` that can be shown, are as they should be.
        detail: of the others: what was raised where.
    """

    number: int
    what: What
    detail: str = ""


@dataclass(frozen=True)
class Limits:
    """Of one input.

    Attributes:
        seconds: of the processor's time.
        waiting: seconds on the clock, for what waits and does nothing.
        megabytes: beyond what the process has at its start.
    """

    seconds: float = 5.0
    waiting: float = 30.0
    megabytes: int = 2048


def outcomes(
    reader: Reader,
    seeds: list[Files],
    numbers: Sequence[int],
    *,
    seed: int,
    limits: Limits,
    jobs: int,
) -> Iterator[Outcome]:
    """Try the inputs `numbers` of `reader` and tell of each, in `jobs` processes at once."""
    context = get_context("fork")  # it has the readers imported already
    with tempfile.TemporaryDirectory(dir=_fast_folder()) as scratch:
        shares = [list(numbers[job::jobs]) for job in range(jobs)]
        workers: dict[connection.Connection, _Worker] = {}

        def start(job: int) -> None:
            if not shares[job]:
                return
            ours, theirs = context.Pipe(duplex=False)
            folder = Path(scratch) / str(job)
            process = context.Process(
                target=_work, args=(reader, seeds, shares[job], seed, limits, folder, theirs)
            )
            process.start()
            theirs.close()
            workers[ours] = _Worker(job, process, folder)

        for job in range(jobs):
            start(job)
        try:
            while workers:
                ready = connection.wait(list(workers), limits.waiting)
                stuck = set(workers) - set(ready) if not ready else set()
                for pipe in ready or stuck:
                    assert isinstance(pipe, connection.Connection)
                    worker = workers[pipe]
                    outcome = None if pipe in stuck else _received(pipe)
                    if outcome is None:
                        del workers[pipe]
                        outcome = worker.ended(shares[worker.job], stuck=pipe in stuck)
                        pipe.close()
                    if outcome is not None:
                        shares[worker.job].remove(outcome.number)
                        yield outcome
                    if pipe not in workers:
                        start(worker.job)
        finally:
            for worker in workers.values():
                worker.process.kill()
                worker.process.join()


@dataclass(frozen=True)
class _Worker:
    job: int
    process: BaseProcess
    folder: Path

    def ended(self, left: list[int], *, stuck: bool) -> Outcome | None:
        """What its end, or being stuck, says of the first input that is left."""
        if stuck:
            self.process.kill()
        self.process.join()
        if not left:
            return None
        where = _last_frames(self.folder.with_suffix(".trace"))
        if stuck or self.process.exitcode == -signal.SIGPROF:
            return Outcome(left[0], "hang", where or "it waits")
        return Outcome(left[0], "crash", f"exit status {self.process.exitcode} {where}".strip())


def _received(pipe: connection.Connection) -> Outcome | None:
    try:
        found: Outcome = pipe.recv()
        return found
    except EOFError:
        return None


def _work(
    reader: Reader,
    seeds: list[Files],
    numbers: list[int],
    seed: int,
    limits: Limits,
    folder: Path,
    pipe: connection.Connection,
) -> None:
    # The threads of whoever was forked are not here, and to wait for them would take forever.
    torch.set_num_threads(1)
    # Processes that a reader starts would import this program anew, for every input.
    sys.modules["__main__"] = types.ModuleType("__main__")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    sys.stdout = sys.stderr = os.fdopen(null, "w")  # someone may keep what is written to them
    with folder.with_suffix(".trace").open("w") as trace:
        faulthandler.enable(trace)
        faulthandler.register(signal.SIGPROF, trace, chain=True)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = used + (limits.megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in numbers:
            write(changed(reader, seeds, seed, number), folder)
            signal.setitimer(signal.ITIMER_PROF, limits.seconds)
            what, detail = attempt(reader, folder)
            signal.setitimer(signal.ITIMER_PROF, 0)
            pipe.send(Outcome(number, what, detail))
    pipe.close()
    os._exit(0)


def attempt(reader: Reader, folder: Path) -> tuple[What, str]:
    """Read `folder` in this process: what became of it, without a limit."""
    try:
        reader.read(folder)
    except UserError as error:
        problem = _untidy(str(error))
        return ("raw", f"{problem} in {_place(error)}") if problem else ("refused", "")
    except WrongError as error:
        return "wrong", str(error)
    except BaseException as error:  # a panic of Rust is no Exception
        return "raw", f"{type(error).__name__} in {_place(error)}"
    return "accepted", ""


def _untidy(message: str) -> str:
    if len(message) > LONGEST_MESSAGE:
        return "a message without an end"
    if not all(each.isprintable() or each == "\n" for each in message):
        return "a message that clears the terminal"
    return ""


def _place(error: BaseException) -> str:
    """The last frame of this project, and the last of all."""
    frames = traceback.extract_tb(error.__traceback__, limit=-40)
    root = str(Path(__file__).parents[2])
    own = [f for f in frames if f.filename.startswith(root) and "/benchmarks/" not in f.filename]
    places = [f"{Path(frame.filename).name}:{frame.name}" for frame in (*own[-1:], *frames[-1:])]
    return " → ".join(dict.fromkeys(places))


def _last_frames(trace: Path) -> str:
    """Where a process was when faulthandler wrote, innermost first."""
    with contextlib.suppress(OSError):
        lines = [line for line in trace.read_text().splitlines() if line.startswith("  File")]
        parts = [line.split('"') for line in lines[:3]]
        return " ← ".join(f"{Path(name).name}:{rest.split()[-1]}" for _, name, rest in parts)
    return ""


def _fast_folder() -> str | None:
    shared = "/dev/shm"
    return shared if sys.platform == "linux" and os.access(shared, os.W_OK) else None
