"""Log-probabilities and their gradient in differentiable operations: the definition.

Categorical: log g = Σ_p (ℓ_{p,s_p} − logsumexp_v ℓ_{p,v}). Bernoulli: log g = −Σ_p [(1−s_p)ℓ_p +
sp(−ℓ_p)] = −Σ_p sp((1−2s_p)ℓ_p), sp being softplus. Hjelm et al. 2018, section 2.3 (the products
over positions that their generators give).

`twin` computes the same in less memory, the Triton kernels in one launch. Derivatives of the
gradient come from here, and whatever runs under a transform of torch.func, in forward mode or in a
trace: these are torch's operators alone, none writes into a tensor that it was given, and symbols
are the bits of `twin`'s.

Everywhere in this package logits are [B, P, V], categorical, or [B, P], Bernoulli; symbols are
[M, B, P]; whatever is one number a sample is [M, B].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..private import shape_of
from .fixed_point import (
    BERNOULLI_BITS,
    MOST_IN_A_BYTE,
    cumulative_categorical,
    unlikely_bernoulli,
)
from .stream import WORDS, Stream, words_of_plain_operators


def wide(logits: Tensor) -> Tensor:
    """Logits in the dtype that is computed in: fp32, fp64 for fp64."""
    return logits if logits.dtype == torch.float64 else logits.float()


def symbol_dtype(logits: Tensor) -> torch.dtype:
    """Of the symbols drawn from `logits`: uint8, and int32 where a byte cannot tell them apart.

    PyTorch has a uint16, but can neither index nor compare by it.
    """
    few = logits.dim() == 2 or shape_of(logits)[-1] <= MOST_IN_A_BYTE
    return torch.uint8 if few else torch.int32


def sample(logits: Tensor, samples: int, stream: Stream) -> tuple[Tensor, Tensor]:
    """Symbols [M, B, P] and their log-probabilities [M, B], differentiable as `log_prob`."""
    constant = logits.detach()
    draw = _draw_bernoulli if logits.dim() == 2 else _draw_categorical
    symbols = draw(constant, samples, stream).to(symbol_dtype(logits))
    return symbols, log_prob(logits, symbols)


def _draw_bernoulli(logits: Tensor, samples: int, stream: Stream) -> Tensor:
    # A copy: what follows writes into it.
    unlikely = unlikely_bernoulli(logits.to(torch.float32, copy=True).abs())  # [B, P]
    total = unlikely.long() + (1 << BERNOULLI_BITS)
    lost = _targets(total, samples, stream) >= 1 << BERNOULLI_BITS  # the unlikelier value
    return lost ^ (logits > 0)


def _draw_categorical(logits: Tensor, samples: int, stream: Stream) -> Tensor:
    cumulative = cumulative_categorical(logits.to(torch.float32, copy=True), -1)  # [B, P, V]
    targets = _targets(cumulative[..., -1].long(), samples, stream)
    values = targets.permute(1, 2, 0).to(torch.int32, memory_format=torch.contiguous_format)
    found = torch.searchsorted(cumulative, values, right=True, out_int32=True)
    # Without a distribution the total is 0, and the target not below it.
    return found.clamp(max=shape_of(logits)[-1] - 1).permute(2, 0, 1)


def _targets(total: Tensor, samples: int, stream: Stream) -> Tensor:
    """⌊u·total / 2^32⌋, int64 [M, B, P]; `total` [B, P] is int64."""
    rows, positions = total.shape
    drawn = words_of_plain_operators(
        torch.arange(positions, device=total.device),
        torch.arange(rows, device=total.device)[:, None],
        torch.arange(-(-samples // WORDS), device=total.device)[:, None, None],
        stream,
    )
    return (torch.stack(drawn, 1).flatten(0, 1)[:samples] * total) >> 32


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


def score_gradients(
    logits: Tensor, symbols: Tensor, incoming: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of ⟨score, direction⟩ with respect to the logits and to g = `incoming`.

    Categorical, p = softmax(ℓ) and d̄ = Σ_v p_v d_v: −(Σ_m g_m) p_v (d_v − d̄), and
    Σ_p (d_{s_p} − d̄). Bernoulli: −(Σ_m g_m) σ(ℓ) σ(−ℓ) d, and Σ_p (s_p − σ(ℓ)) d.
    """
    total = incoming.to(wide(logits).dtype).sum(0)
    d = direction.to(total.dtype)
    if logits.dim() == 2:
        p = wide(logits).sigmoid()
        of_logits = -total[:, None] * p * (-wide(logits)).sigmoid() * d
        of_incoming = ((symbols != 0).to(d.dtype) * d).sum(-1) - (p * d).sum(-1)
    else:
        p = wide(logits).softmax(-1)
        centred = d - (p * d).sum(-1, keepdim=True)
        of_logits = -total[:, None, None] * p * centred
        of_incoming = chosen(centred, symbols)
    return of_logits.to(logits.dtype), of_incoming.to(incoming.dtype)


def chosen(log_probs: Tensor, symbols: Tensor) -> Tensor:
    """Σ_p of the categories' log-probabilities [B, P, V] at the symbols [M, B, P]: [M, B]."""
    return log_probs.gather(-1, by_position(symbols)).sum(1).t()


def by_position(symbols: Tensor) -> Tensor:
    """Indices of the symbols as `gather` wants them, [B, P, M]; contiguous, it is faster so."""
    return symbols.permute(1, 2, 0).to(torch.int64, memory_format=torch.contiguous_format)
