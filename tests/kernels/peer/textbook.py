"""A small DCGAN twice, of PyTorch's layers and of ours, under the same names of parameters."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import (
    ConvBlock,
    ConvTransposeBlock,
    DiscriminatorLoss,
    FusedSequential,
    GeneratorLoss,
)

LATENT = (6, 4, 4)
IMAGE = (3, 16, 16)


class Side(NamedTuple):
    """Networks and losses of one side.

    Attributes:
        generator: [N, 6, 4, 4] ↦ [N, 3, 16, 16].
        discriminator: [N, 3, 16, 16] ↦ [N, 1].
        discriminator_loss: of logits of real and of generated images.
        generator_loss: of logits of generated images.
    """

    generator: nn.Sequential
    discriminator: nn.Sequential
    discriminator_loss: Callable[[Tensor, Tensor], Tensor]
    generator_loss: Callable[[Tensor], Tensor]


def textbook(dtype: torch.dtype = torch.float64) -> Side:
    """Of PyTorch's layers, with weights that are the same at every call."""
    torch.manual_seed(0)
    generator = nn.Sequential(
        nn.Sequential(nn.ConvTranspose2d(6, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh()),
    )
    discriminator = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 5, 4, 2, 1), nn.LeakyReLU(0.2)),
        nn.Sequential(nn.Conv2d(5, 7, 4, 2, 1, bias=False), nn.BatchNorm2d(7), nn.LeakyReLU(0.2)),
        nn.Flatten(),
        nn.Linear(7 * 4 * 4, 1),
    )

    def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
        ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
        by_class = F.binary_cross_entropy_with_logits
        return by_class(real, ones) + by_class(fake, zeros)

    def generator_loss(fake: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))

    return Side(generator.to(dtype), discriminator.to(dtype), discriminator_loss, generator_loss)


def ours(dtype: torch.dtype = torch.float64) -> Side:
    """Of `kernels`, with the weights of `textbook`."""
    generator = FusedSequential(
        ConvTransposeBlock(6, 8),
        ConvTransposeBlock(8, 3, norm="none", activation="tanh"),
    )
    discriminator = FusedSequential(
        ConvBlock(3, 5),
        ConvBlock(5, 7, norm="batch"),
        nn.Flatten(),
        nn.Linear(7 * 4 * 4, 1),
    )
    reference = textbook(dtype)
    generator.to(dtype).load_state_dict(reference.generator.state_dict())
    discriminator.to(dtype).load_state_dict(reference.discriminator.state_dict())
    return Side(
        generator,
        discriminator,
        DiscriminatorLoss("gan"),  # type: ignore[arg-type]
        GeneratorLoss("non_saturating"),  # type: ignore[arg-type]
    )


SIDES: tuple[Callable[[torch.dtype], Side], ...] = (ours, textbook)


def draw(seed: int, count: int, shape: tuple[int, ...] = LATENT) -> Tensor:
    """Standard normal numbers in fp64, `[count, *shape]`."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, dtype=torch.float64, generator=rng)


def play(
    side: Side, optimisers: tuple[torch.optim.Optimizer, torch.optim.Optimizer], seed: int
) -> None:
    """One round on a batch of 4, the discriminator's step first."""
    of_generator, of_discriminator = optimisers
    fake = side.generator(draw(seed, 4))
    real = side.discriminator(draw(seed + 1000, 4, IMAGE))
    of_discriminator.zero_grad()
    side.discriminator_loss(real, side.discriminator(fake.detach())).backward()
    of_discriminator.step()
    of_generator.zero_grad()
    side.generator_loss(side.discriminator(fake)).backward()
    of_generator.step()


def step(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What one pass forward and back gives: result, gradients, state."""
    x = x.clone().requires_grad_()
    y = network(x)
    (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    assert x.grad is not None
    found = {"y": y.detach(), "x": x.grad, **gradients(network)}
    return found | {f"state {name}": value for name, value in network.state_dict().items()}


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """Of every parameter that has one."""
    return {
        f"gradient {name}": parameter.grad
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def match(found: dict[str, Tensor], expected: dict[str, Tensor], **tolerances: float) -> None:
    """The same names in the same order, and the same values."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, msg=lambda text, name=name: f"{name}: {text}", **tolerances
        )


def states(networks: Iterable[nn.Module]) -> dict[str, Tensor]:
    """Parameters and buffers of several networks."""
    return {
        f"{place} {name}": value
        for place, network in enumerate(networks)
        for name, value in network.state_dict().items()
    }
