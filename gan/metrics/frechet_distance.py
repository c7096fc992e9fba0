"""Fréchet distance (Heusel et al. 2017, arXiv 1706.08500, equation 6; FID when d = 2048).

    FD = |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)

the squared 2-Wasserstein distance of two Gaussians (Dowson and Landau 1982). It is biased upwards
by about c/N: a number without its count, or beside one of another count, says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gan.errors import UserError
from gan.metrics.checks import as_float64, check_same_width
from gan.metrics.moments import Moments, moments

MAX_CHUNKS = 20
POINTS = 15  # as Chong and Forsyth
SMALLEST_SHARE = 0.1  # 5,000 of 50,000 in their paper


@dataclass(frozen=True)
class DistanceAtCount:
    """Fréchet distances of `chunks` disjoint chunks of `count` samples each."""

    mean: float
    deviation: float  # over chunks; 0 for a single one
    count: int
    chunks: int


def frechet_distance(a: Moments, b: Moments) -> float:
    """Fréchet distance of two Gaussians, at least 0.

    tr (Σ₁ Σ₂)^½ is the sum of the square roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is
    symmetric: no root of a general matrix is needed, and singular covariances are no special case.

    Raises:
        UserError: the two have different numbers of features.
    """
    check_same_width("the first features", a.mean[None], "the second", b.mean[None])
    product = a.root @ b.covariance @ a.root
    eigenvalues = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0)
    distance = (
        (a.mean - b.mean).square().sum()
        + a.covariance.trace()
        + b.covariance.trace()
        - 2 * eigenvalues.sqrt().sum()
    )
    return max(0.0, float(distance))


def distance_at_count(samples: Tensor, reference: Moments, count: int) -> DistanceAtCount:
    """Fréchet distance of `count` samples to `reference`, averaged over disjoint chunks.

    This is what makes distances of sets of different sizes comparable: the bias is that of `count`
    for all. Rows are taken in order, at most the first 20 chunks.

    Args:
        samples: features `[N, d]`.
        reference: moments of the reference.
        count: rows a chunk, 2 … N.

    Raises:
        UserError: `count` is below 2, or there are fewer samples.
    """
    if count < 2:
        raise UserError(f"the count is {count}: a Fréchet distance needs at least 2 samples")
    rows = as_float64("samples", samples, at_least=count)
    chunks = min(MAX_CHUNKS, len(rows) // count)
    distances = torch.tensor(
        [
            frechet_distance(reference, moments(rows[index * count : (index + 1) * count]))
            for index in range(chunks)
        ],
        dtype=torch.float64,
    )
    return DistanceAtCount(
        distances.mean().item(), distances.std(correction=0).item(), count, chunks
    )


def distance_at_infinity(samples: Tensor, reference: Moments, seed: int) -> float:
    """FD∞, the distance that infinitely many samples would have (Chong and Forsyth 2020).

    arXiv 1911.07023. A line is fitted to the distances of 15 random subsets, of sizes evenly
    spaced from a tenth of the samples to all, over 1/size; its value at 0 is returned. The bias of
    the reference's own size remains. Slightly negative results happen where the distance is about
    0.

    Args:
        samples: features `[N, d]`, N at least 20.
        reference: moments of the reference.
        seed: of the subsets.

    Raises:
        UserError: fewer than 20 samples.
    """
    rows = as_float64("samples", samples, at_least=20)
    rng = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(SMALLEST_SHARE * len(rows), len(rows), POINTS).round().long().tolist()
    distances = []
    for size in sizes:
        subset = torch.randperm(len(rows), generator=rng)[:size].to(rows.device)
        distances.append(frechet_distance(reference, moments(rows[subset])))
    # Least squares by hand: a LAPACK solver's last digits change from call to call.
    x = torch.tensor([1.0 / size for size in sizes], dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return float(y.mean() - slope * x.mean())
