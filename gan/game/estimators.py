"""What a generator of symbols learns from its samples: their weights, and the gradient these give.

A generator gives g(x|z), from which M samples are drawn for each of B latent vectors z. The
discriminator's logits say how much more likely a sample is under the data than under the generator:
w ≈ p/q. Neither samples nor weights carry a gradient; log g does. Hjelm et al. 2018 (arXiv
1702.08431), section 2.3.

Everywhere `[M, B]`: samples first, latent vectors second.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fusedgan_kernels import generator_objective, normalised_weights

NORMALISATIONS = ("latent", "batch")


def log_weights(logits: Tensor, divergence: str, output: str) -> Tensor:
    """The log weights of samples, w = (∂f*/∂T)(ν(F)): p/q where the discriminator is optimal.

    With the output activation `log_ratio` that is the logit itself. The rows are those of
    `kernels.losses.definitions`.

    Args:
        logits: F, of any shape, floating point.
        divergence: what the discriminator minimises.
        output: its output activation, `nowozin` or `log_ratio`.

    Returns:
        Of the same shape, fp32, fp64 for fp64 logits, detached.

    Raises:
        ValueError: the divergence has no such weight, or none with a logarithm.
    """
    log_weight = generator_objective("boundary_seeking", divergence, output).log_weight
    assert log_weight is not None  # or there would be no such objective
    return log_weight(_constant(logits))


def importance_weights(log_weights: Tensor, normalisation: str = "latent") -> Tensor:
    """w̃, the weights of samples whose mean over the latent vectors is to be taken.

    - `latent`: w / Σ_m w. They add up to 1 over the samples of each latent vector.
    - `batch`: w / (M·β) with one β, the mean of w over the batch. They add up to B over all, so
      that latent vectors whose samples look more real count for more.

    Args:
        log_weights: log w, `[M, B]`, floating point.
        normalisation: one of the two.

    Returns:
        `[M, B]`, fp32, fp64 for fp64, detached.

    Raises:
        ValueError: an unknown normalisation.
    """
    if normalisation == "latent":
        return normalised_weights(log_weights)
    if normalisation != "batch":
        raise ValueError(
            f"normalisation={normalisation!r}: expected one of {', '.join(NORMALISATIONS)}"
        )
    return normalised_weights(log_weights.flatten()).view_as(log_weights) * log_weights.shape[1]


def importance_loss(
    log_probs: Tensor,
    log_weights: Tensor,
    normalisation: str = "latent",
    *,
    control_variate: bool = False,
) -> Tensor:
    """−E_z Σ_m w̃ log g(x|z), a scalar: the cross-entropy of the samples as they are weighted.

    For M → ∞ its gradient with `latent` is that of E_z KL(p̃(·|z) ‖ g(·|z)), where p̃(x|z) =
    w(x) g(x|z) / β(z) is held fixed, and with `batch` and w = p/q that of KL(p ‖ q). For finite M
    a ratio of two sums has another mean than the ratio of the means: the estimate is biased, by
    O(1/M).

    Args:
        log_probs: log g(x|z) `[M, B]`, differentiable in the generator.
        log_weights: log w `[M, B]`, constants.
        normalisation: as `importance_weights`.
        control_variate: the gradient is that of −E_z Σ_m (w̃ − 1/M) log g(x|z). Its expectation is
            the same, for that of ∇log g is 0, and its variance smaller where weights are nearly
            alike: then nearly all of the other's is that of (1/M) Σ_m ∇log g. The value stays.
    """
    weights = importance_weights(log_weights, normalisation)
    loss = -(weights * log_probs).sum(0).mean()
    if not control_variate:
        return loss
    mean = log_probs.mean()
    return loss + (mean - mean.detach())


def reinforce_loss(
    log_probs: Tensor, log_weights: Tensor, baseline: Tensor | float = 0.0
) -> Tensor:
    """−E_z (1/M) Σ_m (log w − b − 1) log g(x|z), a scalar whose gradient is what matters.

    With w = p/q its expectation is the gradient of the reverse KL(q ‖ p) for every M, and for
    every b that does not depend on the sample it is for: log β, a running log Z, as published,
    `leave_one_out`, or whatever else makes the variance small. The value itself means little.

    Args:
        log_probs: log g(x|z) `[M, B]`, differentiable in the generator.
        log_weights: log w `[M, B]`, constants.
        baseline: b, 0-d, `[B]` or `[M, B]`, a constant.
    """
    if isinstance(baseline, Tensor):
        baseline = baseline.detach()
    signal = _constant(log_weights) - baseline - 1
    return -(signal * log_probs).mean(0).mean()


def leave_one_out(log_weights: Tensor) -> Tensor:
    """For each sample the mean of log w over the others of its latent vector, `[M, B]`.

    Kool et al. 2019 ("Buy 4 REINFORCE samples, get a baseline for free!"); Mnih & Rezende 2016
    (arXiv 1602.06725) for bounds with several samples.

    Args:
        log_weights: log w `[M, B]`, M ≥ 2.
    """
    constant = _constant(log_weights)
    return (constant.sum(0) - constant) / (len(constant) - 1)


def _constant(tensor: Tensor) -> Tensor:
    constant = tensor.detach()
    return constant if constant.dtype == torch.float64 else constant.float()
