"""The averaged generator: an exponential moving average over the images seen."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gan.models.base import Network
from gan.private import lerp_all_


def averaged_copy(network: Network) -> Network:
    """A copy of `network` to be averaged into, in evaluation mode and without gradients."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def decay(images_seen: int, batch_size: int, half_life: float, warmup: float) -> float:
    """How much of the average stays when `batch_size` more images have been seen.

    `0.5 ** (batch_size / h)`, where h is the half-life, but at most the share `warmup` of the
    images seen so far, so that the average does not drag the first steps along (Karras et al.
    2021, arXiv 2106.12423, the `ema_rampup` of their training loop). `warmup` 0 means none.
    """
    if warmup > 0:
        half_life = min(half_life, images_seen * warmup)
    return 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0


def update(average: nn.Module, network: nn.Module, kept: float) -> None:
    """Move `average` towards `network`, buffers included; `kept` is the share that stays.

    Integer buffers, which count, are copied.
    """
    device = next(average.parameters()).device
    move(average, network, torch.tensor(1 - kept, device=device))


@torch.no_grad()
def move(average: nn.Module, network: nn.Module, share: Tensor) -> None:
    """As `update`; `share` of the way, fp32, 0-d, on their device: 1 − `kept`."""
    ours, theirs = _tensors(average), _tensors(network)
    floats = [index for index, value in enumerate(ours) if value.is_floating_point()]
    lerp_all_([ours[i] for i in floats], [theirs[i] for i in floats], share)
    for mine, other in zip(ours, theirs, strict=True):
        if not mine.is_floating_point():
            mine.copy_(other)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
