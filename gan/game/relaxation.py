"""Symbols made continuous, so that a game for numbers can be played on them.

A relaxed symbol is a point of the simplex: probabilities of the V symbols, `[B, V, *positions]`.
A real one is a corner of it, a one-hot vector. Images are relaxed further, to the colours that the
probabilities expect; texts stay as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

# Exponential variables are kept above this: the logarithm of 0 would be an infinite Gumbel.
SMALLEST = torch.finfo(torch.float32).tiny


def relaxed(logits: Tensor, temperature: float) -> Tensor:
    """softmax(ℓ/τ): the probabilities themselves, nothing is drawn.

    Args:
        logits: `[B, V, *positions]`.
        temperature: τ.
    """
    return (logits / temperature).softmax(1)


def straight_through(logits: Tensor, temperature: float, rng: torch.Generator) -> Tensor:
    """One-hot samples of softmax(ℓ), with the gradient of their relaxation softmax((ℓ + G)/τ).

    G are standard Gumbel variables, so that the largest ℓ + G is a sample: the straight-through
    Gumbel-softmax of Jang et al. 2017 (arXiv 1611.01144), section 2.2.

    Args:
        logits: `[B, V, *positions]`, fp32.
        temperature: τ; the smaller, the nearer the gradient's mean is to that of the samples, and
            the larger its variance.
        rng: on the logits' device.
    """
    waiting = torch.empty_like(logits).exponential_(generator=rng).clamp_(min=SMALLEST)
    soft = ((logits - waiting.log()) / temperature).softmax(1)
    hard = one_hot(soft.detach().argmax(1), logits.shape[1])
    # The difference is 0 exactly: what is seen is one-hot to the bit.
    return hard + (soft - soft.detach())


def one_hot(symbols: Tensor, size: int) -> Tensor:
    """Symbols, integers `[B, *positions]`, as corners of the simplex: fp32 `[B, V, *positions]`."""
    index = symbols.long().unsqueeze(1)
    shape = (len(symbols), size, *symbols.shape[1:])
    return torch.zeros(shape, device=symbols.device).scatter_(1, index, 1.0)


def expected_colours(probabilities: Tensor, table: Tensor) -> Tensor:
    """Σ_v p_v·colour_v of every pixel: `[B, C, H, W]`.

    Args:
        probabilities: `[B, V, H, W]`.
        table: colours in [−1, 1], `[V, C]`.
    """
    return F.conv2d(probabilities, table.mT[:, :, None, None])


def colours(symbols: Tensor, table: Tensor) -> Tensor:
    """The colour of every symbol: integers `[N, H, W]` to `[N, C, H, W]` in channels_last.

    Args:
        symbols: below V.
        table: colours in [−1, 1], `[V, C]`.
    """
    return rearrange(F.embedding(symbols.int(), table), "n h w c -> n c h w")
