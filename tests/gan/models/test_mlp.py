import pytest
import torch
from torch import nn

from gan.config import ModelConfig
from gan.models import build_discriminator, build_generator


def config(**changes: object) -> ModelConfig:
    values = {"latent_size": 3, "generator_width": 8, "discriminator_width": 16, **changes}
    return ModelConfig(name="mlp", **values)


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("depth", [1, 3])
def test_shapes_and_depth(dimensions: int, depth: int):
    generator = build_generator(config(depth=depth), (dimensions,))
    discriminator = build_discriminator(config(depth=depth), (dimensions,))
    points = generator(torch.randn(5, 3))
    assert points.shape == (5, dimensions)
    assert discriminator(points).shape == (5,)
    widths = [m.weight.shape for m in generator.modules() if isinstance(m, nn.Linear)]
    assert widths == [(8, 3), *[(8, 8)] * (depth - 1), (dimensions, 8)]
    widths = [m.weight.shape for m in discriminator.modules() if isinstance(m, nn.Linear)]
    assert widths == [(16, dimensions), *[(16, 16)] * (depth - 1), (1, 16)]


def test_the_discriminator_against_its_formula():
    torch.manual_seed(0)
    discriminator = build_discriminator(config(depth=2), (2,)).double()
    first, second, last = (m for m in discriminator.modules() if isinstance(m, nn.Linear))
    x = torch.randn(7, 2, dtype=torch.float64)

    def leaky(y: torch.Tensor) -> torch.Tensor:
        return torch.where(y > 0, y, 0.2 * y)

    hidden = leaky(leaky(x @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    torch.testing.assert_close(discriminator(x), (hidden @ last.weight.T + last.bias)[:, 0])


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)])
def test_all_but_the_first_layer_are_normalised(norm: str, kind: type[nn.Module]):
    discriminator = build_discriminator(config(discriminator_norm=norm), (2,))
    kinds = [type(m) for m in discriminator.layers if not isinstance(m, nn.Identity)]
    hidden = [nn.Linear, kind, nn.LeakyReLU]
    assert kinds == [nn.Linear, nn.LeakyReLU, *hidden, *hidden, nn.Linear]
    generator = build_generator(config(discriminator_norm=norm), (2,))
    assert not any(isinstance(m, kind) for m in generator.modules())


def test_initial_weights_are_hes_and_kinks_are_spread():
    torch.manual_seed(0)
    generator = build_generator(config(latent_size=1, generator_width=512), (1,))
    first, second = [m for m in generator.modules() if isinstance(m, nn.Linear)][:2]
    assert second.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.03)
    kinks = -first.bias / first.weight[:, 0]
    inside = kinks[kinks.abs() < 1]
    assert len(inside) > 100
    assert inside.std() > 0.3


def test_spectral_norm_bounds_the_slope():
    torch.manual_seed(0)
    discriminator = build_discriminator(config(spectral_norm=True), (2,))
    x = torch.randn(200, 2)
    for _ in range(50):
        discriminator(x)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(x).sum(), x)
    assert slope.norm(dim=1).max() <= 1 + 1e-3  # LeakyReLU's own slope is at most 1


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"shape is \[1, 8, 8\], expected that of a point"):
        build_generator(config(), (1, 8, 8))
