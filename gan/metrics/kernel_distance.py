"""Kernel distance (KID; Bińkowski et al. 2018, arXiv 1801.01401).

The unbiased estimate of the squared maximum mean discrepancy with k(x, y) = (xᵀy / d + 1)³. Unlike
the Fréchet distance its expectation is 0 for two samples of one distribution, at any count.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gan.errors import UserError
from gan.metrics.checks import as_float64, check_same_width
from gan.metrics.moments import Moments, moments


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """Unbiased estimate of MMD² between `x` `[M, d]` and `y` `[N, d]`, M and N at least 2.

        1/(M(M−1)) Σ_{i≠j} k(xᵢ, xⱼ) + 1/(N(N−1)) Σ_{i≠j} k(yᵢ, yⱼ) − 2/(MN) Σ_{ij} k(xᵢ, yⱼ)

    Gretton et al. 2012, equation 3. May be negative.
    """
    x, y = as_float64("x", x, at_least=2), as_float64("y", y, at_least=2)
    check_same_width("x", x, "y", y)
    return (_mean_of_pairs(x) + _mean_of_pairs(y) - 2 * _kernel(x, y).mean()).item()


def kernel_distance(
    samples: Tensor,
    reference: Tensor,
    *,
    subsets: int,
    subset_size: int,
    seed: int,
    scale: Moments | None = None,
) -> tuple[float, float]:
    """Mean and standard deviation of MMD² over random subsets, on standardised features.

    Features are standardised first, each by the reference's mean and deviation: the polynomial
    kernel assumes entries of about unit size, and on a classifier's raw features its third power
    drowns the distance in noise. A feature that is constant in the reference is only centred.

    Args:
        samples: features `[N, d]`.
        reference: features `[M, d]`.
        subsets: how many pairs of subsets are drawn, each without replacement.
        subset_size: rows of a subset.
        seed: of the subsets.
        scale: moments to standardise by; by default those of `reference`.

    Raises:
        UserError: `subset_size` is below 2 or exceeds either count, or `subsets` is below 1.
    """
    if subsets < 1 or subset_size < 2:
        raise UserError(
            f"{subsets} subsets of {subset_size}: expected at least 1 subset of at least 2"
        )
    samples = as_float64("samples", samples, at_least=subset_size)
    reference = as_float64("reference features", reference, at_least=subset_size)
    check_same_width("samples", samples, "reference features", reference)
    scale = scale or moments(reference)
    deviation = torch.where(scale.deviation > 0, scale.deviation, 1.0)
    samples = (samples - scale.mean) / deviation
    reference = (reference - scale.mean) / deviation
    rng = torch.Generator().manual_seed(seed)
    distances = []
    for _ in range(subsets):
        of_samples = torch.randperm(len(samples), generator=rng)[:subset_size]
        of_reference = torch.randperm(len(reference), generator=rng)[:subset_size]
        distances.append(
            squared_mmd(
                samples[of_samples.to(samples.device)],
                reference[of_reference.to(reference.device)],
            )
        )
    values = torch.tensor(distances, dtype=torch.float64)
    return values.mean().item(), values.std(correction=0).item()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """`[M, N]`."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_of_pairs(x: Tensor) -> Tensor:
    kernel = _kernel(x, x)
    return (kernel.sum() - kernel.trace()) / (len(x) * (len(x) - 1))
