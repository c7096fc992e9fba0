"""What several families share: normalisation by name, spectral normalisation, initial weights."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan.private import SpectralNormalisation

Network = TypeVar("Network", bound=nn.Module)


def normalisation(norm: str, width: int, dimensions: int) -> nn.Module:
    """The normalisation of activations that `norm` names.

    Args:
        norm: `none`; `batch`: over the batch, each channel by itself (Ioffe & Szegedy 2015);
            `layer`: over all that belongs to one example, with a scale and an offset a channel
            (Ba et al. 2016; in critics with a gradient penalty, Gulrajani et al. 2017, section 4).
        width: channels.
        dimensions: 2 for images `[B, C, H, W]`, 1 for texts `[B, C, L]`, 0 for vectors `[B, C]`.

    Raises:
        ValueError: another `norm` or number of dimensions.
    """
    if dimensions not in (0, 1, 2):
        raise ValueError(f"dimensions is {dimensions}, expected 0, 1 or 2")
    if norm == "none":
        return nn.Identity()
    if norm == "batch":
        return nn.BatchNorm2d(width) if dimensions == 2 else nn.BatchNorm1d(width)
    if norm == "layer":
        # One group: mean and variance over channels and positions together.
        return nn.GroupNorm(1, width) if dimensions else nn.LayerNorm(width)
    raise ValueError(f"norm is {norm!r}, expected 'none', 'batch' or 'layer'")


class SpectralNorm(SpectralNormalisation):
    """W / σ(W), σ the largest singular value (Miyato et al. 2018, arXiv 1802.05957, eq. 8).

    As `torch.nn.utils.parametrizations.spectral_norm`, but in fp32 under autocast as well: σ from
    products in bf16 would be wrong in its third digit, and with it the Lipschitz constant. One
    power iteration each time that a network in training mode uses the weight; none within
    `gan.game.players.frozen`.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """`weight` over its largest singular value."""
        with torch.autocast(weight.device.type, enabled=False):
            normalised: Tensor = super().forward(weight)
            return normalised


def in_channels_last(network: Network) -> Network:
    """`network` with its convolutions' weights in channels_last, in which they are fastest."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def add_spectral_norm(network: nn.Module) -> None:
    """Put every weight of a convolution or dense layer of `network` under `SpectralNorm`.

    To be called once the weights have their initial values: the power iteration starts from them,
    fifteen steps far.
    """
    for module in list(network.modules()):
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            parametrize.register_parametrization(module, "weight", SpectralNorm(module.weight))


def initialise(network: nn.Module) -> None:
    """Give `network` uniform weights and zero biases, as the code of WGAN-GP does.

    Of He's variance the convolutions of blocks and layers, which are named `conv_1` and `conv_2`,
    of Glorot's all other convolutions and dense layers.
    """
    for name, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            if name.rpartition(".")[2] in ("conv_1", "conv_2"):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
