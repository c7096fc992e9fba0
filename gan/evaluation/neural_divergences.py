"""Neural divergences: what fresh discriminators, all alike, find between samples and held-out data.

A divergence that a game is trained on favours that game, and its own discriminator is at its
limit. So new ones are trained afterwards, on half of the samples and half of the held-out data,
and the divergence is the value that they reach on the other halves (Hjelm et al. 2018, section 4.2;
Im et al. 2018, arXiv 1803.01045). Each is a lower bound of the true one, up to the noise of the
half it is measured on, and comparable between generators, not between data sets.

The discriminator is the same for every divergence, the project's own for images or points, small
and unnormalised. It starts as F = 0, where every bound is 0; of what it was during training the
one counts that did best on a part of the training half held back for that. So a discriminator that
learns nothing but its training samples by heart gives 0, not something negative.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from fusedgan_kernels import DiscriminatorLossName, discriminator_loss
from gan.config import ModelConfig
from gan.data.limits import FEWEST_FOR_NEURAL as MIN_EXAMPLES
from gan.errors import UserError
from gan.game.penalties import interpolate, one_lipschitz, squared_slopes
from gan.metrics.records import Scattered
from gan.models import build_discriminator
from gan.pixels import Examples, to_network
from gan.runtime import stream_seed

WIDTH = {"images": 16, "points": 64}
BATCH = 64
LEARNING_RATE = 1e-3
BETAS = (0.5, 0.9)
GRADIENT_PENALTY = 10.0
VALIDATION_SHARE = 0.25  # of the training half
CHECKS = 20  # looks at the validation part, evenly spread over the steps
EVALUATED = 1024  # samples that pass through a discriminator at once, with a slope to be kept


class NeuralDivergence(NamedTuple):
    """One divergence between two distributions P and Q.

    Attributes:
        loss: the discriminator's loss, whose negative bounds it, as `kernels` names it.
        scale: the divergence is this much of the bound.
        gradient_penalty: whether the discriminator's slope is to be 1; by a larger one the value is
            divided.
        limit: the discriminator says limit·tanh(F/limit). A bound holds for any function, and this
            one keeps a single outlier, whose term is exponential in F, from ruling the estimate.
    """

    loss: DiscriminatorLossName
    scale: float
    gradient_penalty: bool
    limit: float | None = None


DIVERGENCES = {
    # D_f(P‖Q) of `jensen_shannon` is twice the Jensen–Shannon divergence.
    "jensen_shannon": NeuralDivergence("jensen_shannon", 0.5, gradient_penalty=False),
    # Up to 6 nats can be told.
    "reverse_kl": NeuralDivergence("reverse_kl", 1.0, gradient_penalty=False, limit=5.0),
    "wasserstein": NeuralDivergence("wasserstein", 1.0, gradient_penalty=True),
}


class Estimate(NamedTuple):
    """A divergence over several seeds.

    Attributes:
        mean: over seeds, in nats, for `wasserstein` in the units of the networks' input.
        deviation: between seeds.
    """

    mean: float
    deviation: float


def neural_divergences(
    samples: Examples,
    held_out: Examples,
    *,
    steps: int,
    seeds: int,
    seed: int,
    device: torch.device,
    progress: bool = True,
) -> dict[str, Estimate]:
    """Every one of `DIVERGENCES` of the held-out data P from the samples Q.

    Args:
        samples: uint8 `[N, C, S, S]` or fp32 `[N, D]`.
        held_out: data that no generator has seen, of the same kind. Of the larger of both only as
            many are used as there are of the smaller.
        steps: of each discriminator.
        seeds: discriminators a divergence, each with other halves, weights and batches.
        seed: of all of these.
        device: where they are trained.
        progress: show a bar.

    Raises:
        UserError: other shapes, or fewer than `MIN_EXAMPLES` of either.
    """
    if samples.shape[1:] != held_out.shape[1:]:
        raise UserError(
            f"samples are {list(samples.shape[1:])} and held-out data {list(held_out.shape[1:])}: "
            "expected one shape"
        )
    count = min(len(samples), len(held_out))
    if count < MIN_EXAMPLES:
        raise UserError(
            f"there are {len(samples)} samples and {len(held_out)} held-out examples: neural "
            f"divergences need at least {MIN_EXAMPLES} of either"
        )
    found: dict[str, list[float]] = {name: [] for name in DIVERGENCES}
    with tqdm(
        total=seeds * len(DIVERGENCES), desc="neural divergences", unit="D", disable=not progress
    ) as bar:
        for index in range(seeds):
            streams = stream_seed(seed, f"neural divergences {index}")
            halves = _Halves.draw(held_out, samples, count, streams, device)
            for name, divergence in DIVERGENCES.items():
                found[name].append(_estimate(divergence, halves, steps, streams))
                bar.update()
    return {
        name: Estimate(statistics.fmean(values), statistics.pstdev(values))
        for name, values in found.items()
    }


def with_floor(
    samples: Examples,
    held_out: Examples,
    training: Examples,
    *,
    steps: int,
    seeds: int,
    seed: int,
    device: torch.device,
    progress: bool = True,
) -> dict[str, Scattered]:
    """`neural_divergences` beside their floors.

    The floor is the same with training data in place of the samples, as many of them.
    """
    count = min(len(samples), len(held_out), len(training))
    chosen = np.random.default_rng(stream_seed(seed, "neural floor")).permutation(len(training))

    def found(examples: Examples) -> dict[str, Estimate]:
        return neural_divergences(
            examples,
            held_out,
            steps=steps,
            seeds=seeds,
            seed=seed,
            device=device,
            progress=progress,
        )

    values, floors = found(samples[:count]), found(training[np.sort(chosen[:count])])
    return {
        name: Scattered(
            value=value.mean,
            deviation=value.deviation,
            floor=floors[name].mean,
            floor_deviation=floors[name].deviation,
        )
        for name, value in values.items()
    }


class _Halves(NamedTuple):
    """Real and generated examples, `(real, fake)`, as the networks take them."""

    training: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    evaluation: tuple[Tensor, Tensor]

    @classmethod
    def draw(
        cls, real: Examples, fake: Examples, count: int, seed: int, device: torch.device
    ) -> _Halves:
        """`count` of either, in random order, shared out."""
        rng = torch.Generator().manual_seed(seed)
        half = count // 2
        kept = half - max(1, round(VALIDATION_SHARE * half))
        parts: list[Sequence[Tensor]] = []
        for examples in (real, fake):
            chosen = torch.randperm(len(examples), generator=rng)[:count].numpy()
            rows = to_network(torch.from_numpy(examples[chosen])).to(device)
            parts.append(rows.split([kept, half - kept, count - half]))
        ours, theirs = parts
        return cls(*((ours[index], theirs[index]) for index in range(3)))


def _estimate(divergence: NeuralDivergence, halves: _Halves, steps: int, seed: int) -> float:
    """What one fresh discriminator finds on the evaluation half."""
    device = halves.training[0].device
    discriminator = _fresh(halves.training[0].shape[1:], seed, divergence.limit).to(device)
    optimiser = torch.optim.Adam(
        discriminator.parameters(), lr=LEARNING_RATE, betas=BETAS, fused=True
    )
    rng = torch.Generator(device).manual_seed(seed)
    every = max(1, steps // CHECKS)
    best, best_weights = 0.0, copy.deepcopy(discriminator.state_dict())
    for step in range(1, steps + 1):
        real, fake = (_batch(part, rng) for part in halves.training)
        loss = discriminator_loss(
            discriminator(real), discriminator(fake), loss=divergence.loss
        )  # [] fp32
        if divergence.gradient_penalty:
            between = interpolate(real, fake, rng).requires_grad_()
            loss = loss + GRADIENT_PENALTY * one_lipschitz(discriminator(between), between)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % every == 0:
            bound = _bound(divergence, discriminator, halves.validation)
            if bound > best:
                best, best_weights = bound, copy.deepcopy(discriminator.state_dict())
    discriminator.load_state_dict(best_weights)
    return divergence.scale * _bound(divergence, discriminator, halves.evaluation)


class _Limited(nn.Module):
    """A discriminator whose logits stay within ± a limit."""

    def __init__(self, discriminator: nn.Module, limit: float) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.limit = limit

    def forward(self, examples: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(examples)  # [B]
        return self.limit * torch.tanh(logits / self.limit)


def _fresh(shape: Sequence[int], seed: int, limit: float | None = None) -> nn.Module:
    """A small discriminator of examples of `shape` that says 0 to everything."""
    kind = "images" if len(shape) == 3 else "points"
    config = ModelConfig(
        name="dcgan" if kind == "images" else "mlp",
        discriminator_width=WIDTH[kind],
        discriminator_norm="none",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        discriminator = build_discriminator(config, shape)
    *_, last = (each for each in discriminator.modules() if isinstance(each, nn.Linear))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return discriminator if limit is None else _Limited(discriminator, limit)


def _batch(examples: Tensor, rng: torch.Generator) -> Tensor:
    index = torch.randint(len(examples), (BATCH,), generator=rng, device=examples.device)
    return examples[index]


def _bound(
    divergence: NeuralDivergence, discriminator: nn.Module, part: tuple[Tensor, Tensor]
) -> float:
    """What `discriminator` shows on `part`, before `scale`."""
    with torch.no_grad():
        real, fake = (
            torch.cat([discriminator(block) for block in examples.split(EVALUATED)])
            for examples in part
        )
        value = -discriminator_loss(real, fake, loss=divergence.loss).item()
    if not divergence.gradient_penalty:
        return value
    # The penalty holds the slope near 1 in the end, but not on the way there.
    return value / max(1.0, _slope(discriminator, part))


def _slope(discriminator: nn.Module, part: tuple[Tensor, Tensor]) -> float:
    """The root of the mean squared slope half-way between pairs of `part`."""
    total, count = 0.0, min(map(len, part))
    for real, fake in zip(*(examples[:count].split(EVALUATED) for examples in part), strict=True):
        between = torch.lerp(real, fake, 0.5).requires_grad_()
        total += squared_slopes(discriminator(between), between).sum().item()
    return math.sqrt(total / count)
