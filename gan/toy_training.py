"""What can be seen of a training run on a toy, where the truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gan.metrics.divergences import Optimum, compare_with_optimum, make_boxes
from gan.models.base import evaluating
from gan.runtime import stream_seed
from gan.sampling import generate
from gan.toy_figures import Snapshot, take_snapshot
from gan.toys import Toy

if TYPE_CHECKING:
    from gan.training import Trainer

OBSERVED = 10_000  # samples of a snapshot
COMPARED = 50_000  # points of either kind in the comparison with theory


def observe(trainer: Trainer, toy: Toy) -> Snapshot:
    """The game as it stands: both players as they play, not the averaged generator.

    Changes nothing of the trainer, its random numbers included.
    """
    drawn = _samples(trainer, OBSERVED)
    with evaluating(trainer.discriminator) as discriminator:
        return take_snapshot(trainer.step, drawn, discriminator, toy)


def optimum(trainer: Trainer, toy: Toy) -> Optimum | None:
    """The discriminator against p/(p + q), and V(D, G) against 2·JSD − log 4.

    None where the discriminator plays another game than `gan`: its logit means something else.
    """
    if trainer.config.objective.discriminator != "gan":
        return None
    rng = torch.Generator().manual_seed(stream_seed(trainer.config.seed, "toy comparison"))
    real = toy.sample(COMPARED, rng)[0].float().to(trainer.device)
    with evaluating(trainer.discriminator) as discriminator:
        return compare_with_optimum(
            discriminator, real, _samples(trainer, COMPARED), make_boxes(toy)
        )


def _samples(trainer: Trainer, count: int) -> Tensor:
    """Of the generator that plays, from the same latent each time, fp32 `[count, D]`."""
    # Drawn on the CPU: the same latent on every device.
    rng = torch.Generator().manual_seed(stream_seed(trainer.config.seed, "toy latent"))
    latent = trainer.generator.draw_latent(count, rng)
    points = np.concatenate(list(generate(trainer.generator, latent, 8192)))
    return torch.from_numpy(points).to(trainer.device)
