"""What was measured so far, a line each, so that an interrupted run goes on where it was."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from ..conv_transpose.tiles import TileConfig
from ..dispatch import PACKAGE
from .case import Times
from .plan import Problem
from .worker import Outcome

Environment = Mapping[str, str]


def environment(device: torch.device) -> dict[str, str]:
    """What a measurement holds for: device, versions and the source of what is measured."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else f"{device.type}, interpreted",
        "versions": versions(),
        "source": source(),
    }


def versions() -> str:
    """Of torch, triton and cuDNN."""
    try:
        import triton

        of_triton = triton.__version__
    except ImportError:
        of_triton = "none"
    return f"torch {torch.__version__}, triton {of_triton}, cuDNN {torch.backends.cudnn.version()}"


@functools.cache
def source() -> str:
    """A digest of what is measured and how: another one makes measurements be taken anew."""
    here = Path(__file__).parent
    measured = sorted((here.parent / "conv_transpose").rglob("*.py"))
    digest = hashlib.sha256()
    for path in [*measured, here / "case.py", here / "clock.py"]:
        name = path.relative_to(here.parent).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class Journal:
    """A file of outcomes. Those of another environment are kept, and not taken for this one's.

    Args:
        path: of the file; made with the first outcome.
        environment: of what is measured now.
    """

    def __init__(self, path: Path, environment: Environment) -> None:
        self.path = path
        self.environment = dict(environment)
        self.outcomes: dict[tuple[Problem, TileConfig], Outcome] = {}
        if path.is_file():
            for number, line in enumerate(path.read_text().splitlines(), 1):
                self._read(line, number)

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome, on disk before this returns."""
        self.outcomes[outcome[:2]] = outcome
        row = {
            "environment": self.environment,
            "problem": outcome.problem._asdict(),
            "config": outcome.config._asdict(),
            "defect": outcome.defect,
            "times": None if outcome.times is None else outcome.times._asdict(),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A line that a kill cut off is ended first, so that it takes no other with it.
        whole = not self.path.is_file() or self.path.read_bytes()[-1:] in (b"", b"\n")
        with self.path.open("a") as file:
            file.write(("" if whole else "\n") + json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, line: str, number: int) -> None:
        try:
            row = json.loads(line)
        except ValueError:  # cut off by a kill: measured again
            return
        try:
            times = None if row["times"] is None else Times(**row["times"])
            problem, config = Problem(**row["problem"]), TileConfig(**row["config"])
            if row["environment"] == self.environment:
                self.outcomes[problem, config] = Outcome(problem, config, row["defect"], times)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path}, line {number}: not an outcome of {PACKAGE}.tune: {error!r}"
            ) from error
