"""Discrete generators: sampling, log-probabilities and the gradient of a policy, fused."""

from .functions import (
    Samples,
    log_prob,
    sample_bernoulli,
    sample_categorical,
    weighted_log_prob,
)
from .weights import effective_sample_size, log_normaliser, normalised_weights

__all__ = [
    "Samples",
    "effective_sample_size",
    "log_normaliser",
    "log_prob",
    "normalised_weights",
    "sample_bernoulli",
    "sample_categorical",
    "weighted_log_prob",
]
