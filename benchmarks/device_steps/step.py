"""What a step is: a process of its own that gives rows."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.device_steps.results import Row

# Rows that belong together, and in the end a line that says what came of it.
Rows = Generator[list[Row], None, str]


class Failed(Exception):  # noqa: N818 - what came of a step
    """A step found that something is wrong, and says what."""


class Unfinished(Exception):  # noqa: N818
    """A step has more to do than the time allowed."""


@dataclass(frozen=True)
class Context:
    """What a step is told.

    Attributes:
        folder: of the results; what a step writes there itself is named in `results`.
        work: a folder for what need not outlast the machine.
        device: "cuda" or "cpu".
        dry: everything tiny and on the CPU, to try the machinery out.
        data: path of images in MNIST's layout, or "" for the embedded digits.
        seconds: after which it is stopped.
        done: cases that have their rows already.
    """

    folder: Path
    work: Path
    device: str
    dry: bool = False
    data: str = ""
    seconds: float = 600.0
    done: frozenset[str] = field(default_factory=frozenset)

    @property
    def gpu(self) -> bool:
        """Whether there is one."""
        return self.device != "cpu"

    @property
    def torch_device(self) -> torch.device:
        """Where to measure."""
        return (
            torch.device("cuda", torch.cuda.current_device()) if self.gpu else torch.device("cpu")
        )


@dataclass(frozen=True)
class Step:
    """One step, a function `run(context)` in a module of this package.

    Attributes:
        name: in the status and in the rows.
        about: what it does, in a line.
        module: with the function.
        function: in it.
        table: the CSV file of its rows.
        limit: seconds after which it is stopped.
        least: seconds that have to be left for it to begin.
        gpu: whether it is about one; in a dry run it runs on the CPU.
        packages: that have to be installed.
        program: that has to be on the path.
        interpreted: in a dry run, whether Triton's interpreter stands in for the GPU.
    """

    name: str
    about: str
    module: str
    table: str
    limit: float
    function: str = "run"
    least: float = 10.0
    gpu: bool = False
    packages: tuple[str, ...] = ()
    program: str = ""
    interpreted: bool = True

    def why_skipped(self, context: Context) -> str | None:
        """Why it cannot run here, or None."""
        if self.gpu and not context.gpu and not context.dry:
            return "needs a CUDA device"
        missing = [name for name in self.packages if not installed(name)]
        if missing:
            return f"needs {', '.join(missing)}"
        if self.program and shutil.which(self.program) is None:
            return f"needs {self.program} on the path"
        return None


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def plural(count: int, noun: str) -> str:
    """`count` of something, as a person says it."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def number(value: object, digits: int = 4) -> Any:
    """A float with as many significant digits as mean anything."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
