"""A small DCGAN, trained with either implementation: the same losses."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kernels
from kernels import ConvBlock, ConvTransposeBlock, FusedSequential, chain

pytest.importorskip("triton")


class Generator(nn.Module):
    """[B, Z] to [B, C, 4·2ᵏ, 4·2ᵏ], width halved at each of k levels."""

    def __init__(self, latent: int, widths: list[int], channels: int) -> None:
        super().__init__()
        self.width = widths[0]
        self.dense = nn.Linear(latent, 16 * widths[0], bias=False)
        self.norm = nn.Sequential(nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.blocks = nn.Sequential(
            *(ConvTransposeBlock(a, b) for a, b in pairwise(widths)),
            ConvTransposeBlock(widths[-1], channels, norm="none", activation="tanh"),
        )

    def forward(self, latent: Tensor) -> Tensor:
        x = self.dense(latent).view(-1, 4, 4, self.width).permute(0, 3, 1, 2)
        return chain(x, *self.norm, *self.blocks)


def discriminator(channels: int, widths: list[int]) -> nn.Sequential:
    return nn.Sequential(
        FusedSequential(
            ConvBlock(channels, widths[0]),
            *(ConvBlock(a, b, norm="batch") for a, b in pairwise(widths)),
        ),
        nn.Flatten(),
        nn.Linear(16 * widths[-1], 1),
    )


def losses(
    impl: str,
    device: str,
    *,
    steps: int,
    batch: int,
    size: int,
    latent: int,
    channels: int,
    up: list[int],
    down: list[int],
) -> Tensor:
    """Both players' losses, [steps, 2]."""
    torch.manual_seed(0)
    generator = Generator(latent, up, channels)
    critic = discriminator(channels, down)
    rng = torch.Generator().manual_seed(1)
    real = torch.randn(batch, channels, size, size, generator=rng).tanh().to(device)
    latents = torch.randn(steps, batch, latent, generator=rng).to(device)
    generator.to(device)
    critic.to(device)
    adams = [
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for network in (generator, critic)
    ]
    history = []
    with kernels.use_impl(impl):
        for z in latents:
            fake = generator(z)
            adams[1].zero_grad()
            critic_loss = (
                F.softplus(-critic(real)).mean() + F.softplus(critic(fake.detach())).mean()
            )
            critic_loss.backward()
            adams[1].step()
            adams[0].zero_grad()
            generator_loss = F.softplus(-critic(fake)).mean()
            generator_loss.backward()
            adams[0].step()
            history.append(torch.stack([critic_loss.detach(), generator_loss.detach()]))
    return torch.stack(history).cpu()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter's test")
def test_twelve_steps_in_the_interpreter() -> None:
    shape = {"steps": 12, "batch": 3, "size": 8, "latent": 4, "channels": 1, "up": [4], "down": [4]}
    expected = losses("torch", "cpu", **shape)  # type: ignore[arg-type]
    found = losses("triton", "cpu", **shape)  # type: ignore[arg-type]
    assert expected[-1, 0] < expected[0, 0] - 0.01  # it learns
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.gpu
def test_fifty_steps_of_the_published_pair() -> None:
    shape = {"steps": 50, "batch": 64, "size": 64, "latent": 100, "channels": 3}
    widths = {"up": [512, 256, 128, 64], "down": [64, 128, 256, 512]}
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        expected = losses("torch", "cuda", **shape, **widths)  # type: ignore[arg-type]
        found = losses("triton", "cuda", **shape, **widths)  # type: ignore[arg-type]
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
