"""What the tests compare with: float64, and torch's own distributions."""

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical

IMPLEMENTATIONS = ("torch", "triton")


def log_prob(logits: Tensor, symbols: Tensor) -> Tensor:
    """Log-probabilities [M, B] in float64 of symbols [M, B, …], categories last."""
    if symbols.dim() == logits.dim() + 1:
        each = Bernoulli(logits=logits.double(), validate_args=False).log_prob(symbols.double())
    else:
        each = Categorical(logits=logits.double(), validate_args=False).log_prob(symbols.long())
    return each.flatten(2).sum(-1) if each.dim() > 2 else each


def gradient(logits: Tensor, symbols: Tensor, weights: Tensor) -> Tensor:
    """Σ_m w (onehot − softmax), or Σ_m w (s − σ), of the formula, in float64."""
    exact = logits.detach().double()
    if symbols.dim() == logits.dim() + 1:
        deviation = symbols.double() - exact.sigmoid()
    else:
        onehot = torch.nn.functional.one_hot(symbols.long(), logits.shape[-1])
        deviation = onehot.double() - exact.softmax(-1)
    shape = (*weights.shape, *(1,) * (deviation.dim() - 2))
    return (weights.double().reshape(shape) * deviation).sum(0)


def poison(monkeypatch) -> None:
    """Let fresh memory be NaN, or the largest integer: what is not written shows."""

    def poisoned(function):
        def fresh(*args, **kwargs):
            tensor = function(*args, **kwargs)
            limit = float("nan") if tensor.is_floating_point() else torch.iinfo(tensor.dtype).max
            return tensor.fill_(limit)

        return fresh

    monkeypatch.setattr(torch, "empty", poisoned(torch.empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(torch.empty_like))
    monkeypatch.setattr(Tensor, "new_empty", poisoned(Tensor.new_empty))
