import pytest
import torch
from torch import nn

from gan.training.averaging import averaged_copy, decay, move, update


def test_decay_halves_over_the_half_life():
    # 100 batches of 10 images with a half-life of 1000 images: a half stays.
    assert decay(10**9, 10, 1000, 0.0) ** 100 == pytest.approx(0.5, rel=1e-12)


def test_decay_warms_up_with_the_images_seen():
    # 2000 images seen, 5 %: a half-life of 100 images.
    assert decay(2000, 100, 1e6, 0.05) == pytest.approx(0.5)
    assert decay(10**9, 100, 200, 0.05) == pytest.approx(0.5**0.5)


def test_no_half_life_means_no_averaging():
    assert decay(1000, 10, 0.0, 0.05) == 0.0


def test_update_moves_parameters_and_buffers_and_copies_counts():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = averaged_copy(network)
    start = {name: value.clone() for name, value in average.state_dict().items()}
    with torch.no_grad():
        for value in network.state_dict().values():
            value.add_(4)
    update(average, network, 0.75)
    for name, value in average.state_dict().items():
        moved = 4.0 if name.endswith("num_batches_tracked") else 1.0
        torch.testing.assert_close(value, start[name] + moved, check_dtype=False)
    assert not average.training
    assert not any(each.requires_grad for each in average.parameters())


def test_the_copy_shares_nothing():
    network = nn.Linear(2, 2)
    average = averaged_copy(network)
    assert average.weight.data_ptr() != network.weight.data_ptr()
    update(average, network, 0.0)
    assert torch.equal(average.weight, network.weight)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9991, 1.0])
def test_a_share_in_a_tensor_is_the_share(kept: float):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 33), nn.BatchNorm1d(33))
    start = averaged_copy(nn.Sequential(nn.Linear(7, 33), nn.BatchNorm1d(33)))
    moved, expected = averaged_copy(start), averaged_copy(start)
    move(moved, network, torch.tensor(1 - kept))
    with torch.no_grad():
        for mine, other in zip(expected.parameters(), network.parameters(), strict=True):
            mine.lerp_(other, 1 - kept)  # a number of Python's
    for one, other in zip(moved.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)
    if kept == 0:
        assert torch.equal(moved[0].weight, network[0].weight)
