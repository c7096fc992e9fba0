"""Importance weights of M samples for each latent, and what they say of themselves.

Hjelm et al. 2018 (arXiv 1702.08431), section 2.3: with log w^(m) of each sample (the
discriminator's logit where w = exp F), w̃^(m) = w^(m) / Σ_m' w^(m').
"""

import math
from typing import Any

import torch
from torch import Tensor

from ..private import leaf, shape_of


@leaf
def normalised_weights(log_weights: Tensor) -> Tensor:
    """w̃^(m) = w^(m) / Σ_m' w^(m'), the softmax over the samples of each row.

    Args:
        log_weights: log w, [M, …], floating point. A −inf is a weight of 0.

    Returns:
        Weights of the same shape that add up to 1 along the first dimension, fp32, fp64 for fp64,
        detached: for the generator's gradient they are constants.

    Raises:
        TypeError: `log_weights` is not a floating-point tensor.
        ValueError: it has no dimension, or no samples.
    """
    return _wide(log_weights).softmax(0)


@leaf
def effective_sample_size(log_weights: Tensor) -> Tensor:
    """1 / Σ_m (w̃^(m))², between 1 (one weight dominates) and M (all are equal).

    Kong 1992, "A note on importance sampling using standardized weights".

    Args:
        log_weights: log w, [M, …], floating point.

    Returns:
        […], fp32, fp64 for fp64, detached.

    Raises:
        TypeError: `log_weights` is not a floating-point tensor.
        ValueError: it has no dimension, or no samples.
    """
    return normalised_weights(log_weights).square().sum(0).reciprocal()


@leaf
def log_normaliser(log_weights: Tensor) -> Tensor:
    """The log of the mean weight of each row, log Z = logsumexp_m(log w^(m)) − log M.

    Args:
        log_weights: log w, [M, …], floating point.

    Returns:
        […], fp32, fp64 for fp64, detached.

    Raises:
        TypeError: `log_weights` is not a floating-point tensor.
        ValueError: it has no dimension, or no samples.
    """
    wide = _wide(log_weights)
    return wide.logsumexp(0) - _log_of_count(wide)


def _log_of_count(wide: Tensor) -> float | Tensor:
    """Of M; a tensor in a trace, which is not to keep the number of the moment."""
    count: Any = wide.shape[0]
    if isinstance(count, Tensor):  # torch.jit's
        exact = count.double()
    elif isinstance(count, torch.SymInt) or torch.compiler.is_compiling():
        exact = torch.full((), count, dtype=torch.float64, device=wide.device)
    else:
        return math.log(count)
    log: Tensor = exact.log()
    return log.to(wide.dtype)  # rounded once, as a number would be


def _wide(log_weights: Tensor) -> Tensor:
    if not isinstance(log_weights, Tensor) or not log_weights.is_floating_point():
        found = log_weights.dtype if isinstance(log_weights, Tensor) else type(log_weights).__name__
        raise TypeError(f"log_weights is {found}: expected a floating-point tensor [M, …]")
    if log_weights.dim() == 0 or shape_of(log_weights)[0] == 0:
        raise ValueError(
            f"log_weights has shape {list(log_weights.shape)}: expected [M, …] with M ≥ 1"
        )
    wide = log_weights.detach()
    return wide if wide.dtype == torch.float64 else wide.float()
