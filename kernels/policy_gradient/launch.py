"""Launching the Triton kernels. For shapes see `definitions`; the same functions as in `twin`."""

import torch
from torch import Tensor

from ..dispatch import launching_on
from .definitions import symbol_dtype
from .fixed_point import estimate_bits
from .stream import WORDS, Stream, device_scalars
from .tiles import WARPS, Plan, is_wide, plan_of
from .triton import (
    LAUNCH_OPTIONS,
    log_prob_bernoulli_kernel,
    log_prob_categorical_kernel,
    log_prob_wide_kernel,
    sample_bernoulli_kernel,
    sample_categorical_kernel,
    sample_wide_kernel,
    score_bernoulli_kernel,
    score_categorical_kernel,
    score_wide_kernel,
)

# By `_sort`.
_SAMPLE = (sample_bernoulli_kernel, sample_categorical_kernel, sample_wide_kernel)
_LOG_PROB = (log_prob_bernoulli_kernel, log_prob_categorical_kernel, log_prob_wide_kernel)
_SCORE = (score_bernoulli_kernel, score_categorical_kernel, score_wide_kernel)
_WIDE = 2


def _sort(logits: Tensor) -> int:
    """0: Bernoullis; 1: categoricals whose categories fit a tile; 2: others."""
    if logits.dim() == 2:
        return 0
    return _WIDE if is_wide(logits.shape[2]) else 1


def sample(logits: Tensor, samples: int, stream: Stream) -> tuple[Tensor, Tensor]:
    """`twin.sample`, in one launch and, for many positions, one that adds up."""
    rows, positions = logits.shape[:2]
    symbols = logits.new_empty((samples, rows, positions), dtype=symbol_dtype(logits))
    plan = plan_of(logits, samples, WORDS)
    partials = _partials(plan, logits, samples)
    if plan.grid[0] > 0:
        arguments = (logits, symbols, partials, *device_scalars(stream))
        sort = _sort(logits)
        with launching_on(logits.device):
            _SAMPLE[sort][plan.grid](
                *arguments,
                *logits.shape,
                samples,
                plan.tiles,
                plan.samples_each // WORDS,
                *logits.stride(),
                *plan.block,
                *((estimate_bits(logits.shape[2]),) if sort == _WIDE else ()),
                num_warps=WARPS,
                **LAUNCH_OPTIONS,
            )
    return symbols, _summed(partials)


def log_prob(logits: Tensor, symbols: Tensor) -> Tensor:
    """`twin.log_prob`, in one launch and, for many positions, one that adds up."""
    samples = symbols.shape[0]
    plan = plan_of(logits, samples, 1)
    partials = _partials(plan, logits, samples)
    if plan.grid[0] > 0:
        with launching_on(logits.device):
            _LOG_PROB[_sort(logits)][plan.grid](
                logits,
                symbols,
                partials,
                *logits.shape,
                samples,
                plan.tiles,
                plan.samples_each,
                *logits.stride(),
                *plan.block,
                num_warps=WARPS,
            )
    return _summed(partials)


def score(logits: Tensor, symbols: Tensor, incoming: Tensor) -> Tensor:
    """`twin.score`, in one launch."""
    gradient = torch.empty_like(logits)
    samples = symbols.shape[0]
    plan = plan_of(logits, samples, samples)
    if plan.grid[0] > 0:
        with launching_on(logits.device):
            _SCORE[_sort(logits)][plan.grid[:1]](
                logits,
                symbols,
                incoming.float().contiguous(),
                gradient,
                *logits.shape,
                samples,
                plan.tiles,
                *logits.stride(),
                *gradient.stride(),
                *plan.block,
                num_warps=WARPS,
            )
    return gradient


def _partials(plan: Plan, logits: Tensor, samples: int) -> Tensor:
    return logits.new_empty((plan.tiles, samples, logits.shape[0]), dtype=torch.float32)


def _summed(partials: Tensor) -> Tensor:
    return partials[0] if partials.shape[0] == 1 else partials.sum(0)
