"""Precision, recall, density and coverage, from k-nearest-neighbour balls around features.

Precision and recall are of Kynkäänniemi et al. 2019 (arXiv 1904.06991), density and coverage of
Naeem et al. 2020 (arXiv 2002.09797).

With real features xᵢ (N of them), samples gⱼ (M), and B(x) the closed ball around x that reaches
its k-th nearest neighbour within its own set, itself not counted:

    precision = 1/M  Σⱼ 1[ gⱼ ∈ ∪ᵢ B(xᵢ) ]       samples that look real
    recall    = 1/N  Σᵢ 1[ xᵢ ∈ ∪ⱼ B(gⱼ) ]       real images that could have been a sample
    density   = 1/kM Σⱼ Σᵢ 1[ gⱼ ∈ B(xᵢ) ]       as precision, robust to a stray real image; E = 1
    coverage  = 1/N  Σᵢ 1[ ∃j: gⱼ ∈ B(xᵢ) ]      as recall, robust to a stray sample

Precision and density depend in expectation on N alone, recall on M alone, coverage on both: only
values at equal counts compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gan.errors import UserError
from gan.metrics.checks import as_float64, check_same_width

BLOCK_ELEMENTS = 1 << 22  # distances held at once: 32 MiB
# Share of the largest squared norm by which a ball is widened, so that `≤` holds for a point on
# its surface (a copy of the k-th neighbour) however the rounding falls.
ROUNDING = 1e-12


@dataclass(frozen=True)
class PrecisionRecall:
    """The four values, see the module."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(
    reference: Tensor, samples: Tensor, k: int, *, block_elements: int = BLOCK_ELEMENTS
) -> PrecisionRecall:
    """Precision, recall, density and coverage of `samples` against `reference`.

    Costs N² + M² + NM distances in time, and `block_elements` of them in memory.

    Args:
        reference: real features `[N, d]`, N > k.
        samples: features `[M, d]`, M > k.
        k: which nearest neighbour a ball reaches, at least 1.
        block_elements: distances held at once; does not change the result.

    Raises:
        UserError: k is below 1, or either set has no k-th neighbour.
    """
    if k < 1:
        raise UserError(f"neighbours is {k}: expected at least 1")
    real = as_float64("reference features", reference, at_least=k + 1)
    fake = as_float64("samples", samples, at_least=k + 1)
    check_same_width("reference features", real, "samples", fake)
    # Distances do not move with the origin, but their rounding does.
    centre = real.mean(0)
    real, fake = real - centre, fake - centre
    rounding = ROUNDING * max(_squared_norms(real).max().item(), _squared_norms(fake).max().item())
    real_radii = _squared_radii(real, k, block_elements) + rounding  # [N]
    fake_radii = _squared_radii(fake, k, block_elements) + rounding  # [M]
    balls_holding = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    recalled = covered = 0
    for start, distances in _blocks(real, fake, block_elements):
        radii = real_radii[start : start + len(distances)]
        inside_real = distances <= radii[:, None]
        balls_holding += inside_real.sum(0)
        covered += int(inside_real.any(1).sum())
        recalled += int((distances <= fake_radii).any(1).sum())
    return PrecisionRecall(
        precision=int((balls_holding > 0).sum()) / len(fake),
        recall=recalled / len(real),
        density=int(balls_holding.sum()) / (k * len(fake)),
        coverage=covered / len(real),
    )


def _squared_radii(rows: Tensor, k: int, block_elements: int) -> Tensor:
    """Squared distance of each row of `[N, d]` to its k-th nearest other row, `[N]`."""
    radii = torch.empty(len(rows), dtype=rows.dtype, device=rows.device)
    for start, distances in _blocks(rows, rows, block_elements):
        # The row itself is among the k + 1 nearest, at distance 0.
        nearest = distances.topk(k + 1, dim=1, largest=False).values
        radii[start : start + len(distances)] = nearest[:, -1]
    return radii


def _blocks(a: Tensor, b: Tensor, block_elements: int) -> Iterator[tuple[int, Tensor]]:
    """Squared distances of some rows of `a` to all of `b`, with the number of the first row."""
    norms = _squared_norms(b)
    size = max(1, block_elements // len(b))
    for start in range(0, len(a), size):
        rows = a[start : start + size]
        squared = torch.addmm(norms[None], rows, b.T, alpha=-2)
        yield start, squared.add_(_squared_norms(rows)[:, None]).clamp_min_(0)


def _squared_norms(rows: Tensor) -> Tensor:
    return rows.square().sum(1)
