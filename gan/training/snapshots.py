"""Moments of a training run, as arrays: what the samples were like at a step.

Of points, whose density is known, a moment also holds what the discriminator says all around the
data, so that the game itself can be drawn, as in figure 1 of Goodfellow et al. 2014.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan.errors import StateError, reading, shown
from gan.game.players import Players
from gan.generators.sampling import generate
from gan.metrics.divergences import Optimum, compare_with_optimum, make_boxes
from gan.models.base import Generator, evaluating
from gan.pixels import Kind
from gan.runtime import stream_seed
from gan.tensor_file import read_tensors, refuse, write_tensors
from gan.toys import Toy

# What stands in the name of a file.
FILE_KIND = "snapshot"
FORMAT_VERSION = 2

OBSERVED = 10_000  # points of a snapshot
COMPARED = 50_000  # points of either kind in the comparison with theory
MARGIN = 0.2  # of the data's extent, on every side
LATTICE = {1: 401, 2: 121}  # places a side at which the discriminator is asked, by dimension
# What samples are in a file, by their kind: dtypes and axes.
_SAMPLES = {
    "images": ((torch.uint8,), 4),
    "points": ((torch.float32,), 2),
    "text": ((torch.uint8, torch.uint16), 2),
    "labels": ((torch.float32,), 2),
}
# Early on much happens: snapshots of these steps, of ten times these, and so on.
EARLY = (1, 2, 5)


@dataclass(frozen=True)
class Snapshot:
    """The game at one step.

    Attributes:
        step: rounds so far.
        kind: what the samples are.
        samples: images, uint8 `[N, C, S, S]`, symbols of texts, uint8 or uint16 `[N, L]`, both of
            the averaged generator from the same latent vectors at every step; of a classifier
            probabilities, fp32 `[N, V]`, of the labels of the first training images; points, fp32
            `[N, D]`, of the generator that plays.
        logits: of points of a toy: of the discriminator on `lattice(toy)`, fp32 `[places]` or
            `[places, places]`. None of all others.
        probabilities: whether σ(logit) is the probability that a point is real, rather than a
            critic's value.
    """

    step: int
    kind: Kind
    samples: npt.NDArray[np.generic]
    logits: Tensor | None = None
    probabilities: bool = True


def snapshot_steps(steps: int, sample_every: int) -> list[int]:
    """The steps at which a run of `steps` steps takes a snapshot.

    The start, 1, 2, 5, 10, 20 … until `sample_every`, then every `sample_every`, and the end.
    """
    early = []
    scale = 1
    while scale < sample_every:
        early += [factor * scale for factor in EARLY]
        scale *= 10
    wanted = {step for step in early if step < min(sample_every, steps)}
    return sorted({0, *wanted, *range(sample_every, steps + 1, sample_every), steps})


def snapshot_path(folder: str | os.PathLike[str], step: int) -> Path:
    """Where in `folder` the snapshot of `step` stands."""
    return Path(folder) / f"step-{step:09d}.safetensors"


def take_snapshot(
    step: int, players: Players, average: Generator, count: int, toy: Toy | None = None
) -> Snapshot:
    """The game at `step`. Changes nothing of the players, their random numbers included.

    Args:
        step: rounds so far.
        players: of the game.
        average: the averaged generator.
        count: samples, where they are not points.
        toy: the density of the data, where it is known.
    """
    if average.kind != "points":
        return Snapshot(step, average.kind, players.shown(average, count))
    drawn = _points(players, OBSERVED)
    if toy is None:
        return Snapshot(step, "points", drawn)
    with evaluating(players.discriminator) as discriminator:
        logits = ask_around(discriminator, toy, players.device)
    return Snapshot(step, "points", drawn, logits, _gives_probabilities(players))


def save_snapshot(snapshot: Snapshot, path: str | os.PathLike[str]) -> None:
    """Write `snapshot` to `path` (safetensors), whole or not at all."""
    tensors = {"samples": torch.from_numpy(np.ascontiguousarray(snapshot.samples))}
    if snapshot.logits is not None:
        tensors["logits"] = snapshot.logits
    write_tensors(
        path,
        tensors,
        kind=FILE_KIND,
        version=FORMAT_VERSION,
        description={
            "step": snapshot.step,
            "kind": snapshot.kind,
            "probabilities": snapshot.probabilities,
        },
    )


def load_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """Load what `save_snapshot` wrote.

    Raises:
        StateError: the file is missing, damaged, or no snapshot.
    """
    path = Path(path)
    with reading(path, f"a {FILE_KIND}", StateError):
        description, tensors = read_tensors(
            path, kind=FILE_KIND, version=FORMAT_VERSION, device="cpu"
        )
        step, kind = description["step"], description["kind"]
        samples, logits = tensors["samples"], tensors.get("logits")
        dtypes, axes = _SAMPLES.get(kind, ((), 0))
        whole = (
            type(step) is int
            and step >= 0
            and type(description["probabilities"]) is bool
            and samples.dtype in dtypes
            and samples.ndim == axes
            and (logits is None or (logits.dtype == torch.float32 and logits.ndim in LATTICE))
        )
        if not whole:
            refuse(
                path,
                FILE_KIND,
                f"found step {shown(step, 40)}, kind {shown(kind, 40)} with samples "
                f"{samples.dtype} {shown(list(samples.shape), 40)}, expected those of a snapshot",
            )
        return Snapshot(step, kind, samples.numpy(), logits, description["probabilities"])


def load_snapshots(folder: str | os.PathLike[str]) -> list[Snapshot]:
    """All snapshots in `folder`, in the order of their steps.

    Raises:
        StateError: there are none, or one cannot be read.
    """
    paths = sorted(Path(folder).glob("step-*.safetensors"))
    if not paths:
        raise StateError(f"{folder} has no snapshots of a training run: run train again")
    return [load_snapshot(path) for path in paths]


def lattice(toy: Toy) -> Tensor:
    """Places around the data at which a discriminator is asked, fp32 `[places^D, D]`.

    In two dimensions the first coordinate varies slowest.
    """
    axes = [torch.linspace(low, high, LATTICE[toy.dimensions]) for low, high in surroundings(toy)]
    return torch.cartesian_prod(*axes).reshape(-1, toy.dimensions)


def surroundings(toy: Toy) -> list[tuple[float, float]]:
    """Lowest and highest coordinate of the lattice, in each dimension."""
    spans = toy.extent(3.0)
    return [(low - MARGIN * (high - low), high + MARGIN * (high - low)) for low, high in spans]


@torch.no_grad()
def ask_around(
    discriminator: Callable[[Tensor], Tensor], toy: Toy, device: torch.device | str = "cpu"
) -> Tensor:
    """What a discriminator says on `lattice(toy)`, fp32 `[places]` or `[places, places]`.

    Args:
        discriminator: fp32 points `[B, D]`, on `device`, to logits `[B]`.
        toy: the data.
        device: the discriminator's.
    """
    logits = discriminator(lattice(toy).to(device))
    shape = [LATTICE[toy.dimensions]] * toy.dimensions
    return logits.float().cpu().reshape(shape)


def optimum(players: Players, toy: Toy) -> Optimum | None:
    """The discriminator against p/(p + q), and V(D, G) against 2·JSD − log 4.

    None where the discriminator plays another game than `gan`: its logit means something else.
    """
    if not _gives_probabilities(players):
        return None
    rng = torch.Generator().manual_seed(stream_seed(players.config.seed, "toy comparison"))
    real = toy.sample(COMPARED, rng)[0].float().to(players.device)
    fake = torch.from_numpy(_points(players, COMPARED)).to(players.device)
    with evaluating(players.discriminator) as discriminator:
        return compare_with_optimum(discriminator, real, fake, make_boxes(toy))


def _gives_probabilities(players: Players) -> bool:
    return players.config.objective.discriminator == "gan"


def _points(players: Players, count: int) -> npt.NDArray[np.float32]:
    """Of the generator that plays, from the same latent each time, fp32 `[count, D]`."""
    # Drawn on the CPU: the same latent on every device.
    rng = torch.Generator().manual_seed(stream_seed(players.config.seed, "toy latent"))
    latent = players.generator.draw_latent(count, rng)
    return np.concatenate(list(generate(players.generator, latent, 8192)))
