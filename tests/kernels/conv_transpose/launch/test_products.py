"""The Triton products against their definition in float64, interpreted or on a GPU."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.conv_transpose.definitions import products as definitions
from kernels.conv_transpose.definitions.products import Prologue, WithStatistics

products = pytest.importorskip("kernels.conv_transpose.launch.products")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []

CL = torch.channels_last
# (N, B, A, H, W) of the large image x [N, A, H, W]; y is [N, B, ⌊H/2⌋, ⌊W/2⌋].
SHAPES = [
    (1, 3, 3, 5, 3),  # packed and narrow, odd
    (3, 17, 1, 2, 9),
    (2, 16, 17, 4, 6),
    (1, 1, 16, 2, 2),
    (1, 32, 3, 8, 8),
    (2, 20, 66, 3, 3),  # more channels than a tile of fp32 has columns
    (1, 66, 16, 7, 4),
    (1, 3, 32, 9, 2),
]
# ‖d‖/‖ref‖. The interpreter truncates where a GPU rounds to bf16.
TOLERANCES = {
    torch.float64: 1e-13,
    torch.float32: 1e-5,
    torch.float16: 1e-3,
    torch.bfloat16: 1e-2,
}


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    yield
    convolutions.fp32_precision = before


def rand(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    return values.to(DEVICE, dtype)


def prologue(channels: int, activation: str | None, dtype: torch.dtype) -> Prologue:
    wide = definitions.accumulated_dtype(dtype)
    return Prologue(
        rand(channels, dtype=wide).abs() + 0.5, rand(channels, dtype=wide, seed=1), activation
    )


def exact(value: object) -> object:
    """In float64: tensors, and what has tensors."""
    if isinstance(value, Tensor):
        return value.double()
    if isinstance(value, Prologue):
        return Prologue(value.scale.double(), value.shift.double(), value.activation)
    return value


def distance(ours: Tensor, expected: Tensor) -> float:
    return ((ours.double() - expected).norm() / expected.norm().clamp_min(1e-12)).item()


def check(product: str, *operands: object, tolerance: float, **options: object) -> object:
    """Compare a product with its definition in float64; the Triton result."""
    ours = getattr(products, product)(*operands, **options)
    expected = getattr(definitions, product)(
        *map(exact, operands), **{name: exact(value) for name, value in options.items()}
    )
    both = (ours, expected) if isinstance(ours, tuple) else ((ours,), (expected,))
    for mine, right in zip(*both, strict=True):
        if isinstance(mine, Tensor):
            assert mine.shape == right.shape
            assert distance(mine, right) <= tolerance
        else:
            assert mine == right
    result = both[0][0]
    assert result.dtype == operands[0].dtype
    assert result.is_contiguous(memory_format=CL)
    return ours


@pytest.mark.parametrize("shape", SHAPES)
def test_plain(shape: tuple[int, ...]) -> None:
    n, b, a, h, w = shape
    x, y, weight = rand(n, a, h, w), rand(n, b, h // 2, w // 2), rand(b, a, 4, 4)
    check("dgrad", y, weight, tolerance=1e-5, size=(h, w))
    check("dgrad", y, weight, rand(a), "relu", tolerance=1e-5)
    check("fprop", x, weight, rand(b), "leaky_relu", tolerance=1e-5)
    check("wgrad", x, y, tolerance=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_prologue_and_statistics(shape: tuple[int, ...]) -> None:
    n, b, a, h, w = shape
    x, y, weight = rand(n, a, h, w), rand(n, b, h // 2, w // 2), rand(b, a, 4, 4)
    on_x, on_y = (prologue(c, "relu", torch.float32) for c in (a, b))
    options = {"statistics": True, "tolerance": 1e-5}
    check("dgrad", y, weight, rand(a), prologue=on_y, size=(h, w), **options)
    check("fprop", x, weight, rand(b), prologue=on_x, **options)
    check("wgrad", x, y, x_prologue=on_x, y_prologue=on_y, tolerance=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[2]])
def test_dtypes(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    n, b, a, h, w = shape
    x, y = rand(n, a, h, w, dtype=dtype), rand(n, b, h // 2, w // 2, dtype=dtype)
    weight = rand(b, a, 4, 4, dtype=dtype)
    tolerance = TOLERANCES[dtype]
    on_x, on_y = prologue(a, "tanh", dtype), prologue(b, None, dtype)
    bias = rand(a, dtype=dtype)
    result = check("dgrad", y, weight, bias, statistics=True, prologue=on_y, tolerance=tolerance)
    assert isinstance(result, WithStatistics)
    assert result.mean.dtype == definitions.accumulated_dtype(dtype)
    check("fprop", x, weight, None, "sigmoid", prologue=on_x, tolerance=tolerance)
    check("wgrad", x, y, x_prologue=on_x, tolerance=tolerance)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid"])
def test_activations_element_by_element(activation: str) -> None:
    y, weight = rand(1, 2, 3, 3), rand(2, 3, 4, 4)
    scales = torch.logspace(-6, 1.5, 3, device=DEVICE)  # tanh and sigmoid near 0 and saturated
    weight = weight * scales.view(1, 3, 1, 1)
    ours = products.dgrad(y, weight, None, activation)
    expected = definitions.dgrad(y.double(), weight.double(), None, activation)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("nested", [True, False])
def test_loops_and_blocks(nested: bool) -> None:
    from kernels.conv_transpose.tiles import TileConfig

    config = TileConfig(16, 16, 16, 4, 2, nested)  # several tiles in every direction
    x, y, weight = rand(1, 18, 8, 6), rand(1, 20, 4, 3), rand(20, 18, 4, 4)
    n, statistics = 8 * 6, products.dgrad(y, weight, statistics=True, config=config)
    expected = definitions.dgrad(y.double(), weight.double(), statistics=True)
    assert statistics.values == n
    for mine, right in zip(statistics[:3], expected[:3], strict=True):
        assert distance(mine, right) < 1e-5
    ours = products.fprop(x, weight, config=config)
    assert distance(ours, definitions.fprop(x.double(), weight.double())) < 1e-5
    ours = products.wgrad(x, y, config=config)
    assert distance(ours, definitions.wgrad(x.double(), y.double())) < 1e-5


def test_split_sums_are_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.conv_transpose.tiles import TileConfig

    monkeypatch.setattr(products, "_processors", lambda device: 64)
    config = TileConfig(16, 16, 16, 4, 2)
    x, y = rand(3, 5, 22, 22), rand(3, 6, 11, 11)  # 363 positions: 23 steps, the last not full
    assert products._split(363, 10, 16, 64) == (2, 192)
    ours = products.wgrad(x, y, config=config)
    assert distance(ours, definitions.wgrad(x.double(), y.double())) < 1e-5


@pytest.mark.parametrize("positions", [1, 15, 16, 17, 1000, 4097])
@pytest.mark.parametrize("tiles", [1, 16, 1000])
def test_every_position_is_in_one_split(positions: int, tiles: int) -> None:
    splits, each = products._split(positions, tiles, 16, 132)
    assert each % 16 == 0
    assert (splits - 1) * each < positions <= splits * each
    assert splits == 1 or each >= 16 * products._STEPS_A_SPLIT / 2


def test_large_mean_with_small_deviation() -> None:
    """In one pass, Σ v² − (Σ v)²/n in fp32 would leave nothing of the variance."""
    from kernels.conv_transpose.tiles import TileConfig

    y, weight = rand(3, 4, 5, 5) * 1e-2, rand(4, 2, 4, 4)
    bias = torch.full((2,), 1e3, device=DEVICE)
    config = TileConfig(16, 16, 16, 4, 2)
    ours = products.dgrad(y, weight, bias, statistics=True, config=config)
    right = definitions.dgrad(y.double(), weight.double(), bias.double(), statistics=True)
    assert distance(ours.mean, right.mean) < 1e-7
    assert distance(ours.m2, right.m2) < 2e-2  # of values rounded to 1e3 · 2⁻²⁴
    assert ours.m2.min() > 0


@pytest.mark.parametrize("rows", [1, 3, 257, 1030])
def test_statistics_of_many_tiles(rows: int) -> None:
    parts = products.Parts(rand(1), 5, rows)
    generator = torch.Generator().manual_seed(rows)
    counts = torch.randint(0, 9, (rows,), generator=generator)
    counts[0] = 2
    values = [rand(int(count), 5, dtype=torch.float64, seed=i) for i, count in enumerate(counts)]
    parts.counts.copy_(counts)
    for i, tile in enumerate(values):
        parts.means[i] = tile.mean(0) if len(tile) else 0
        parts.m2s[i] = (tile - tile.mean(0)).square().sum(0) if len(tile) else 0
    everything = torch.cat(values)
    mean, m2 = parts.combined()
    torch.testing.assert_close(mean.double(), everything.mean(0), rtol=1e-5, atol=1e-6)
    expected = (everything - everything.mean(0)).square().sum(0)
    torch.testing.assert_close(m2.double(), expected, rtol=1e-5, atol=1e-6)


def test_padding_stays_zero_behind_a_prologue() -> None:
    ones = Prologue(torch.zeros(1, device=DEVICE), torch.ones(1, device=DEVICE))  # 1 everywhere
    weight = torch.ones(1, 1, 4, 4, device=DEVICE)
    y = products.fprop(torch.zeros(1, 1, 4, 4, device=DEVICE), weight, prologue=ones)
    assert y.tolist() == [[[[9, 9], [9, 9]]]]  # 3×3 of the 4×4 window are inside
    x = products.dgrad(torch.zeros(1, 1, 1, 1, device=DEVICE), weight, prologue=ones)
    assert x.tolist() == [[[[1, 1], [1, 1]]]]
    wide = Prologue(torch.zeros(1, device=DEVICE), torch.ones(1, device=DEVICE))
    grad = products.wgrad(
        torch.zeros(1, 1, 2, 2, device=DEVICE), torch.ones(1, 1, 1, 1, device=DEVICE),
        x_prologue=wide,
    )  # fmt: skip
    assert grad[0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def every_product(shape: tuple[int, ...] = SHAPES[2]) -> list[Tensor]:
    n, b, a, h, w = shape
    x, y, weight = rand(n, a, h, w), rand(n, b, h // 2, w // 2), rand(b, a, 4, 4)
    on_y = prologue(b, "relu", torch.float32)
    return [
        *products.dgrad(y, weight, rand(a), statistics=True, prologue=on_y, size=(h, w))[:3],
        *products.fprop(x, weight, statistics=True)[:3],
        products.wgrad(x, y, y_prologue=on_y),
    ]


def same_bits(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[2]])
def test_every_element_is_written(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = every_product(shape)
    empty, empty_like = torch.empty, torch.empty_like

    def poisoned(make: object) -> object:
        def fill(*args: object, **kwargs: object) -> Tensor:
            tensor = make(*args, **kwargs)
            return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

        return fill

    monkeypatch.setattr(torch, "empty", poisoned(empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(empty_like))
    monkeypatch.setattr(products, "_processors", lambda device: 64)  # split sums, too
    found = every_product(shape)
    for mine, right in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[2]])
def test_offsets_of_64_bits(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = every_product(shape)
    monkeypatch.setattr(products, "LARGEST_INT32", 0)
    assert same_bits(every_product(shape), expected)


def test_results_repeat_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_processors", lambda device: 64)
    assert same_bits(every_product(), every_product())


def test_sliced_permuted_and_expanded_operands() -> None:
    big = rand(5, 9, 2, 6)
    y = big.permute(2, 3, 0, 1)[:, :, :4, ::2]  # [2, 6, 4, 5]
    weight = rand(5, 6, 4, 4).transpose(0, 1)
    check("dgrad", y, weight, tolerance=1e-5)
    x = rand(1, 1, 8, 10).expand(2, 5, 8, 10)
    check("fprop", x, weight, tolerance=1e-5)
    check("wgrad", x, y, tolerance=1e-5)


def test_a_conversion_is_counted_once_a_tensor() -> None:
    from kernels.conv_transpose.layout import conversions

    y, weight = rand(2, 3, 4, 4), rand(3, 5, 4, 4)
    before = conversions()
    products.dgrad(y.contiguous(memory_format=CL), weight.contiguous(memory_format=CL))
    assert conversions() == before
    products.dgrad(y, weight.contiguous(memory_format=CL))
    assert conversions() == before + 1


def test_nan_is_handed_on() -> None:
    y = torch.zeros(1, 4, 3, 3, device=DEVICE)
    y[0, 0, 1, 1] = float("nan")
    for activation in (None, "relu", "leaky_relu", "tanh", "sigmoid"):
        for width in (3, 8):
            weight = torch.ones(4, width, 4, 4, device=DEVICE)
            x = products.dgrad(y, weight, None, activation)
            assert x.isnan().sum().item() == 16 * width


def test_empty_batch() -> None:
    y, weight = rand(0, 3, 2, 2), rand(3, 5, 4, 4)
    assert products.dgrad(y, weight).shape == (0, 5, 4, 4)
    assert products.fprop(rand(0, 5, 4, 4), weight).shape == (0, 3, 2, 2)
    assert not products.wgrad(rand(0, 5, 4, 4), y).any()


def test_epilogues_that_do_not_go_together() -> None:
    y, weight = rand(1, 3, 2, 2), rand(3, 5, 4, 4)
    for module in (products, definitions):
        with pytest.raises(ValueError, match="activation='relu' with statistics=True"):
            module.dgrad(y, weight, None, "relu", statistics=True)
        with pytest.raises(ValueError, match="activation='gelu' is not known"):
            module.fprop(rand(1, 5, 4, 4), weight, None, "gelu")


def test_definitions_are_torchs_operators() -> None:
    y, weight, bias = rand(2, 3, 4, 5).double(), rand(3, 6, 4, 4).double(), rand(6).double()
    on_y = prologue(3, "relu", torch.float64)
    z = torch.relu(y * on_y.scale.view(1, 3, 1, 1) + on_y.shift.view(1, 3, 1, 1))
    x = F.conv_transpose2d(z, weight, bias, 2, 1)
    found = definitions.dgrad(y, weight, bias, statistics=True, prologue=on_y)
    torch.testing.assert_close(found.result, x)
    torch.testing.assert_close(found.mean, x.mean((0, 2, 3)))
    var = x.var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(found.m2 / found.values, var)
    leaf = weight.clone().requires_grad_()
    F.conv2d(x, leaf, None, 2, 1).backward(y)
    torch.testing.assert_close(definitions.wgrad(x, y), leaf.grad)
    torch.testing.assert_close(definitions.fprop(x, weight), F.conv2d(x, weight, None, 2, 1))
