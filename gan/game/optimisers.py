"""Optimisers by name, with PyTorch's own mathematics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

NAMES = ("adam", "adamw", "rmsprop")


def make_optimiser(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    betas: Sequence[float],
    weight_decay: float = 0.0,
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
    # One launch for all parameters, on the CPU too, where PyTorch has it.
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate, betas=(first, second), fused=True)
    if name == "adamw":
        return torch.optim.AdamW(
            parameters,
            lr=learning_rate,
            betas=(first, second),
            weight_decay=weight_decay,
            fused=True,
        )
    return torch.optim.RMSprop(parameters, lr=learning_rate, alpha=second)
