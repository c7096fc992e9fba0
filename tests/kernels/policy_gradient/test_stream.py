import pytest
import torch

from kernels.policy_gradient import stream
from kernels.policy_gradient.stream import Stream, check_stream, device_scalars, words

CPU = torch.device("cpu")


# Random123's known answers for philox4x32-10: counter, key, result.
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            0xFFFFFFFFFFFFFFFF,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0A4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
@pytest.mark.parametrize("numpy", [False, True])
@pytest.mark.parametrize("on_device", [False, True])
def test_known_answers(counter, key, expected, numpy, on_device, monkeypatch):
    monkeypatch.setattr(stream, "_numpy_installed", lambda: numpy)
    position, row, group, offset = counter
    if on_device:
        key = torch.tensor(key - 2**64 if key >= 2**63 else key)
        offset = torch.tensor(offset)
    shape = (1, 1, 1)
    counters = (torch.full(shape, each) for each in (position, row, group))
    drawn = words(*counters, Stream(key, offset))
    assert tuple(each.item() for each in drawn) == expected


def test_negative_seed_is_its_64_bits():
    at = torch.arange(3)
    both = [words(at, at[:, None], at[:, None, None], Stream(s, 5)) for s in (-7, 2**64 - 7)]
    assert all(torch.equal(a, b) for a, b in zip(*both, strict=True))


@pytest.mark.parametrize("numpy", [False, True])
def test_broadcast_is_every_combination(numpy, monkeypatch):
    monkeypatch.setattr(stream, "_numpy_installed", lambda: numpy)
    s = Stream(2**40 + 3, 2**31 + 1)
    position, row, group = torch.arange(5, 9), torch.arange(2), torch.arange(3)
    together = words(position, row[:, None], group[:, None, None], s)
    for g in range(3):
        for r in range(2):
            for p in range(4):
                counter = (position[p : p + 1], row[r : r + 1], group[g : g + 1])
                alone = words(*counter, s)
                assert all(t[g, r, p] == a for t, a in zip(together, alone, strict=True))


def test_streams_differ():
    at = torch.arange(1000)
    one = torch.zeros(1, 1, dtype=torch.int64)
    drawn = [
        words(at, one, one[None], Stream(seed, offset))[0]
        for seed in (0, 1, 2**32)
        for offset in (0, 1)
    ]
    for i, a in enumerate(drawn):
        for b in drawn[:i]:
            assert (a == b).sum() == 0


def test_as_a_kernel_takes_it():
    assert device_scalars(Stream(-1, 2**32 - 1)) == (None, None, -1, -1, -1)
    assert device_scalars(Stream(2**63, 5)) == (None, None, 0, -(2**31), 5)
    seed, offset = torch.tensor(3), torch.tensor(4)
    assert device_scalars(Stream(seed, offset)) == (seed, offset, 0, 0, 0)


@pytest.mark.parametrize(
    ("seed", "offset", "error", "message"),
    [
        (1.0, 0, TypeError, "seed is a float"),
        (True, 0, TypeError, "seed is a bool"),
        (2**64, 0, ValueError, "seed=18446744073709551616"),
        (-(2**63) - 1, 0, ValueError, "seed=-9223372036854775809"),
        (0, -1, ValueError, "offset=-1: expected 0"),
        (0, 2**32, ValueError, "offset=4294967296"),
        (0, None, TypeError, "offset is a NoneType"),
        (torch.tensor(1.0), 0, TypeError, "seed has dtype torch.float32: expected an integer"),
        (0, torch.tensor(True), TypeError, "offset has dtype torch.bool: expected an integer"),
        (torch.tensor([1, 2]), 0, ValueError, r"seed has shape \[2\]"),
        (torch.tensor(1, device="meta"), 0, ValueError, "seed is on meta"),
    ],
)
def test_not_a_stream(seed, offset, error, message):
    with pytest.raises(error, match=message):
        check_stream(seed, offset, CPU)
