"""The products on boxes against their definition in float64, interpreted or on a GPU with TMA."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels.conv_transpose import boxes, tiles
from kernels.conv_transpose.definitions import products as definitions
from kernels.conv_transpose.definitions.products import Prologue, WithStatistics
from kernels.conv_transpose.tiles import TileConfig

products = pytest.importorskip("kernels.conv_transpose.launch.products")
on_boxes = pytest.importorskip("kernels.conv_transpose.launch.boxes")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []
if DEVICE == "cuda" and tiles.architecture_of(torch.device("cuda", 0)) not in tiles.WGMMA:
    pytest.skip("this GPU has no TMA that feeds tensor cores", allow_module_level=True)

CL = torch.channels_last
# Tiles of 64 positions: several in every direction, and 64 channels, the fewest that boxes take.
CONFIG = TileConfig(64, 64, 32, 4, 3, tma=True)
# (N, B, A, h, w) of the small image.
SHAPES = [
    (3, 24, 64, 4, 4),  # boxes of whole images, the last reaches beyond the batch; B beyond a step
    (1, 72, 64, 8, 16),  # parts of an image, whole rows; B beyond a tile of fprop
    (9, 8, 128, 4, 2),
]
TOLERANCES = {torch.float16: 1e-3, torch.bfloat16: 1e-2}


def rand(*shape: int, dtype: torch.dtype = torch.float16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    values = torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)
    return values.contiguous(memory_format=CL) if len(shape) == 4 else values


def distance(ours: Tensor, expected: Tensor) -> float:
    return ((ours.double() - expected).norm() / expected.norm()).item()


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here must not have gone to the pointers."""
    monkeypatch.setattr(boxes, "note_taken", _all_on_boxes)


def _all_on_boxes(reason: str | None) -> None:
    assert reason is None


@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    n, b, a, h, w = shape
    x, y, weight = rand(n, a, 2 * h, 2 * w), rand(n, b, h, w), rand(b, a, 4, 4)
    wide = {"x": x.double(), "y": y.double(), "weight": weight.double()}
    ours = products.dgrad(y, weight, config=CONFIG)
    assert ours.dtype == y.dtype
    assert ours.is_contiguous(memory_format=CL)
    assert distance(ours, definitions.dgrad(wide["y"], wide["weight"])) < 1e-3
    ours = products.fprop(x, weight, config=CONFIG)
    assert ours.is_contiguous(memory_format=CL)
    assert distance(ours, definitions.fprop(wide["x"], wide["weight"])) < 1e-3
    expected = definitions.wgrad(wide["x"], wide["y"])
    for processors in (1, 64):  # in one part, and in parts that are summed
        monkeypatch.setattr(products, "_processors", lambda device, many=processors: many)
        monkeypatch.setattr(products, "_STEPS_A_SPLIT", 1)
        config = CONFIG._replace(block_k=16, stages=2)
        assert distance(products.wgrad(x, y, config=config), expected) < 1e-3


@pytest.mark.parametrize(
    ("shape", "why"),
    [((2, 16, 17, 2, 3), "17 channels of the large image"), ((1, 20, 64, 3, 2), "20 channels")],
)
def test_other_shapes_go_by_pointers(
    shape: tuple[int, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str | None] = []
    monkeypatch.setattr(boxes, "note_taken", reasons.append)
    n, b, a, h, w = shape
    x, y, weight = rand(n, a, 2 * h, 2 * w), rand(n, b, h, w), rand(b, a, 4, 4)
    wide = (x.double(), y.double(), weight.double())
    found = products.dgrad(y, weight, statistics=True, config=CONFIG)
    right = definitions.dgrad(wide[1], wide[2], statistics=True)
    assert distance(found.result, right.result) < 1e-3
    assert distance(found.m2, right.m2) < 1e-5
    ours = products.fprop(x, weight, config=CONFIG)
    assert distance(ours, definitions.fprop(wide[0], wide[2])) < 1e-3
    ours = products.wgrad(x, y, config=CONFIG)
    assert distance(ours, definitions.wgrad(wide[0], wide[1])) < 1e-3
    assert len(reasons) == 3
    assert all(reason is not None and why in reason for reason in reasons)


def test_an_odd_image_and_a_prologue_go_by_pointers(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: list[str | None] = []
    monkeypatch.setattr(boxes, "note_taken", reasons.append)
    y, weight = rand(1, 8, 2, 2), rand(8, 64, 4, 4)
    on_y = Prologue(torch.ones(8, device=DEVICE), torch.zeros(8, device=DEVICE), "relu")
    expected = definitions.dgrad(y.double(), weight.double(), size=(5, 4))
    assert distance(products.dgrad(y, weight, size=(5, 4), config=CONFIG), expected) < 1e-3
    expected = definitions.dgrad(y.double().relu(), weight.double())
    assert distance(products.dgrad(y, weight, prologue=on_y, config=CONFIG), expected) < 1e-3
    assert reasons == [
        "the large image is odd, 5×4",
        "an operand is read through a normalisation, which TMA does not compute",
    ]


@pytest.mark.parametrize(("product", "channels"), [("dgrad", 64), ("fprop", 24)])
def test_epilogues(product: str, channels: int) -> None:
    n, b, a, h, w = SHAPES[0]
    operand = rand(n, b, h, w) if product == "dgrad" else rand(n, a, 2 * h, 2 * w)
    weight, bias = rand(b, a, 4, 4), rand(channels)
    ours = getattr(products, product)(operand, weight, bias, "leaky_relu", config=CONFIG)
    definition = getattr(definitions, product)
    wide = (operand.double(), weight.double(), bias.double())
    assert distance(ours, definition(*wide, "leaky_relu")) < 1e-3
    found = getattr(products, product)(operand, weight, bias, statistics=True, config=CONFIG)
    right = definition(*wide, statistics=True)
    assert isinstance(found, WithStatistics)
    assert found.values == right.values
    assert distance(found.result, right.result) < 1e-3
    # Before the result is rounded: as exact as the sums in fp32.
    assert distance(found.mean, right.mean) < 1e-5
    assert distance(found.m2, right.m2) < 1e-5


def test_bf16() -> None:
    n, b, a, h, w = SHAPES[2]
    bf16 = torch.bfloat16
    y, weight = rand(n, b, h, w, dtype=bf16), rand(b, a, 4, 4, dtype=bf16)
    found = products.dgrad(y, weight, statistics=True, config=CONFIG)
    right = definitions.dgrad(y.double(), weight.double(), statistics=True)
    assert found.result.dtype == bf16
    assert distance(found.result, right.result) < 1e-2
    assert distance(found.m2, right.m2) < 1e-5
    x = rand(n, a, 2 * h, 2 * w, dtype=bf16)
    ours = products.wgrad(x, y, config=CONFIG._replace(block_k=16))
    assert distance(ours, definitions.wgrad(x.double(), y.double())) < 1e-2


def test_positions_beyond_the_batch_are_counted_out() -> None:
    """One image in a box of four: a large mean, and deviations that zeros would drown."""
    y = torch.full((1, 8, 4, 4), 100.0, dtype=torch.float16, device=DEVICE)
    y = (y + rand(1, 8, 4, 4)).contiguous(memory_format=CL)
    weight = rand(8, 64, 4, 4).abs().contiguous(memory_format=CL)
    bias = torch.full((64,), 1e3, dtype=torch.float16, device=DEVICE)
    found = products.dgrad(y, weight, bias, statistics=True, config=CONFIG)
    right = definitions.dgrad(y.double(), weight.double(), bias.double(), statistics=True)
    assert boxes.cut(CONFIG.block_m, 1, 4, 4).box.images == 4
    assert found.values == right.values == 64
    assert distance(found.mean, right.mean) < 1e-6
    assert distance(found.m2, right.m2) < 1e-5


def test_every_element_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    empty: Callable[..., Tensor] = torch.empty

    def poisoned(*args: object, **kwargs: object) -> Tensor:
        tensor = empty(*args, **kwargs)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

    n, b, a, h, w = SHAPES[0]
    x, y, weight = rand(n, a, 2 * h, 2 * w), rand(n, b, h, w), rand(b, a, 4, 4)
    monkeypatch.setattr(torch, "empty", poisoned)
    for result in (
        *products.dgrad(y, weight, statistics=True, config=CONFIG)[:3],
        *products.fprop(x, weight, statistics=True, config=CONFIG)[:3],
        products.wgrad(x, y, config=CONFIG),
    ):
        assert result.isfinite().all()


def test_nan_stays_where_it_belongs() -> None:
    y, weight = rand(2, 8, 4, 4), rand(8, 64, 4, 4)
    y[0, 0, 1, 1] = float("nan")
    found = products.dgrad(y, weight, None, "relu", config=CONFIG)
    assert found.isnan().sum().item() == 16 * 64
    assert found[1].isfinite().all()


def test_results_repeat_bit_for_bit() -> None:
    n, b, a, h, w = SHAPES[0]
    y, weight = rand(n, b, h, w), rand(b, a, 4, 4)
    once, again = (products.dgrad(y, weight, statistics=True, config=CONFIG) for _ in range(2))
    assert all(map(torch.equal, once[:3], again[:3]))


def test_a_view_is_checked_once_a_shape_and_keeps_no_tensor() -> None:
    on_boxes._checked.cache_clear()
    first, second = rand(2, 8, 4, 4), rand(2, 8, 4, 4, seed=1)
    views = [on_boxes._small(each, (2, 4, 4, 8)) for each in (first, second)]
    assert [view.base.data_ptr() for view in views] == [first.data_ptr(), second.data_ptr()]
    assert on_boxes._checked.cache_info().misses == 1
    assert on_boxes._checked(first.dtype, *_layout(views[0])).base is None


def _layout(view: object) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(getattr(view, each)) for each in ("shape", "strides", "block_shape"))
