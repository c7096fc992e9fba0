import itertools
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kernels.conv_transpose import boxes, tiles
from kernels.conv_transpose.boxes import Box, cut, is_run, why_pointers
from kernels.conv_transpose.tiles import TileConfig

CONFIG = TileConfig(128, 64, 64, 4, 3, tma=True)


def places(box: Box, n0: int, i0: int, j0: int) -> list[tuple[int, int, int]]:
    extents = (range(n0, n0 + box.images), range(i0, i0 + box.rows), range(j0, j0 + box.columns))
    return list(itertools.product(*extents))


@given(
    positions=st.sampled_from([16, 32, 64, 128, 256]),
    n=st.integers(1, 9),
    h=st.integers(1, 24),
    w=st.integers(1, 24),
)
def test_boxes_cover_every_position_once(positions: int, n: int, h: int, w: int) -> None:
    found = cut(positions, n, h, w)
    box = found.box
    assert box.images * box.rows * box.columns == positions
    assert h % box.rows == w % box.columns == 0
    covered = [
        place
        for a, b, c in itertools.product(
            range(found.images), range(found.rows), range(found.columns)
        )
        for place in places(box, a * box.images, b * box.rows, c * box.columns)
    ]
    assert len(covered) == len(set(covered)) == found.tiles * positions
    inside = {place for place in covered if place[0] < n}
    assert inside == set(itertools.product(range(n), range(h), range(w)))


@given(
    positions=st.sampled_from([16, 64, 256]),
    h=st.sampled_from([1, 2, 3, 4, 6, 8, 32]),
    w=st.sampled_from([1, 2, 4, 7, 8, 12, 64]),
)
def test_a_run_is_a_run(positions: int, h: int, w: int) -> None:
    box = cut(positions, 1, h, w).box
    flat = [(n * h + i) * w + j for n, i, j in places(box, 0, 0, 0)]
    assert is_run(box, h, w) == (flat == list(range(positions)))


def image(n: int, c: int, h: int, w: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(n, c, h, w, dtype=dtype, memory_format=torch.channels_last)


def reason(
    op: str = "dgrad",
    config: TileConfig = CONFIG,
    n: int = 8,
    b: int = 24,
    a: int = 64,
    h: int = 4,
    w: int = 4,
    odd: int = 0,
    dtype: torch.dtype = torch.bfloat16,
    normalised: bool = False,
) -> str | None:
    x, y = image(n, a, 2 * h + odd, 2 * w, dtype), image(n, b, h, w, dtype)
    weight = None if op == "wgrad" else image(b, a, 4, 4, dtype)
    return why_pointers(op, config, x, y, weight, normalised)


@pytest.mark.parametrize("op", tiles.OPERATIONS)
def test_what_boxes_are_for(op: str) -> None:
    assert reason(op) is None
    assert reason(op, a=192, n=5, h=16, w=8) is None
    assert reason(op, dtype=torch.float16) is None


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({"config": CONFIG._replace(tma=False)}, "the launch configuration is one of pointers"),
        ({"normalised": True}, "an operand is read through a normalisation"),
        ({"dtype": torch.float32}, "operands are torch.float32"),
        ({"odd": 1}, "the large image is odd, 9×8"),
        ({"n": 0}, "there is nothing to compute"),
        ({"a": 96}, "96 channels of the large image are no multiple of 64"),
        ({"a": 64, "config": CONFIG._replace(block_n=128)}, "64 channels .* no multiple of 128"),
        ({"op": "fprop", "a": 64, "config": CONFIG._replace(block_k=128)}, "multiple of 128"),
        ({"b": 20}, "20 channels of the small image are no multiple of 8"),
        ({"n": 4, "h": 7, "w": 7}, "4 images of 7×7 are 49 boxes of 128, where 2 could do"),
        ({"op": "wgrad", "h": 6, "w": 6}, "64 positions of images of 6×6 are no box that is"),
    ],
)
def test_what_they_are_not_for(call: dict[str, object], why: str) -> None:
    found = reason(**call)
    assert found is not None
    assert re.search(why, found), found


def test_many_odd_images_fill_boxes_of_single_positions() -> None:
    assert reason(n=512, h=7, w=7) is None
    assert cut(128, 512, 7, 7) == boxes.Cut(Box(128, 1, 1), 4, 7, 7)


def test_a_tensor_that_starts_off_the_grid() -> None:
    x, y, weight = image(8, 64, 8, 8), image(8, 24, 4, 4), image(24, 64, 4, 4)
    storage = torch.empty(weight.numel() + 1, dtype=weight.dtype)
    shifted = storage[1:].as_strided(weight.shape, weight.stride())
    assert why_pointers("dgrad", CONFIG, x, y, weight, False) is None
    found = why_pointers("dgrad", CONFIG, x, y, shifted, False)
    assert found == "a tensor does not start at a multiple of 16 bytes"


def test_an_architecture_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnCuda:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

        device = torch.device("cuda", 0)

        def __getattr__(self, name: str) -> object:
            return getattr(self.tensor, name)

    x, y = OnCuda(image(8, 64, 8, 8)), OnCuda(image(8, 24, 4, 4))
    for architecture, expected in ((80, "sm_80 has no TMA"), (120, "sm_120 has"), (90, None)):
        monkeypatch.setattr(boxes, "architecture_of", lambda device, found=architecture: found)
        found = why_pointers("wgrad", CONFIG, x, y, None, False)
        assert found is None if expected is None else found.startswith(expected)


@given(
    op=st.sampled_from(tiles.OPERATIONS),
    precision=st.sampled_from(["bf16", "fp16", "tf32", "fp32", "fp64"]),
    b=st.integers(1, 1024),
    a=st.integers(1, 16).map(lambda number: 32 * number),
    positions=st.integers(0, 2**24),
    architecture=st.sampled_from([80, 86, 90, 100, 103, 120]),
)
def test_the_rule_asks_for_boxes_that_are_possible(
    op: str, precision: str, b: int, a: int, positions: int, architecture: int
) -> None:
    config = tiles.rule(op, precision, b, a, positions, architecture)
    possible = architecture in tiles.WGMMA and precision in ("bf16", "fp16") and a % 64 == 0
    assert config.tma == possible
    assert not tiles.rule(op, precision, b, a, positions, architecture, tma=False).tma
    if config.tma:
        assert reason(op, config, n=256, b=8 * -(-b // 8), a=a, h=4, w=4) is None
        assert config.warps == 8 or config.block_m * config.block_n <= 128 * 64


def test_explain_counts_how_products_were_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "_taken", boxes.Counter())
    assert boxes.taken() == "launches so far: none"
    for why in (None, "the large image is odd, 9×8", None, "no", "no", "no"):
        boxes.note_taken(why)
    assert boxes.taken() == (
        "launches so far: 2 on boxes by TMA; 3 by pointers: no; "
        "1 by pointers: the large image is odd, 9×8"
    )
