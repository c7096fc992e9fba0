"""Dense networks for points, as Gulrajani et al. 2017 (arXiv 1704.00028) use on toys.

`depth` hidden layers of one width in either player, 3 of 512 in the paper. ReLU in the generator,
whose last layer is linear; LeakyReLU(0.2) in the discriminator, normalised in all but the first
layer as `discriminator_norm` says. He initialisation; biases uniform in ±1/√fan_in, for with zeros
the first layer of a network of one number would bend everything at the same place.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from gan.config import ModelConfig
from gan.models import base
from gan.models.layers import add_spectral_norm, normalisation
from gan.symbols import Alphabet

NEGATIVE_SLOPE = 0.2


def _dimensions(shape: tuple[int, ...]) -> int:
    """Coordinates of a point."""
    if len(shape) != 1:
        raise ValueError(f"shape is {list(shape)}, expected that of a point, [D]")
    return shape[0]


class Generator(base.Generator):
    """`[B, latent_size]` to points `[B, D]`."""

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        base.refuse_alphabet("mlp", alphabet)
        super().__init__(config, shape)
        widths = [config.latent_size, *[config.generator_width] * config.depth]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], _dimensions(shape)))
        _initialise(self, 0.0)

    def forward(self, latent: Tensor) -> Tensor:
        """`[B, latent_size]` to `[B, D]`."""
        points: Tensor = self.layers(self.flat_latent(latent))
        return points


class Discriminator(base.Discriminator):
    """Points `[B, D]` to logits `[B]`."""

    def __init__(
        self, config: ModelConfig, shape: tuple[int, ...], alphabet: Alphabet | None = None
    ) -> None:
        super().__init__()
        base.refuse_alphabet("mlp", alphabet)
        widths = [_dimensions(shape), *[config.discriminator_width] * config.depth]
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            norm = config.discriminator_norm if index else "none"
            layers += [nn.Linear(inputs, outputs), normalisation(norm, outputs, 0)]
            layers.append(nn.LeakyReLU(NEGATIVE_SLOPE))
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        _initialise(self, NEGATIVE_SLOPE)
        if config.spectral_norm:
            add_spectral_norm(self)

    def forward(self, points: Tensor) -> Tensor:
        """`[B, D]` to `[B]`."""
        logits: Tensor = self.layers(points)  # [B, 1]
        return logits.squeeze(1)


def _initialise(network: nn.Module, slope: float) -> None:
    """He's variance for the activation of that negative slope; a dense layer's own biases."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=slope, nonlinearity="leaky_relu")
