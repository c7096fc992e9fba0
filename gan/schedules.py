"""How a learning rate goes down over a run, as a function of the step alone: nothing to save."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch


def learning_rate_factor(name: str, step: int, total: int) -> float:
    """What the learning rate of one step is multiplied by, between 1 and 0.

    - `constant`: 1
    - `linear`: 1 − t, as Gulrajani et al. 2017 train their residual networks
    - `cosine`: ½ (1 + cos πt), Loshchilov & Hutter 2017 (arXiv 1608.03983), eq. 5, no restart

    with t = step / total; from `total` on the last two are 0.

    Args:
        name: which schedule.
        step: steps done before this one, from 0.
        total: steps of the whole run, at least 1.

    Raises:
        ValueError: an unknown name, a negative step, or a total below 1.
    """
    if total < 1 or step < 0:
        raise ValueError(f"step {step} of {total}: expected 0 or more of 1 or more")
    return _row(name)(min(1.0, step / total))


def warmed_up(step: int, total: int, share: float) -> float:
    """What the learning rate of one step is multiplied by while it rises, linearly, to 1.

    Args:
        step: steps done before this one, from 0.
        total: steps of the whole run.
        share: of the steps in which it rises.
    """
    return min(1.0, (step + 1) / max(1.0, share * total))


def depends_on_total(name: str) -> bool:
    """Whether another total changes steps that both runs have.

    A finished run can be extended by more steps only where it does not: otherwise its first part
    would have been trained with other learning rates than the longer run asks for.

    Raises:
        ValueError: an unknown name.
    """
    return _row(name) is not _SCHEDULES["constant"]


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step of `optimiser` go by `rate`; a rate in a tensor stays in it."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _row(name: str) -> Callable[[float], float]:
    if name not in _SCHEDULES:
        raise ValueError(f"there is no schedule {name!r}; known: {', '.join(_SCHEDULES)}")
    return _SCHEDULES[name]


_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda t: 1.0,
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: 0.5 * (1.0 + math.cos(math.pi * t)),
}
