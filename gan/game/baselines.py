"""What `reinforce` compares the log weights of its samples with, to make its variance small.

What is subtracted for a sample does not depend on that sample, and so leaves the estimate unbiased:
either the baseline learns from samples only after it was used on them, or it looks at the others.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusedgan_kernels import update_log_z
from gan.config import DiscreteConfig
from gan.game.estimators import leave_one_out
from gan.game.optimisers import load_optimiser_state, make_optimiser, optimiser_state
from gan.runtime import stream_seed

# Of the learned baseline.
WIDTH = 64
LEARNING_RATE = 1e-3


class Baseline(Protocol):
    """b of log w − b − 1."""

    def __call__(self, latent: Tensor, log_weights: Tensor) -> Tensor:
        """What is subtracted from log weights `[M, B]` of samples of latent vectors `[B, Z]`.

        0-d, `[B]` or `[M, B]`, fp32, without a gradient.
        """

    def update(self, latent: Tensor, log_weights: Tensor) -> None:
        """Learn from the log weights `[M, B]` of samples of `latent` `[B, Z]`."""

    def state_dict(self) -> dict[str, Any]:
        """All that it is: tensors and plain Python values only."""

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


class Nothing:
    """b = 0."""

    def __init__(self, device: torch.device) -> None:
        self._zero = torch.zeros((), device=device)

    def __call__(self, latent: Tensor, log_weights: Tensor) -> Tensor:
        """0, 0-d."""
        return self._zero

    def update(self, latent: Tensor, log_weights: Tensor) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Go on with nothing."""


class LeaveOneOut(Nothing):
    """b of a sample: the mean of log w − 1 over the other samples of its latent vector.

    `gan.game.estimators.leave_one_out`. It has nothing to learn, and is there for every latent
    vector from the first step on. The −1 goes with it, as with `Learned`.
    """

    def __call__(self, latent: Tensor, log_weights: Tensor) -> Tensor:
        """`[M, B]`."""
        return leave_one_out(log_weights) - 1


class MovingAverage:
    """b = log β, an exponential moving average of log Z over batches, from 0 on.

    Hjelm et al. 2018 (arXiv 1702.08431), section 2.3; `kernels.update_log_z`.
    """

    def __init__(self, rate: float, device: torch.device) -> None:
        self._rate = rate
        self._log_z = torch.zeros((), device=device)

    def __call__(self, latent: Tensor, log_weights: Tensor) -> Tensor:
        """The same for all latent vectors, 0-d."""
        # A copy: `update` writes into the original.
        return self._log_z.clone()

    def update(self, latent: Tensor, log_weights: Tensor) -> None:
        """Take in the log Z of a batch `[M, B]`."""
        self._log_z.copy_(update_log_z(self._log_z, log_weights, rate=self._rate))

    def state_dict(self) -> dict[str, Any]:
        """The average."""
        return {"log_z": self._log_z}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Go on from another average."""
        self._log_z.copy_(content["log_z"])


class Learned:
    """b(z), a network with one hidden layer, drawn by least squares to what it is subtracted from.

    That is the mean of log w − 1 over the samples of z (NVIL, Mnih & Gregor 2014, arXiv 1402.0030,
    has such a baseline): the −1, which the gradient does not need and its variance pays for, goes
    with it.
    """

    def __init__(self, latent_size: int, seed: int, device: torch.device) -> None:
        """A network that says 0 to everything at first.

        Args:
            latent_size: Z.
            seed: of its weights.
            device: where it computes.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            last = nn.Linear(WIDTH, 1)
            network = nn.Sequential(nn.Linear(latent_size, WIDTH), nn.ReLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self._network = network.to(device)
        self._optimiser = make_optimiser(
            "adam",
            self._network.parameters(),
            learning_rate=LEARNING_RATE,
            betas=(0.9, 0.999),
            recordable=True,
        )

    @torch.no_grad()
    def __call__(self, latent: Tensor, log_weights: Tensor) -> Tensor:
        """`[B]`."""
        values: Tensor = self._network(latent)
        return values.squeeze(1)

    def update(self, latent: Tensor, log_weights: Tensor) -> None:
        """One step of least squares."""
        wanted = log_weights.detach().mean(0) - 1  # [B]
        self._optimiser.zero_grad()
        F.mse_loss(self._network(latent).squeeze(1), wanted).backward()
        self._optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Network and optimiser."""
        return {
            "network": self._network.state_dict(),
            "optimiser": optimiser_state(self._optimiser),
        }

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Go on from another network."""
        self._network.load_state_dict(content["network"])
        load_optimiser_state(self._optimiser, content["optimiser"])


def make_baseline(
    config: DiscreteConfig, latent_size: int, seed: int, device: torch.device
) -> Baseline:
    """The baseline that `objective.discrete` names.

    Args:
        config: `baseline` and `baseline_rate` are used.
        latent_size: of the latent vectors that it will see.
        seed: of the run.
        device: where it computes.
    """
    if config.baseline == "learned":
        return Learned(latent_size, stream_seed(seed, "baseline"), device)
    if config.baseline == "moving_average":
        return MovingAverage(config.baseline_rate, device)
    return LeaveOneOut(device) if config.baseline == "leave_one_out" else Nothing(device)
