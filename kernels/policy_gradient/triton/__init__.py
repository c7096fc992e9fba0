"""Triton kernels of discrete generators: draw, look up, differentiate.

A program treats one row and a range of positions. What it adds up over positions it writes as a
partial sum, [tiles, M, B], which is added up in order afterwards: no atomics. The definition of
each step stands in `fixed_point`, `stream` and `definitions`.
"""

from .bernoulli import log_prob_bernoulli_kernel, sample_bernoulli_kernel, score_bernoulli_kernel
from .categorical import (
    log_prob_categorical_kernel,
    sample_categorical_kernel,
    score_categorical_kernel,
)
from .device import LAUNCH_OPTIONS
from .wide import log_prob_wide_kernel, sample_wide_kernel, score_wide_kernel

__all__ = [
    "LAUNCH_OPTIONS",
    "log_prob_bernoulli_kernel",
    "log_prob_categorical_kernel",
    "log_prob_wide_kernel",
    "sample_bernoulli_kernel",
    "sample_categorical_kernel",
    "sample_wide_kernel",
    "score_bernoulli_kernel",
    "score_categorical_kernel",
    "score_wide_kernel",
]
