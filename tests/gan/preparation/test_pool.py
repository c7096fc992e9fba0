from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan.errors import DataError, UserError
from gan.preparation.pool import CHUNKS_AHEAD, ordered_map

# What workers run must be found by import, and test modules may not be: hence library functions.


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order(workers: int) -> None:
    done = list(ordered_map(functools.partial(pow, 2), range(40), workers))
    assert done == [(n, 2**n) for n in range(40)]


@pytest.mark.parametrize("workers", [0, 2])
def test_chunks_are_taken_only_as_fast_as_results(workers: int) -> None:
    taken = 0

    def chunks() -> Iterator[int]:
        nonlocal taken
        for number in range(1, 1000):
            taken = number
            yield number

    results = ordered_map(abs, chunks(), workers)
    for number, _ in enumerate(results, start=1):
        assert taken - number <= CHUNKS_AHEAD * workers
        if number == 20:
            break
    results.close()


def test_errors_of_workers_arrive() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(functools.partial(pow, 0), [1, -1], 1))


def test_user_errors_survive_the_journey() -> None:
    # Raised in a worker they are pickled, which not every exception survives.
    with pytest.raises(DataError, match="a message"):
        list(ordered_map(_raise, [DataError("a message")], 0))
    assert str(pickle.loads(pickle.dumps(DataError("a message")))) == "a message"


def _raise(error: Exception) -> None:
    raise error


def test_a_worker_that_is_killed_is_told() -> None:
    with pytest.raises(UserError, match=r"died.*fewer runtime\.workers \(now 1; 0 decodes"):
        list(ordered_map(os._exit, [9], 1))


def test_closing_early_ends_the_workers() -> None:
    before = set(multiprocessing.active_children())
    results = ordered_map(abs, range(100), 2)
    next(results)
    workers = set(multiprocessing.active_children()) - before
    assert workers
    results.close()
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_workers_end_when_their_parent_is_killed() -> None:
    program = (
        "import multiprocessing, os, signal, time; from gan.preparation.pool import ordered_map\n"
        "results = ordered_map(time.sleep, [0, 0] + [60] * 9, 2)\n"
        "next(results); next(results)\n"
        "print(*(each.pid for each in multiprocessing.active_children()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    workers = done.stdout.split()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(map(_runs, workers)):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.02)


def _runs(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
