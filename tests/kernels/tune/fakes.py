"""Benches that workers make in tests: timers, and errors, that are injected. Found by name."""

import os
import time
from typing import Any

from kernels.conv_transpose.tiles import TileConfig
from kernels.tune.case import Times
from kernels.tune.compilation import Code, Key
from kernels.tune.plan import Problem


class FakeBench:
    """Times that follow from the configuration, and what is to go wrong with which.

    Args:
        wrong: by configuration what happens: "wrong" result, "sticky" error, "exit" or "hang".
        operands: of problems on which the process ends before the first candidate.
        seconds: that each candidate takes to measure.
    """

    def __init__(
        self,
        wrong: dict[TileConfig, str] | None = None,
        operands: tuple[Problem, ...] = (),
        seconds: float = 0.0,
    ) -> None:
        self.wrong, self.operands, self.seconds = wrong or {}, operands, seconds
        self.alive = True

    def case(self, problem: Problem) -> "FakeBench":
        if problem in self.operands:
            os._exit(9)
        return self

    def is_alive(self) -> bool:
        return self.alive

    def defect(self, config: TileConfig) -> str | None:
        assert self.alive, "a process went on after a sticky error"
        what = self.wrong.get(config)
        if what == "sticky":
            self.alive = False
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if what == "exit":
            os._exit(11)
        if what == "hang":
            time.sleep(600)
        return what

    def times(self, config: TileConfig) -> Times:
        time.sleep(self.seconds)
        return fake_times(config)


def fake_times(config: TileConfig) -> Times:
    ours = 1e-6 * (config.block_m + config.stages)
    return Times(100e-6, ours, 100e-6 / ours)


def broken() -> Any:
    raise RuntimeError("no bench at all")


def compile_fake(key: Key, architecture: int, device: str) -> Code:
    """Ten registers a stage; three stages end the process, five take for ever."""
    stages = key[-1].stages
    if stages == 3:
        os._exit(6)
    if stages == 5:
        time.sleep(600)
    return Code(10 * stages, 0, 0)
