import torch

from gan.game.static_number import StaticNumber


def test_a_number_changes_where_it_is():
    number = StaticNumber(0.5, torch.float32, torch.device("cpu"))
    tensor, place = number.tensor, number.tensor.data_ptr()
    assert tensor.shape == ()
    assert tensor.item() == 0.5
    for value in (0.25, 0.25, 0.0):
        number.set(value)
        assert tensor.item() == value
    assert number.tensor is tensor
    assert tensor.data_ptr() == place


def test_it_is_filled_when_it_changes_and_only_then():
    number = StaticNumber(3, torch.int64, torch.device("cpu"))
    version = number.tensor._version
    number.set(3)
    assert number.tensor._version == version
    number.set(2**40)
    assert number.tensor._version == version + 1
    assert number.tensor.item() == 2**40
