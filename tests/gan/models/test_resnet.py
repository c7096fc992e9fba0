import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan.config import ModelConfig
from gan.models import build_discriminator, build_generator
from gan.models.resnet import FirstBlock, ResidualBlock


def config(**changes: object) -> ModelConfig:
    values = {"latent_size": 5, "generator_width": 4, "discriminator_width": 4, **changes}
    return ModelConfig(name="resnet", **values)


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 3), (32, 3), (64, 1)])
def test_shapes_and_layout(size: int, channels: int):
    generator = build_generator(config(), (channels, size, size))
    generator.to(memory_format=torch.channels_last)
    images = generator(torch.randn(2, 5))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    assert images.is_contiguous(memory_format=torch.channels_last)
    discriminator = build_discriminator(config(), (channels, size, size))
    assert discriminator(images).shape == (2,)


def test_the_published_pair_for_32_pixels():
    # Gulrajani et al. 2017, appendix F: width 128, latent 128.
    published = ModelConfig(
        name="resnet", latent_size=128, generator_width=128, discriminator_width=128
    )
    generator = build_generator(published, (3, 32, 32))
    discriminator = build_discriminator(published, (3, 32, 32))
    assert [block.resample for block in generator.blocks] == ["up", "up", "up"]
    assert [block.resample for block in discriminator.blocks] == ["down", "none", "none"]
    conv, shortcut, norm = 128 * 128 * 9 + 128, 128 * 128 + 128, 2 * 128
    dense, last = 129 * 2048, 128 * 3 * 9 + 3
    assert sum(p.numel() for p in generator.parameters()) == (
        dense + 3 * (2 * conv + shortcut + 2 * norm) + norm + last
    )
    first = (3 * 9 + 1) * 128 + conv + 4 * 128
    assert sum(p.numel() for p in discriminator.parameters()) == (
        first + (2 * conv + shortcut) + 2 * (2 * conv) + 129
    )


def test_64_pixels_have_one_block_more_on_either_side():
    generator = build_generator(config(), (3, 64, 64))
    discriminator = build_discriminator(config(), (3, 64, 64))
    assert len(generator.blocks) == 4
    assert [block.resample for block in discriminator.blocks] == ["down", "down", "none", "none"]


def convolve(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return F.conv2d(x, layer.weight, layer.bias, padding=layer.padding)


def enlarge(x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def shrink(x: torch.Tensor) -> torch.Tensor:
    """Mean pooling, as the four corners of each cell."""
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


@pytest.mark.parametrize("resample", ["up", "down", "none"])
def test_a_block_is_that_of_the_published_code(resample: str):
    # Upsampling in front of the first convolution and of the shortcut's; pooling behind both.
    torch.manual_seed(0)
    block = ResidualBlock(4, "none", resample).double()
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    before = enlarge if resample == "up" else lambda y: y
    after = shrink if resample == "down" else lambda y: y
    inner = convolve(block.conv_1, before(x.relu()))
    shortcut = x if resample == "none" else after(convolve(block.shortcut, before(x)))
    expected = shortcut + after(convolve(block.conv_2, inner.relu()))
    torch.testing.assert_close(block(x), expected)


def test_the_first_block_neither_activates_nor_normalises_pixels():
    torch.manual_seed(0)
    block = FirstBlock(3, 4).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    inner = convolve(block.conv_2, convolve(block.conv_1, x).relu())
    torch.testing.assert_close(block(x), convolve(block.shortcut, shrink(x)) + shrink(inner))


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_the_norm_of_the_discriminator_and_of_the_generator(norm: str):
    discriminator = build_discriminator(config(discriminator_norm=norm), (1, 32, 32))
    kinds = {"batch": nn.BatchNorm2d, "layer": nn.GroupNorm}
    count = sum(isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)) for m in discriminator.modules())
    assert count == (0 if norm == "none" else 6)
    if norm != "none":
        assert sum(isinstance(m, kinds[norm]) for m in discriminator.modules()) == 6
    generator = build_generator(config(discriminator_norm=norm), (1, 32, 32))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in generator.modules()) == 7
    images = torch.randn(4, 1, 32, 32)
    if norm != "batch":
        torch.testing.assert_close(discriminator(images)[:2], discriminator(images[:2]))


def test_spectral_norm_covers_every_weight():
    discriminator = build_discriminator(config(spectral_norm=True), (1, 32, 32))
    layers = [m for m in discriminator.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 3 + 3 + 2 + 2 + 1
    assert all(hasattr(layer, "parametrizations") for layer in layers)


def test_initial_weights_are_hes_but_glorots_in_shortcuts():
    torch.manual_seed(0)
    wide = config(discriminator_width=64)
    block = build_discriminator(wide, (3, 32, 32)).blocks[0]
    assert block.conv_1.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    assert block.shortcut.weight.std().item() == pytest.approx((1 / 64) ** 0.5, rel=0.05)
    assert block.conv_1.bias.abs().max() == 0


def test_a_size_that_is_not_reached_by_doubling_is_refused():
    with pytest.raises(ValueError, match="size is 24, expected 4·2ᵏ"):
        build_generator(config(), (1, 24, 24))
    with pytest.raises(ValueError, match=r"shape is \[2\], expected that of a square image"):
        build_discriminator(config(), (2,))
