"""Log-probabilities and their gradient in differentiable operations: the definition.

Categorical: log g = Σ_p (ℓ_{p,s_p} − logsumexp_v ℓ_{p,v}). Bernoulli: log g = −Σ_p [(1−s_p)ℓ_p +
sp(−ℓ_p)] = −Σ_p sp((1−2s_p)ℓ_p), sp being softplus. Hjelm et al. 2018, section 2.3 (the products
over positions that their generators give).

`twin` computes the same in less memory, the Triton kernels in one launch. Derivatives of the
gradient come from here.

Everywhere in this package logits are [B, P, V], categorical, or [B, P], Bernoulli; symbols are
[M, B, P]; whatever is one number a sample is [M, B].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .fixed_point import MOST_IN_A_BYTE


def wide(logits: Tensor) -> Tensor:
    """Logits in the dtype that is computed in: fp32, fp64 for fp64."""
    return logits if logits.dtype == torch.float64 else logits.float()


def symbol_dtype(logits: Tensor) -> torch.dtype:
    """Of the symbols drawn from `logits`: uint8, and int32 where a byte cannot tell them apart.

    PyTorch has a uint16, but can neither index nor compare by it.
    """
    few = logits.dim() == 2 or logits.shape[-1] <= MOST_IN_A_BYTE
    return torch.uint8 if few else torch.int32


def log_prob(logits: Tensor, symbols: Tensor) -> Tensor:
    """Log g of each sample, [M, B], differentiable in the logits, to any order."""
    if logits.dim() == 2:
        signed = torch.where(symbols != 0, wide(logits), -wide(logits))  # [M, B, P]
        return F.logsigmoid(signed).sum(-1)
    return chosen(wide(logits).log_softmax(-1), symbols)


def score(logits: Tensor, symbols: Tensor, incoming: Tensor) -> Tensor:
    """Σ_m g_m ∂ log g^(m) / ∂ℓ, differentiable in the logits and in g = `incoming` [M, B].

    Categorical: Σ_m g_m 1[s^(m) = v] − (Σ_m g_m) softmax(ℓ)_v; Bernoulli:
    Σ_m g_m s^(m) − (Σ_m g_m) σ(ℓ).
    """
    weights = incoming.to(wide(logits).dtype)
    total = weights.sum(0)  # [B]
    if logits.dim() == 2:
        ones = (weights[..., None] * (symbols != 0)).sum(0)  # [B, P]
        gradient = ones - total[:, None] * wide(logits).sigmoid()
    else:
        index = by_position(symbols)
        source = weights.t()[:, None].expand(index.shape)
        ones = torch.zeros_like(wide(logits)).scatter_add(-1, index, source)  # [B, P, V]
        gradient = ones - total[:, None, None] * wide(logits).softmax(-1)
    return gradient.to(logits.dtype)


def chosen(log_probs: Tensor, symbols: Tensor) -> Tensor:
    """Σ_p of the categories' log-probabilities [B, P, V] at the symbols [M, B, P]: [M, B]."""
    return log_probs.gather(-1, by_position(symbols)).sum(1).t()


def by_position(symbols: Tensor) -> Tensor:
    """Indices of the symbols as `gather` wants them, [B, P, M]; contiguous, it is faster so."""
    return symbols.permute(1, 2, 0).to(torch.int64, memory_format=torch.contiguous_format)
