"""Times of a call: on a GPU of replays of its CUDA graph, its operands no longer in L2."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

Call = Callable[[], object]

# More than the largest L2 cache there is.
OTHER_BYTES = 2**28
# Calls before a capture: compilation, cuDNN's own search, the allocator's blocks.
_WARM_UP = 3


def capture(run: Call) -> torch.cuda.CUDAGraph:
    """A CUDA graph of one call, on the current device."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


class Clock:
    """Seconds of a call, and on a GPU of a replay."""

    # What `timer` times, in words.
    HOW_ON_GPU = "replays of a CUDA graph, L2 flushed"
    HOW_ON_CPU = "calls"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.gpu = device.type == "cuda"
        self.other = (
            torch.empty(OTHER_BYTES, dtype=torch.uint8, device=device) if self.gpu else None
        )

    def call(self, run: Call, times: int) -> float:
        """Of one call from Python, of `times` in a row."""
        self._wait()
        start = time.perf_counter()
        for _ in range(times):
            run()
        self._wait()
        return (time.perf_counter() - start) / times

    def capture(self, run: Call) -> torch.cuda.CUDAGraph:
        """A CUDA graph of one call."""
        return capture(run)

    def replay(self, graph: torch.cuda.CUDAGraph) -> float:
        """Of one replay, its operands no longer in L2."""
        assert self.other is not None
        self.other.zero_()
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        milliseconds: float = start.elapsed_time(stop)
        return milliseconds / 1e3

    def timer(self, run: Call) -> Callable[[], float]:
        """A function that gives the seconds of one more run: on a GPU a replay's, else a call's."""
        if not self.gpu:
            run()  # warm-up
            return lambda: self.call(run, 1)
        graph = self.capture(run)
        return lambda: self.replay(graph)

    def _wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize(self.device)
