"""What every metric asks of its input."""

from __future__ import annotations

import torch
from torch import Tensor

from gan.errors import UserError


def as_float64(name: str, rows: Tensor, *, at_least: int = 1) -> Tensor:
    """`rows` as float64, once it is sure that a metric of them means something.

    Args:
        name: what the rows are, for the message.
        rows: floating point `[N, d]`.
        at_least: smallest N.

    Raises:
        UserError: another dtype or number of dimensions, too few rows, or values not finite.
    """
    if not rows.is_floating_point() or rows.ndim != 2 or not rows.shape[1]:
        raise UserError(
            f"{name} are {rows.dtype} {list(rows.shape)}: expected floating point [N, d] with d ≥ 1"
        )
    if len(rows) < at_least:
        raise UserError(f"{name} are {len(rows)}: expected at least {at_least}")
    finite = torch.isfinite(rows).all(dim=1)
    if not finite.all():
        first = int((~finite).nonzero()[0])
        raise UserError(
            f"{name}: {int((~finite).sum())} of {len(rows)} rows hold values that are not finite, "
            f"the first is row {first}"
        )
    return rows.double()


def check_same_width(first: str, a: Tensor, second: str, b: Tensor) -> None:
    """Raise `UserError` unless `a` `[N, d]` and `b` `[M, d]` have the same d."""
    if a.shape[1] != b.shape[1]:
        raise UserError(
            f"{first} have {a.shape[1]} columns, {second} {b.shape[1]}: expected the same number"
        )
