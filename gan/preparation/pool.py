"""Work on chunks in several processes: results in order, memory bounded, failures told clearly."""

from __future__ import annotations

import collections
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import TypeVar

from gan.errors import UserError

# Chunks that wait for each worker, finished or not.
CHUNKS_AHEAD = 3

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Chunk], Result], chunks: Iterable[Chunk], workers: int
) -> Generator[tuple[Chunk, Result], None, None]:
    """Yield each chunk with `function(chunk)`, in order, computed by `workers` processes.

    Chunks are taken from their iterable only as fast as results are. Ending the generator early
    ends the processes; they also end when this process is killed.

    Args:
        function: picklable; its module is imported by every worker.
        chunks: picklable.
        workers: 0 computes in this process.

    Raises:
        UserError: a worker died.
    """
    if workers == 0:
        for chunk in chunks:
            yield chunk, function(chunk)
        return
    # Not fork: this process may have threads, of torch for example, whose locks would be copied.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    # Nobody ever writes to it. Closing our end, or dying, ends the workers at once.
    lifeline, our_end = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(lifeline,)
    )
    pending: collections.deque[tuple[Chunk, Future[Result]]] = collections.deque()
    try:
        for chunk in chunks:
            pending.append((chunk, executor.submit(function, chunk)))
            if len(pending) > CHUNKS_AHEAD * workers:
                done, future = pending.popleft()
                yield done, future.result()
        while pending:
            done, future = pending.popleft()
            yield done, future.result()
        executor.shutdown()
    except BrokenProcessPool as error:
        raise UserError(
            "a process that decodes images died, killed for lack of memory perhaps: try fewer "
            f"runtime.workers (now {workers}; 0 decodes without further processes)"
        ) from error
    finally:
        our_end.close()
        lifeline.close()
        executor.shutdown(cancel_futures=True)


def _start_worker(lifeline: Connection) -> None:
    # Ctrl-C reaches every process of the terminal; the main one decides and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)
    os._exit(1)
