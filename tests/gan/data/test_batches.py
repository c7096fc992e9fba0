import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.data.batches import Batches
from gan.errors import DataError

CPU = torch.device("cpu")


def numbered(count: int) -> np.ndarray:
    """Images [count, 3, 2, 2] that carry their own number."""
    images = np.zeros((count, 3, 2, 2), np.uint8)
    images += np.arange(count, dtype=np.uint8)[:, None, None, None]
    images[:, 1] = 255 - images[:, 1]
    return images


def numbers(batch: torch.Tensor) -> list[int]:
    return batch[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("resident", [False, True])
def test_an_epoch_shows_every_image_once_in_a_new_order(resident: bool):
    batches = Batches(numbered(12), 4, seed=1, device=CPU, resident=resident)
    first = [number for _ in range(3) for number in numbers(batches.next())]
    second = [number for _ in range(3) for number in numbers(batches.next())]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


@pytest.mark.parametrize("resident", [False, True])
def test_batches_are_channels_last_and_whole_images(resident: bool):
    batch = Batches(numbered(9), 4, seed=0, device=CPU, resident=resident).next()
    assert batch.shape == (4, 3, 2, 2)
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for image in batch:
        assert (image[0] == image[0, 0, 0]).all()
        assert (image[1] == 255 - image[0]).all()


def test_resident_and_mapped_streams_are_the_same():
    mapped = Batches(numbered(11), 3, seed=5, device=CPU, resident=False)
    resident = Batches(numbered(11), 3, seed=5, device=CPU, resident=True)
    for _ in range(10):
        assert torch.equal(mapped.next(), resident.next())


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 20), batch=st.integers(1, 20), taken=st.integers(0, 30))
def test_a_stream_goes_on_where_its_state_was_taken(count: int, batch: int, taken: int):
    if batch > count:
        with pytest.raises(DataError, match=rf"train.batch_size is {batch}.*only {count}"):
            Batches(numbered(count), batch, seed=0, device=CPU)
        return
    batches = Batches(numbered(count), batch, seed=3, device=CPU)
    for _ in range(taken):
        batches.next()
    state = batches.state_dict()
    wanted = [numbers(batches.next()) for _ in range(5)]
    again = Batches(numbered(count), batch, seed=3, device=CPU)
    again.load_state_dict(state)
    assert [numbers(again.next()) for _ in range(5)] == wanted


def test_the_seed_determines_the_order():
    orders = [numbers(Batches(numbered(50), 50, seed=s, device=CPU).next()) for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("shape", [(4, 4), (5,)])
def test_symbols_come_as_they_are(resident: bool, shape: tuple[int, ...]):
    symbols = np.random.default_rng(0).integers(0, 7, (6, *shape), dtype=np.uint8)
    batches = Batches(symbols, 3, seed=1, device=CPU, resident=resident)
    rows = torch.cat([batches.next(), batches.next()])
    assert rows.dtype == torch.uint8
    assert sorted(rows.tolist()) == sorted(symbols.tolist())


@pytest.mark.parametrize("resident", [False, True])
def test_points_come_as_they_are(resident: bool):
    points = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    batches = Batches(points, 3, seed=1, device=CPU, resident=resident)
    rows = torch.cat([batches.next(), batches.next()])
    assert rows.dtype == torch.float32
    assert sorted(rows.tolist()) == sorted(points.tolist())
    # A batch is the caller's own.
    rows.zero_()
    batches.next().requires_grad_().data.zero_()
    assert np.abs(points).min() > 0


@pytest.mark.parametrize("resident", [False, True])
def test_labels_of_the_same_seed_go_in_step_with_their_images(resident: bool):
    images = Batches(numbered(14), 4, seed=5, device=CPU, resident=resident)
    labels = Batches(np.arange(14), 4, seed=5, device=CPU)
    for _ in range(10):  # over several epochs, whose last two images are passed over
        found = labels.next()
        assert found.dtype == torch.int64
        assert found.tolist() == numbers(images.next())
    resumed = Batches(np.arange(14), 4, seed=5, device=CPU)
    resumed.load_state_dict(images.state_dict())
    assert resumed.next().tolist() == numbers(images.next())


@pytest.mark.parametrize("resident", [False, True])
def test_symbols_of_two_bytes_come_as_int32(resident: bool):
    symbols = np.arange(60_000, 60_024, dtype="<u2").reshape(12, 2)
    batches = Batches(symbols, 4, seed=1, device=CPU, resident=resident)
    seen = torch.cat([batches.next() for _ in range(3)])
    assert seen.dtype == torch.int32
    assert sorted(seen.tolist()) == symbols.tolist()


@pytest.mark.parametrize("resident", [False, True])
def test_a_static_batch_has_what_the_stream_has_at_one_place(resident: bool):
    stream, twin = (
        Batches(numbered(11), 3, seed=5, device=CPU, resident=resident) for _ in range(2)
    )
    static = stream.static()
    with pytest.raises(ValueError, match="`fill` comes before `get`"):
        static.get()
    places = set()
    for _ in range(9):
        static.fill()
        batch, expected = static.get(), twin.next()
        assert torch.equal(batch, expected)
        assert batch.stride() == expected.stride()
        assert static.get() is not batch
        (held,) = (each for each in vars(static).values() if isinstance(each, torch.Tensor))
        places.add(held.data_ptr())
    assert len(places) == 1
    assert stream.state_dict() == twin.state_dict()


def test_a_static_batch_goes_on_where_the_state_was_taken():
    stream = Batches(numbered(11), 3, seed=5, device=CPU)
    static = stream.static()
    static.fill()
    state = stream.state_dict()
    static.fill()
    wanted = static.get().clone()
    static.fill()
    stream.load_state_dict(state)
    static.fill()
    assert torch.equal(static.get(), wanted)


def test_an_array_that_is_not_on_the_device_cannot_be_gathered_from():
    stream = Batches(numbered(5), 2, seed=0, device=CPU, resident=False)
    with pytest.raises(ValueError, match="not on the device"):
        stream.gather(torch.tensor([0, 1]))
