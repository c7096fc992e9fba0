"""What classes the samples fall into: shares, modes covered, entropy, divergence from the data."""

from __future__ import annotations

import torch
from torch import Tensor

from gan.errors import UserError


def class_shares(labels: Tensor, classes: int) -> Tensor:
    """Share of each class among `labels` (integers `[N]` in 0 … classes − 1): float64 `[classes]`.

    Raises:
        UserError: there are no labels, or one is outside the range.
    """
    if labels.ndim != 1 or labels.is_floating_point() or not len(labels):
        raise UserError(
            f"labels are {labels.dtype} {list(labels.shape)}: expected integers [N], N ≥ 1"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise UserError(f"labels go from {low} to {high}: expected 0 to {classes - 1}")
    return torch.bincount(labels, minlength=classes).double() / len(labels)


def modes_covered(shares: Tensor, smallest: float) -> int:
    """Number of classes with a share of at least `smallest`."""
    return int((shares >= smallest).sum())


def entropy(shares: Tensor) -> float:
    """−Σ p log p in nats: log K when all K classes are equally frequent, 0 when there is one."""
    # + 0.0 because −0.0 would read badly in a report.
    return -float(torch.special.xlogy(shares, shares).sum()) + 0.0


def kl_divergence(shares: Tensor, reference: Tensor) -> float:
    """Σ p log(p / q) in nats, p = `shares`, q = `reference`, both `[K]`.

    Infinite when a class has samples but does not occur in the reference.

    Raises:
        UserError: the two have different numbers of classes.
    """
    if shares.shape != reference.shape:
        raise UserError(
            f"shares are {list(shares.shape)}, the reference's {list(reference.shape)}: expected "
            "the same number of classes"
        )
    divergence = torch.special.xlogy(shares, shares) - torch.special.xlogy(shares, reference)
    return max(0.0, float(divergence.sum()))
