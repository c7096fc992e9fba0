"""Optimisers by name, with PyTorch's own mathematics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

NAMES = ("adam", "adamw", "rmsprop")


def make_optimiser(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    betas: Sequence[float],
    weight_decay: float = 0.0,
    recordable: bool = False,
) -> torch.optim.Optimizer:
    """The optimiser that `name` stands for.

    - `adam`: Kingma & Ba 2015, ε 1e-8.
    - `adamw`: with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101).
    - `rmsprop`: Hinton's lecture 6e, without momentum, smoothed by the last of `betas`; what WGAN
      with clipping was trained with.

    Args:
        name: which one.
        parameters: what it moves.
        learning_rate: to begin with; `gan.schedules` says what becomes of it.
        betas: of the first and second moment; rmsprop has only a second.
        weight_decay: of adamw.
        recordable: a step may be recorded once and replayed, as a CUDA graph does: the learning
            rate is then a 0-d tensor that stays where it is, which a step reads. But for rmsprop
            on a CPU, where PyTorch would turn it into the number that it is at the recording.
            `optimiser_state` and `load_optimiser_state` are for such an optimiser.

    Raises:
        ValueError: an unknown name, betas that are not two, or a weight decay for another
            optimiser than adamw, which would add it to the gradient instead.
    """
    if name not in NAMES:
        raise ValueError(f"there is no optimiser {name!r}; known: {', '.join(NAMES)}")
    if len(betas) != 2:
        raise ValueError(f"betas are {list(betas)}: expected two")
    if weight_decay and name != "adamw":
        raise ValueError(f"weight_decay is {weight_decay}, but the optimiser is {name}, not adamw")
    first, second = betas
    parameters = list(parameters)
    capturable = recordable and any(each.is_cuda for each in parameters)
    rate: float | Tensor = learning_rate
    if capturable:  # the kernels read fp32 there
        rate = torch.tensor(learning_rate, dtype=torch.float32, device=parameters[0].device)
    elif recordable and name != "rmsprop":
        rate = torch.tensor(learning_rate, dtype=torch.float64)
    # One launch for all parameters, on the CPU too, where PyTorch has it.
    if name == "adam":
        return torch.optim.Adam(
            parameters, lr=rate, betas=(first, second), fused=True, capturable=capturable
        )
    if name == "adamw":
        return torch.optim.AdamW(
            parameters,
            lr=rate,
            betas=(first, second),
            weight_decay=weight_decay,
            fused=True,
            capturable=capturable,
        )
    return torch.optim.RMSprop(parameters, lr=rate, alpha=second, capturable=capturable)


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """`optimiser.state_dict()` with its rates as plain numbers, wherever they live."""
    content = optimiser.state_dict()
    for group in content["param_groups"]:
        if isinstance(group["lr"], Tensor):
            group["lr"] = float(group["lr"])
    return content


def load_optimiser_state(optimiser: torch.optim.Optimizer, content: dict[str, Any]) -> None:
    """Go on where `optimiser_state` was taken, on this device or another.

    Where the rates live, and how steps are computed, stays as `optimiser` was made.
    """
    # Of the device, not of the run.
    own = [{key: group[key] for key in group if key in _OF_DEVICE} for group in _groups(optimiser)]
    saved = content["param_groups"]
    groups = [{**group, **kept} for group, kept in zip(saved, own, strict=True)]
    optimiser.load_state_dict({**content, "param_groups": groups})
    # PyTorch has put copies in.
    for group, kept in zip(_groups(optimiser), own, strict=True):
        group.update(kept)


_OF_DEVICE = ("lr", "capturable")


def _groups(optimiser: torch.optim.Optimizer) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = optimiser.param_groups
    return groups
