"""How far points are from a density that is known: divergences, distances, modes.

KL, reverse KL and Jensen–Shannon are computed on boxes that cover all of space: the mass of the
data in each is exact, that of the samples their share. What that does to a value:

- putting points into boxes can only lower a divergence (data processing inequality), for two
  dimensions and boxes one σ wide by what happens within a σ;
- a share of N samples strays from its mass, which raises reverse KL by (boxes with samples) / 2N
  and up to half as much again, Jensen–Shannon by about a quarter of that, and KL by more.

Both vanish in a comparison with the floor, the same of N points drawn from the density itself. All
values are in nats, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gan.metrics.checks import as_float64, check_same_width
from gan.toys import Toy

# Boxes per σ along each coordinate, by dimension: in two, finer boxes would stay empty.
BOXES_A_DEVIATION = {1: 4, 2: 1}
DIRECTIONS = 64  # of the sliced Wasserstein distance
GOOD_DEVIATIONS = 3.0  # a sample this near a mode is good (Srivastava et al. 2017)


@dataclass(frozen=True, eq=False)
class Boxes:
    """A grid over the extent of a toy whose outermost boxes reach to infinity.

    Attributes:
        toy: whose masses these are.
        edges: one float64 `[B_d + 1]` a dimension, from −∞ to ∞.
        log_mass: log of the exact mass of each box, float64 `[∏ B_d]`, the last dimension fastest.
    """

    toy: Toy
    edges: list[Tensor]
    log_mass: Tensor

    def index(self, points: Tensor) -> Tensor:
        """The box of each of `points` `[N, D]`: int64 `[N]`."""
        flat = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        for dimension, edges in enumerate(self.edges):
            inner = edges[1:-1].to(points.device)
            column = points[:, dimension].double().contiguous()
            flat = flat * (len(edges) - 1) + torch.bucketize(column, inner, right=True)
        return flat

    def counts(self, points: Tensor) -> Tensor:
        """How many of `points` `[N, D]` fall into each box: float64 `[∏ B_d]`."""
        return torch.bincount(self.index(points), minlength=len(self.log_mass)).double().cpu()


@dataclass(frozen=True)
class Divergences:
    """Of samples Q from the data P, in nats.

    Attributes:
        jensen_shannon: ½ KL(P‖M) + ½ KL(Q‖M), M = ½ (P + Q); between 0 and log 2.
        kl: KL(P‖Q), large where the samples miss something. Infinite for any finite number of
            samples; here one more sample, spread as the data, is added to the N, so that it is at
            most log(N + 1).
        reverse_kl: KL(Q‖P), large where the samples are and the data are not. Without bound: a
            sample d away from every mode costs d²/2σ².
    """

    jensen_shannon: float
    kl: float
    reverse_kl: float


def make_boxes(toy: Toy) -> Boxes:
    """The boxes of `toy`: 1/4 σ wide in one dimension, σ in two, out to 5 σ around the means."""
    edges = []
    for low, high in toy.extent():
        count = math.ceil((high - low) / toy.deviation * BOXES_A_DEVIATION[toy.dimensions])
        inner = torch.linspace(low, high, count + 1, dtype=torch.float64)
        ends = torch.tensor([math.inf], dtype=torch.float64)
        edges.append(torch.cat([-ends, inner, ends]))
    log_mass = toy.log_interval_mass(edges[0], 0)  # [K, B]
    for dimension in range(1, toy.dimensions):
        along = toy.log_interval_mass(edges[dimension], dimension)
        log_mass = (log_mass[:, :, None] + along[:, None, :]).flatten(1)
    return Boxes(toy, edges, log_mass.logsumexp(0) - math.log(len(toy.means)))


def divergences(samples: Tensor, boxes: Boxes) -> Divergences:
    """KL, reverse KL and Jensen–Shannon divergence of `samples` `[N, D]` from the boxes' toy.

    Raises:
        UserError: another shape or dtype, no samples, or values that are not finite.
    """
    count = len(_checked("samples", samples, boxes.toy))
    n = boxes.counts(samples)
    q, log_p = n / count, boxes.log_mass
    p, zero = log_p.exp(), torch.zeros_like(log_p)
    # Empty boxes apart, in logarithms: far from the data a mass underflows in float64.
    empty = n == 0
    log_smoothed = torch.where(empty, log_p, (n + p).log()) - math.log(count + 1)
    log_middle = torch.where(empty, log_p, (p + q).log()) - math.log(2)
    kl = (p * (log_p - log_smoothed)).sum()
    reverse_kl = torch.where(empty, zero, q * (q.log() - log_p)).sum()
    of_data = (p * (log_p - log_middle)).sum()
    of_samples = torch.where(empty, zero, q * (q.log() - log_middle)).sum()
    return Divergences(float((of_data + of_samples) / 2), float(kl), float(reverse_kl))


def wasserstein_1(a: Tensor, b: Tensor, directions: int = DIRECTIONS) -> float:
    """Wasserstein-1 distance between points `[N, D]` and `[M, D]`.

    In one dimension ∫ |F_a − F_b| by sorting, exact. In two the sliced distance, the mean of that
    over `directions` evenly spaced directions (Bonneel et al. 2015): at most the true distance, and
    2/π of it for a mere shift. In more the directions are random, the same every time.

    Raises:
        UserError: other shapes or dtypes, no points, or values that are not finite.
    """
    a, b = as_float64("a", a), as_float64("b", b)
    check_same_width("a", a, "b", b)
    if a.shape[1] > 1:
        slices = _directions(a.shape[1], directions).to(a.device)  # [D, R]
        a, b = a @ slices, b @ slices
    a, b = a.T.sort(1).values.contiguous(), b.T.sort(1).values.contiguous()  # [R, N], [R, M]
    if a.shape == b.shape:
        return float((a - b).abs().mean())
    both = torch.cat([a, b], 1).sort(1).values
    left = both[:, :-1].contiguous()
    share_a = torch.searchsorted(a, left, right=True).double() / a.shape[1]
    share_b = torch.searchsorted(b, left, right=True).double() / b.shape[1]
    return float(((share_a - share_b).abs() * both.diff(dim=1)).sum(1).mean())


def _directions(dimensions: int, count: int) -> Tensor:
    """Unit vectors, float64 `[dimensions, count]`."""
    if dimensions == 2:
        angles = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count)
        return torch.stack([angles.cos(), angles.sin()])
    rng = torch.Generator().manual_seed(0)
    normal = torch.randn(dimensions, count, generator=rng, dtype=torch.float64)
    return F.normalize(normal, dim=0)


@dataclass(frozen=True)
class Modes:
    """Where samples are, for toys of modes and of arms alike.

    Attributes:
        hit: modes that hold enough good samples.
        good_share: share of the samples within three σ of a component's mean. Of the data
            themselves erf(3/√2) = 99.7 % in one dimension, 1 − exp(−9/2) = 98.9 % in two.
        shares: share of all samples that are good and nearest to each mode or arm.
    """

    hit: int
    good_share: float
    shares: list[float]


def modes(samples: Tensor, toy: Toy, smallest_share: float) -> Modes:
    """Modes hit by `samples` `[N, D]`, and the share of good ones.

    Args:
        samples: floating point.
        toy: what they should be like.
        smallest_share: share of all samples from which a mode counts as hit.

    Raises:
        UserError: another shape or dtype, no samples, or values that are not finite.
    """
    points = _checked("samples", samples, toy)
    groups = int(toy.groups.max()) + 1
    counts = torch.zeros(groups, dtype=torch.int64)
    for block in points.split(65536):
        distances = torch.cdist(block, toy.means.to(block.device))  # [B, K]
        nearest = distances.min(1)
        good = nearest.values <= GOOD_DEVIATIONS * toy.deviation
        owners = toy.groups[nearest.indices[good].cpu()]
        counts += torch.bincount(owners, minlength=groups)
    shares = counts.double() / len(points)
    return Modes(
        hit=int((shares >= smallest_share).sum()),
        good_share=float(shares.sum()),
        shares=shares.tolist(),
    )


@dataclass(frozen=True)
class Optimum:
    """A discriminator against the best one there is (Goodfellow et al. 2014, section 4.1).

    Attributes:
        value: V(D, G) = E_P log D + E_Q log(1 − D).
        bound: 2·JSD − log 4, what no discriminator exceeds, of the boxes: a little low for what
            happens within a box, a little high for the strays of N samples.
        gap: bound − value.
        deviation: E |D(x) − p/(p + q)| over ½ (P + Q), with p and q the masses of x's box.
    """

    value: float
    bound: float
    gap: float
    deviation: float


@torch.no_grad()
def compare_with_optimum(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, boxes: Boxes
) -> Optimum:
    """Hold a discriminator of the game `gan` against theory.

    Args:
        discriminator: fp32 points `[B, D]` to logits `[B]`, D = σ(logit); on the points' device.
        real: points from the density itself, `[N, D]`.
        fake: as many from the generator that the discriminator plays against, `[N, D]`.
        boxes: of the density.

    Raises:
        UserError: other shapes or dtypes, different counts, or values that are not finite.
    """
    _checked("real points", real, boxes.toy)
    count = len(_checked("fake points", fake, boxes.toy, at_least=len(real)))
    real_logits = discriminator(real.float()).double().cpu()
    fake_logits = discriminator(fake.float()).double().cpu()
    value = -float(F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean())
    bound = 2 * divergences(fake, boxes).jensen_shannon - math.log(4)
    p, q = boxes.log_mass.exp(), boxes.counts(fake) / count
    deviations = []
    for points, logits in ((real, real_logits), (fake, fake_logits)):
        box = boxes.index(points).cpu()
        best = p[box] / (p[box] + q[box])
        # A box that holds a fake point but no mass of the data to speak of has 0 / q = 0; one that
        # holds neither can only be a real point's whose mass has underflowed: nothing to compare.
        known = torch.isfinite(best)
        deviations.append((torch.sigmoid(logits) - best)[known].abs().mean())
    return Optimum(value, bound, bound - value, float(sum(deviations)) / 2)


def _checked(name: str, points: Tensor, toy: Toy, at_least: int = 1) -> Tensor:
    rows = as_float64(name, points, at_least=at_least)
    check_same_width(name, rows, f"points of {toy.name}", toy.means)
    return rows
