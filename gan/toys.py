"""Toys: distributions of points whose density is known, so that the truth can be computed.

Each is a mixture of equally likely isotropic Gaussians, p(x) = 1/K Σₖ N(x; μₖ, σ²I), in one or two
dimensions. All but `normal`, which has the unit deviation, are scaled so that the centres have
about unit variance in each coordinate, as networks like it.

| name | what | source |
|---|---|---|
| normal | N(0, 1) | Goodfellow et al. 2014, figure 1 (with a uniform latent of one number) |
| line | 5 Gaussians on a line, spacing 20 σ | |
| ring | 8 on a circle of radius 100 σ | Metz et al. 2017 (arXiv 1611.02163) |
| grid | 5 × 5 at a spacing of 40 σ | Srivastava et al. 2017 (arXiv 1705.07761); Gulrajani et al. 2017, figure 1 |
| spirals | two arms of 200 overlapping Gaussians | after Lang & Witbrock 1988 |
"""  # noqa: E501

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SPIRAL_CENTRES = 200  # an arm
SPIRAL_TURNS = 1.5
BLOCK_ELEMENTS = 1 << 24  # distances held at once in a density


@dataclass(frozen=True, eq=False)
class Toy:
    """1/K Σₖ N(μₖ, σ²I).

    Attributes:
        name: as `data.toy` takes it.
        means: μ, float64 `[K, D]`, D 1 or 2.
        deviation: σ.
        groups: int64 `[K]`: which mode, or arm, a component belongs to, from 0.
        modes: whether the groups are modes, regions of high density apart from each other.
    """

    name: str
    means: Tensor
    deviation: float
    groups: Tensor
    modes: bool

    @property
    def dimensions(self) -> int:
        """D."""
        return self.means.shape[1]

    @property
    def group_names(self) -> tuple[str, ...] | None:
        """One name a mode or arm; None when there is but one."""
        count = int(self.groups.max()) + 1
        kind = "mode" if self.modes else "arm"
        return tuple(f"{kind} {index}" for index in range(count)) if count > 1 else None

    def log_density(self, points: Tensor) -> Tensor:
        """The logarithm of p at `points` `[N, D]`, float64 `[N]`; finite however far away they are.

        Raises:
            ValueError: another shape.
        """
        if points.ndim != 2 or points.shape[1] != self.dimensions:
            raise ValueError(
                f"points are {list(points.shape)}, expected [N, {self.dimensions}] for {self.name}"
            )
        means = self.means.to(points.device)
        constant = math.log(len(means)) + self.dimensions * math.log(
            self.deviation * math.sqrt(2 * math.pi)
        )
        parts = [torch.empty(0, dtype=torch.float64, device=points.device)]
        for block in points.double().split(max(1, BLOCK_ELEMENTS // len(means))):
            distances = torch.cdist(block, means, compute_mode="donot_use_mm_for_euclid_dist")
            exponents = -(distances / self.deviation).square() / 2  # [B, K]
            parts.append(exponents.logsumexp(1) - constant)
        return torch.cat(parts)

    def sample(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` points, float64 `[count, D]`, and their groups, int64 `[count]`.

        Args:
            count: how many.
            rng: a CPU generator; the same state gives the same points.
        """
        component = torch.randint(len(self.means), (count,), generator=rng)
        noise = torch.randn(count, self.dimensions, generator=rng, dtype=torch.float64)
        return self.means[component] + self.deviation * noise, self.groups[component]

    def log_interval_mass(self, edges: Tensor, dimension: int) -> Tensor:
        """The logarithm of each component's mass between neighbouring `edges`, float64 `[K, B]`.

        Exact far out in the tails too, where the mass itself would be 0 in float64.

        Args:
            edges: ascending float64 `[B + 1]`, −∞ and ∞ allowed.
            dimension: along which coordinate.
        """
        z = (edges - self.means[:, dimension, None]) / self.deviation  # [K, B + 1]
        lower, upper = z[:, :-1], z[:, 1:]
        # Right of the mean the tails are mirrored, where Φ is small and log Φ exact.
        mirrored = lower > 0
        small = torch.special.log_ndtr(torch.where(mirrored, -upper, lower))
        large = torch.special.log_ndtr(torch.where(mirrored, -lower, upper))
        # log(e^large − e^small)
        mass: Tensor = large + torch.log(-torch.expm1(small - large))
        return mass

    def extent(self, deviations: float = 5.0) -> list[tuple[float, float]]:
        """Lowest and highest coordinate in each dimension, so many deviations around the means."""
        reach = deviations * self.deviation
        low, high = self.means.min(0).values - reach, self.means.max(0).values + reach
        return list(zip(low.tolist(), high.tolist(), strict=True))


def make_toy(name: str) -> Toy:
    """The toy that `data.toy` names.

    Raises:
        ValueError: there is none of that name; lists those there are.
    """
    if name not in _TOYS:
        raise ValueError(f"there is no toy {name!r}; known: {', '.join(_TOYS)}")
    return _TOYS[name]()


def _normal() -> Toy:
    return _of_modes("normal", torch.zeros(1, 1, dtype=torch.float64), 1.0)


def _line() -> Toy:
    means = torch.arange(-2, 3, dtype=torch.float64)[:, None] / math.sqrt(2)
    return _of_modes("line", means, 0.05 / math.sqrt(2))


def _ring() -> Toy:
    angles = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
    means = math.sqrt(2) * torch.stack([angles.cos(), angles.sin()], 1)
    return _of_modes("ring", means, 0.01 * math.sqrt(2))


def _grid() -> Toy:
    axis = torch.arange(-2, 3, dtype=torch.float64) / math.sqrt(2)
    return _of_modes("grid", torch.cartesian_prod(axis, axis), 0.025 / math.sqrt(2))


def _spirals() -> Toy:
    # Equal steps along the radius squared are about equal steps along the arm.
    share = torch.linspace(0.02, 1, SPIRAL_CENTRES, dtype=torch.float64).sqrt()
    angle = 2 * math.pi * SPIRAL_TURNS * share
    arm = 2 * share[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    groups = torch.arange(2).repeat_interleave(SPIRAL_CENTRES)
    return Toy("spirals", torch.cat([arm, -arm]), 0.1, groups, modes=False)


def _of_modes(name: str, means: Tensor, deviation: float) -> Toy:
    return Toy(name, means, deviation, torch.arange(len(means)), modes=True)


_TOYS: dict[str, Callable[[], Toy]] = {
    "normal": _normal,
    "line": _line,
    "ring": _ring,
    "grid": _grid,
    "spirals": _spirals,
}
