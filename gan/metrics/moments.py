"""Mean and covariance of features, gathered as a stream."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gan.errors import UserError
from gan.metrics.checks import as_float64, check_same_width


@dataclass(frozen=True)
class Moments:
    """Of `count` features: `mean` `[d]` and the unbiased `covariance` `[d, d]`, float64."""

    count: int
    mean: Tensor
    covariance: Tensor

    @cached_property
    def root(self) -> Tensor:
        """Σ^½ `[d, d]`, the symmetric square root of the covariance."""
        values, vectors = torch.linalg.eigh(self.covariance)
        # A covariance of fewer images than features has zeros, which rounding takes below 0.
        root: Tensor = vectors * values.clamp_min(0).sqrt() @ vectors.T
        return root

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each feature, `[d]`."""
        return self.covariance.diagonal().clamp_min(0).sqrt()


class MomentsStream:
    """Gathers moments block by block; memory is `[d, d]`, however many rows pass.

    Blocks are joined by the pairwise update of Chan, Golub and LeVeque (1983): sums of
    squares without a mean taken off would cancel where the mean is large.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean: Tensor | None = None
        self._scatter: Tensor | None = None

    def add(self, features: Tensor) -> None:
        """Add the rows of `features` `[N, d]`.

        Raises:
            UserError: another shape or dtype than before, or values that are not finite.
        """
        block = as_float64("features", features)
        mean = block.mean(0)
        centred = block - mean
        scatter = centred.T @ centred
        if self._mean is None or self._scatter is None:
            self._count, self._mean, self._scatter = len(block), mean, scatter
            return
        check_same_width("features", block, "those before", self._mean[None])
        shift = mean - self._mean
        total = self._count + len(block)
        self._scatter += scatter + torch.outer(shift, shift) * (self._count * len(block) / total)
        self._mean = self._mean + shift * (len(block) / total)
        self._count = total

    def finish(self) -> Moments:
        """The moments of all rows so far.

        Raises:
            UserError: fewer than two rows.
        """
        if self._mean is None or self._scatter is None or self._count < 2:
            raise UserError(f"features are {self._count}: moments need at least 2")
        return Moments(self._count, self._mean, self._scatter / (self._count - 1))


def moments(features: Tensor) -> Moments:
    """Mean and unbiased covariance of `features` `[N, d]`.

    Raises:
        UserError: fewer than two rows, another shape or dtype, or values that are not finite.
    """
    stream = MomentsStream()
    stream.add(as_float64("features", features, at_least=2))
    return stream.finish()
