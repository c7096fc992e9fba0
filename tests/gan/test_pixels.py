import torch

from gan.pixels import from_network, from_uint8, to_network, to_uint8


def test_every_level_comes_back_exactly():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    images = from_uint8(levels)
    assert images.dtype == torch.float32
    assert images.min() == -1
    assert images.max() == 1
    assert torch.equal(to_uint8(images), levels)


def test_values_outside_are_clamped_and_halves_round_to_even():
    images = torch.tensor([-5.0, -1.0, 0.0, 1.0, 5.0])
    assert to_uint8(images).tolist() == [0, 0, 128, 255, 255]
    assert to_uint8(images.bfloat16()).tolist() == [0, 0, 128, 255, 255]


def test_images_are_scaled_and_points_are_not():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_network(levels), from_uint8(levels))
    assert torch.equal(from_network(to_network(levels)), levels)
    points = torch.tensor([[-7.5, 300.0]])
    assert to_network(points) is points
    assert torch.equal(from_network(points), points)
    assert from_network(points.bfloat16()).dtype == torch.float32
