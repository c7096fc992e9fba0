import pytest
import torch
from torch import nn

from gan.config import IMAGE_SIZES, ModelConfig
from gan.models import build_discriminator, build_generator


def config(**changes: object) -> ModelConfig:
    values = {"latent_size": 5, "generator_width": 4, "discriminator_width": 4, **changes}
    return ModelConfig(**values)


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_layout_at_every_size(size: int, channels: int):
    generator = build_generator(config(), (channels, size, size)).to(
        memory_format=torch.channels_last
    )
    discriminator = build_discriminator(config(), (channels, size, size))
    images = generator(torch.randn(2, 5))
    assert images.shape == (2, channels, size, size)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (2,)


def test_the_published_64_pixel_pair():
    # Radford et al. 2016, figure 1, as in the reference code: nz=100, ngf=ndf=64.
    published = ModelConfig(
        latent_size=100, generator_width=64, discriminator_width=64, discriminator_norm="batch"
    )
    generator = build_generator(published, (3, 64, 64))
    discriminator = build_discriminator(published, (3, 64, 64))
    widths = [block.convolution.weight.shape[:2] for block in generator.blocks]
    assert widths == [(512, 256), (256, 128), (128, 64), (64, 3)]
    assert generator.dense.weight.shape == (512 * 16, 100)
    widths = [block.convolution.weight.shape[:2] for block in discriminator.blocks]
    assert widths == [(64, 3), (128, 64), (256, 128), (512, 256)]
    # The textbook generator has 3,576,704 parameters with biases nowhere; ours has a bias in the
    # last layer. The textbook discriminator has 2,765,568; ours has biases in the first and last.
    assert sum(p.numel() for p in generator.parameters()) == 3_576_704 + 3
    assert sum(p.numel() for p in discriminator.parameters()) == 2_765_568 + 64 + 1


def test_the_dense_layer_is_the_textbook_transposed_convolution():
    generator = build_generator(config(), (1, 8, 8))
    latent = torch.randn(3, 5)
    # Linear [16·W, Z] with rows in (h, w, c) order is ConvTranspose2d(Z, W, 4) on a 1×1 image.
    width = generator.dense_norm.num_features
    weight = generator.dense.weight.reshape(4, 4, width, 5).permute(3, 2, 0, 1)  # [Z, W, 4, 4]
    textbook = nn.functional.conv_transpose2d(latent[:, :, None, None], weight)
    seen = []
    generator.dense_norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    generator(latent)
    torch.testing.assert_close(seen[0], textbook)


def test_no_batch_norm_at_the_ends():
    discriminator = build_discriminator(config(discriminator_norm="batch"), (1, 32, 32))
    assert [block.norm is None for block in discriminator.blocks] == [True, False, False]
    generator = build_generator(config(), (1, 32, 32))
    assert [block.norm is None for block in generator.blocks] == [False, False, True]


def test_a_discriminator_without_normalisation_judges_each_image_alone():
    discriminator = build_discriminator(config(), (1, 16, 16))
    images = torch.randn(5, 1, 16, 16)
    torch.testing.assert_close(discriminator(images)[:2], discriminator(images[:2]))


def test_initial_weights_have_the_papers_spread():
    torch.manual_seed(0)
    generator = build_generator(config(generator_width=32, latent_size=64), (3, 32, 32))
    weight = generator.blocks[0].convolution.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert generator.blocks[0].norm.weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert generator.blocks[-1].convolution.bias.abs().max() == 0


def test_a_size_that_is_not_reached_by_doubling_is_refused():
    with pytest.raises(ValueError, match="size is 24, expected 4·2ᵏ"):
        build_generator(config(), (1, 24, 24))
    with pytest.raises(ValueError, match="size is 4, expected"):
        build_discriminator(config(), (1, 4, 4))


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_the_choices_of_the_discriminator_can_be_combined(norm: str):
    chosen = config(discriminator_norm=norm, spectral_norm=True)
    discriminator = build_discriminator(chosen, (1, 32, 32))
    logits = discriminator(torch.randn(3, 1, 32, 32))
    assert logits.shape == (3,)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


def test_layer_normalisation_judges_each_image_alone_whatever_its_contrast():
    torch.manual_seed(0)
    discriminator = build_discriminator(config(discriminator_norm="layer"), (1, 32, 32))
    seen = []
    discriminator.blocks[2][1].register_forward_hook(lambda m, i, out: seen.append(out))
    images = torch.randn(4, 1, 32, 32)
    torch.testing.assert_close(discriminator(images)[:2], discriminator(images[:2]))
    flat = seen[0].flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(4), atol=1e-4, rtol=0)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in discriminator.modules())


def test_an_example_that_is_no_square_image_is_refused():
    with pytest.raises(ValueError, match=r"shape is \[2\], expected that of a square image"):
        build_generator(config(), (2,))
    with pytest.raises(ValueError, match=r"shape is \[1, 8, 16\], expected that of a square"):
        build_discriminator(config(), (1, 8, 16))
