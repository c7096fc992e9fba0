"""What besides a run's identity decides its last bits: threads, CPU, PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

# Of an environment: what results depend on, and how a person says it.
MATTERS = {"threads": "threads", "cpu": "CPU capability", "torch": "PyTorch"}


def environment() -> dict[str, Any]:
    """What this process computes with, as JSON values.

    `threads` of PyTorch, `omp_num_threads` as the variable has it or None, `cpu`: the instructions
    that PyTorch takes, `torch`: its version.
    """
    return {
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        # As plain text: it is of a class of its own, which no checkpoint may hold.
        "torch": str(torch.__version__),
    }


def differences(before: Sequence[dict[str, Any]], now: dict[str, Any]) -> list[str]:
    """How `now` differs in what matters from any environment of `before`, for a person.

    Returns:
        "threads: 2 before, 1 now" and the like; nothing where all are the same.
    """
    found = []
    for key, name in MATTERS.items():
        others = dict.fromkeys(str(each.get(key)) for each in before)  # in order, each once
        others.pop(str(now.get(key)), None)
        if others:
            found.append(f"{name}: {' and '.join(others)} before, {now.get(key)} now")
    return found
