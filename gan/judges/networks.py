"""The networks of the judge: a convolutional body, a linear head, a decoder."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from gan.errors import shown

# Channels double with every halving of the image, up to this many times the width.
MAX_WIDENING = 8
# Of anything that an architecture counts; far more than any network here is for.
MOST = 1 << 20

JudgeKind = Literal["classifier", "autoencoder"]


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a judge's networks again."""

    kind: JudgeKind
    channels: int
    size: int
    width: int
    features: int
    classes: int  # 0 for an autoencoder

    def __post_init__(self) -> None:
        """Raise ValueError where there are no such networks."""
        for name in ("channels", "size", "width", "features", "classes"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= MOST:
                raise ValueError(f"{name} is {shown(value)}: expected a number 0 to {MOST}")
        if self.kind not in get_args(JudgeKind):
            expected = " or ".join(get_args(JudgeKind))
            raise ValueError(f"kind is {shown(self.kind)}: expected {expected}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels are {self.channels}: expected 1 or 3")
        if self.size < 8 or self.size & (self.size - 1):
            raise ValueError(f"size is {self.size}: expected 8, 16, 32, 64, 128, …")
        if (self.classes > 0) != (self.kind == "classifier"):
            raise ValueError(f"a judge of the kind {self.kind} has {self.classes} classes")

    @property
    def widths(self) -> list[int]:
        """Channels after each halving of the image, from `size` down to 4×4."""
        count = int(math.log2(self.size // 4))
        return [self.width * min(2**index, MAX_WIDENING) for index in range(count)]


def build_body(architecture: Architecture) -> nn.Module:
    """Images `[B, C, S, S]` in [−1, 1] to features `[B, features]`.

    A classifier's features are those behind the last ReLU, an autoencoder's are its bottleneck.
    """
    layers: list[nn.Module] = []
    inputs = architecture.channels
    for outputs in architecture.widths:
        # The stride is in the first convolution already: four times cheaper than a full-size one,
        # and no less accurate on digits.
        layers += [
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
        inputs = outputs
    layers += [nn.Flatten(), nn.Linear(16 * inputs, architecture.features)]
    # No batch norm before a classifier's features: it would scale directions that hardly vary up to
    # the others, and distances would be mostly theirs. A bottleneck has no such directions.
    classifier = architecture.kind == "classifier"
    layers.append(nn.ReLU() if classifier else nn.BatchNorm1d(architecture.features))
    return nn.Sequential(*layers)


def build_head(architecture: Architecture) -> nn.Module:
    """Features `[B, features]` to class logits `[B, classes]`."""
    return nn.Linear(architecture.features, architecture.classes)


def build_decoder(architecture: Architecture) -> nn.Module:
    """Features `[B, features]` to images `[B, C, S, S]` in [−1, 1]; needed for fitting only."""
    widths = architecture.widths[::-1]
    layers: list[nn.Module] = [
        nn.Linear(architecture.features, 16 * widths[0], bias=False),
        nn.Unflatten(1, (widths[0], 4, 4)),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [
            nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    layers += [
        nn.ConvTranspose2d(widths[-1], architecture.channels, 4, stride=2, padding=1),
        nn.Tanh(),
    ]
    return nn.Sequential(*layers)


def materialise(network: nn.Module, device: torch.device, rng: torch.Generator) -> nn.Module:
    """Give a network that was built on the meta device its storage and initial values.

    Weights are uniform in ±1/√fan_in, as PyTorch's own; behind batch norm small weights learn
    faster, and on MNIST these made half the errors of He initialisation (0.9 % against 1.7 %).
    They come from `rng` alone, a CPU generator: the global one is neither read nor moved, and
    every device starts alike.
    """
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.reset_parameters()
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    network.to(device=device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def shift_randomly(images: Tensor, furthest: int, rng: torch.Generator) -> Tensor:
    """Move every image of `[B, C, H, W]` by up to `furthest` pixels each way; edges repeat."""
    if furthest == 0:
        return images
    count, channels, height, width = images.shape
    offsets = torch.randint(-furthest, furthest + 1, (2, count, 1), generator=rng)
    offsets = offsets.to(images.device)
    rows = (offsets[0] + torch.arange(height, device=images.device)).clamp(0, height - 1)
    columns = (offsets[1] + torch.arange(width, device=images.device)).clamp(0, width - 1)
    image = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
