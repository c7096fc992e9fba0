"""Inception score (Salimans et al. 2016, arXiv 1606.03498, section 4), by any classifier.

    IS = exp( E_x KL( p(y|x) ‖ p(y) ) ),  p(y) = E_x p(y|x)

From 1, when the class says nothing about an image, to the number of classes, when every image is
certain and all classes are equally frequent. It sees neither the real images nor variety within a
class.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gan.errors import UserError
from gan.metrics.checks import as_float64


def inception_score(probabilities: Tensor, splits: int = 1) -> tuple[float, float]:
    """Mean and standard deviation of the score over `splits` parts of the rows, in order.

    Args:
        probabilities: p(y|x), `[N, K]`; rows sum to 1.
        splits: number of parts, of sizes that differ by at most one. The score depends on the size
            of a part: compare scores of parts of one size.

    Raises:
        UserError: fewer rows than `splits`, or rows that are not probabilities.
    """
    if splits < 1:
        raise UserError(f"splits is {splits}: expected at least 1")
    rows = as_float64("probabilities", probabilities, at_least=splits)
    if (rows < 0).any() or not torch.allclose(rows.sum(1), torch.ones_like(rows[:, 0]), atol=1e-4):
        raise UserError("probabilities: expected rows of values ≥ 0 that sum to 1")
    scores = []
    for part in torch.tensor_split(rows, splits):
        marginal = part.mean(0)
        # xlogy(0, 0) is 0: a class of probability 0 adds nothing.
        divergence = torch.special.xlogy(part, part) - torch.special.xlogy(part, marginal)
        scores.append(divergence.sum(1).mean().exp())
    values = torch.stack(scores)
    return values.mean().item(), values.std(correction=0).item()
