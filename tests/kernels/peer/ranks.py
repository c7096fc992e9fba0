"""Processes of one group, for tests of what is trained in several."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# A rank that waits for one that has failed gives up after so many seconds.
PATIENCE = 120


class Ranks:
    """`count` processes that have found each other, over gloo on the loopback interface.

    They start at the first `run` and stay, for importing PyTorch takes longer than the tests.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pools: list[ProcessPoolExecutor] = []

    def run(self, function: Callable[..., Any], *arguments: object) -> list[Any]:
        """Call a function of a module in every rank, and return what each gives.

        Raises:
            Exception: what the first rank that failed raised. The next call starts new processes.
        """
        if not self._pools:
            self._start()
        futures = [pool.submit(function, *arguments) for pool in self._pools]
        done, _ = wait(futures, timeout=2 * PATIENCE, return_when=FIRST_EXCEPTION)
        failed = [future for future in done if future.exception() is not None]
        if failed or len(done) < len(futures):
            self.stop()
        for future in failed or futures:
            future.result(timeout=0)
        return [future.result() for future in futures]

    def stop(self) -> None:
        """End the processes."""
        for pool in self._pools:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
        self._pools = []

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        meeting = Path(tempfile.mkdtemp()) / "ranks"
        self._pools = [
            ProcessPoolExecutor(
                1, context, initializer=_join, initargs=(meeting.as_uri(), rank, self.count)
            )
            for rank in range(self.count)
        ]


def _join(meeting: str, rank: int, count: int) -> None:
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # the machine's name may lead nowhere
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=meeting,
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=PATIENCE),
    )
