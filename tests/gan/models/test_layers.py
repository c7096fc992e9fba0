import copy

import pytest
import torch
from torch import nn

from gan.game.players import frozen
from gan.models.layers import add_spectral_norm, normalisation


def test_layer_normalisation_of_an_image_is_over_channels_and_pixels():
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64) * 7 + 2
    layer = normalisation("layer", 4, 2).double()
    expected = (x - x.mean((1, 2, 3), keepdim=True)) / torch.sqrt(
        x.var((1, 2, 3), keepdim=True, correction=0) + 1e-5
    )
    torch.testing.assert_close(layer(x), expected)
    assert [tuple(p.shape) for p in layer.parameters()] == [(4,), (4,)]


def test_layer_normalisation_of_a_text_is_over_channels_and_places():
    x = torch.randn(3, 4, 5, dtype=torch.float64) * 7 + 2
    expected = (x - x.mean((1, 2), keepdim=True)) / torch.sqrt(
        x.var((1, 2), keepdim=True, correction=0) + 1e-5
    )
    torch.testing.assert_close(normalisation("layer", 4, 1).double()(x), expected)


def test_layer_normalisation_of_a_vector_is_over_its_numbers():
    x = torch.randn(3, 8, dtype=torch.float64) * 7 + 2
    expected = (x - x.mean(1, keepdim=True)) / torch.sqrt(
        x.var(1, keepdim=True, correction=0) + 1e-5
    )
    torch.testing.assert_close(normalisation("layer", 8, 0).double()(x), expected)


def test_the_other_names():
    assert isinstance(normalisation("batch", 4, 2), nn.BatchNorm2d)
    assert isinstance(normalisation("batch", 4, 1), nn.BatchNorm1d)
    assert isinstance(normalisation("batch", 4, 0), nn.BatchNorm1d)
    x = torch.randn(2, 4)
    assert torch.equal(normalisation("none", 4, 0)(x), x)


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match="norm is 'group', expected 'none', 'batch' or 'layer'"):
        normalisation("group", 4, 2)
    with pytest.raises(ValueError, match="dimensions is 3, expected 0, 1 or 2"):
        normalisation("batch", 4, 3)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5 * 4, 2))


def singular_values(weight: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(weight.detach().double().flatten(1))


def test_the_largest_singular_value_becomes_one():
    plain = network()
    weights = [plain[0].weight.detach().clone(), plain[2].weight.detach().clone()]
    add_spectral_norm(plain)
    for _ in range(100):  # the power iteration, one a call
        plain(torch.zeros(1, 3, 4, 4))
    plain.eval()
    for layer, weight in ((plain[0], weights[0]), (plain[2], weights[1])):
        largest = singular_values(weight)[0]
        assert singular_values(layer.weight)[0].item() == pytest.approx(1, abs=1e-4)
        torch.testing.assert_close(
            layer.weight.double(), weight.double() / largest, rtol=1e-3, atol=1e-5
        )


def test_the_power_iteration_is_state_and_stands_still_in_a_frozen_network():
    normed = network()
    add_spectral_norm(normed)
    names = [name for name in normed.state_dict() if name.endswith(("._u", "._v"))]
    assert len(names) == 4
    x = torch.randn(2, 3, 4, 4)
    before = copy.deepcopy(normed.state_dict())
    with frozen(normed):
        first = normed(x)
        second = normed(x)
    assert torch.equal(first, second)
    assert all(torch.equal(before[name], value) for name, value in normed.state_dict().items())
    normed(x)
    assert any(not torch.equal(before[name], normed.state_dict()[name]) for name in names)
    again = network()
    add_spectral_norm(again)
    again.load_state_dict(normed.state_dict())
    assert torch.equal(again(x), normed(x))


def test_gradients_pass_two_forwards_and_twice_through_one():
    normed = network()
    add_spectral_norm(normed)
    real = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = normed(real).sum() - normed(torch.randn(2, 3, 4, 4)).sum()
    (slope,) = torch.autograd.grad(loss, real, create_graph=True)
    slope.square().sum().backward()
    gradient = normed[0].parametrizations.weight.original.grad
    assert gradient is not None
    assert torch.isfinite(gradient).all()


def test_the_norm_is_exact_under_autocast():
    normed = network().eval()
    add_spectral_norm(normed)
    normed.eval()
    exact = normed[2].weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(normed[2].weight, exact)
