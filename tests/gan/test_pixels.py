import torch

from gan.pixels import from_uint8, to_uint8


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
