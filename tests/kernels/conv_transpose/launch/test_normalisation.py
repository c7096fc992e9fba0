"""The Triton kernels of batch normalisation against their definition in float64."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.conv_transpose.definitions import normalisation
from kernels.conv_transpose.definitions.normalisation import BatchNorm, Coefficients
from kernels.conv_transpose.tiles import MAX_PROGRAMS, tiling

launch = pytest.importorskip("kernels.conv_transpose.launch.normalisation")

ACTIVATIONS = [None, "relu", "leaky_relu", "tanh", "sigmoid"]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# Elementwise: the results are rounded once, after arithmetic in fp32.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
CL = torch.channels_last
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
if torch.cuda.is_available():  # natively: nothing can be interpreted in the same process
    DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)]


def draw(shape: tuple[int, ...], dtype: torch.dtype, device: str, offset: float = 0.0) -> Tensor:
    rng = torch.Generator().manual_seed(sum(shape))
    values = torch.randn(shape, generator=rng, dtype=torch.float64) + offset
    return values.to(device, dtype).contiguous(memory_format=CL)


def norm_of(channels: int, device: str, dtype: torch.dtype, momentum: float | None) -> BatchNorm:
    rng = torch.Generator().manual_seed(channels)

    def values(low: float) -> Tensor:
        drawn = torch.rand(channels, generator=rng, dtype=torch.float64) + low
        return drawn.float().to(device, dtype)

    batches = torch.tensor(4, device=device)
    return BatchNorm(values(0.5), values(-0.5), values(-0.5), values(0.5), True, momentum, batches,
                     1e-5)  # fmt: skip


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(
        actual.double().cpu(), expected.double().cpu(), rtol=tolerance, atol=tolerance
    )


# Channels: none of a block, less than one, more than one; rows: one, part of a tile, several.
SHAPES = [(2, 1, 1, 1), (3, 3, 5, 7), (1, 17, 9, 3), (2, 64, 4, 4), (3, 130, 3, 5), (70, 16, 5, 7)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    y = draw(shape, dtype, device, offset=2)
    mean, m2, n = launch.moments(y)
    expected = normalisation.moments(y.double())
    assert n == expected.n == y.numel() // y.shape[1]
    assert mean.dtype == m2.dtype == torch.float32
    close(mean, expected.mean, 1e-6)
    torch.testing.assert_close(m2.double(), expected.m2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_moments_of_a_large_mean_with_a_small_deviation(device: str) -> None:
    # Σy² − (Σy)²/n in fp32 would have no correct digit: σ²/μ² is 1e-8.
    y = draw((40, 5, 16, 16), torch.float64, device) * 0.1 + 1000
    y = y.float().contiguous(memory_format=CL)
    mean, m2, _ = launch.moments(y)
    expected = normalisation.moments(y.double())
    torch.testing.assert_close(mean.double(), expected.mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(m2.double(), expected.m2, rtol=2e-4, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("channels", [1, 17, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_coefficients(
    channels: int, momentum: float | None, dtype: torch.dtype, device: str
) -> None:
    of = normalisation.moments(draw((2, channels, 3, 3), torch.float32, device, offset=1))
    norm = norm_of(channels, device, dtype, momentum)
    exact = BatchNorm(*(v.double() if torch.is_tensor(v) else v for v in norm))
    found = launch.coefficients(of, norm)
    wide = normalisation.ChannelMoments(of.mean.double(), of.m2.double(), of.n)
    expected = normalisation.coefficients(wide, exact)
    for a, b in zip(found, expected, strict=True):
        close(a, b, 1e-5)
    for a, b in ((norm.running_mean, exact.running_mean), (norm.running_var, exact.running_var)):
        assert a is not None
        assert b is not None
        close(a, b, 1e-5 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("device", DEVICES)
def test_coefficients_without_parameters_and_statistics(device: str) -> None:
    of = normalisation.moments(draw((2, 5, 3, 3), torch.float32, device, offset=1))
    norm = BatchNorm(None, None, None, None, True, 0.1, None, 1e-3)
    found = launch.coefficients(of, norm)
    for a, b in zip(found, normalisation.coefficients(of, norm), strict=True):
        close(a, b, 1e-6)


def numbers(y: Tensor) -> tuple[Coefficients, Coefficients]:
    """For y in fp64, and the same rounded to fp32."""
    norm = norm_of(y.shape[1], "cpu", torch.float64, 0.1)
    norm = BatchNorm(*(v.to(y.device) if torch.is_tensor(v) else v for v in norm))
    exact = normalisation.coefficients(normalisation.moments(y.double()), norm)
    return exact, Coefficients(*(each.float() for each in exact))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [(shape, torch.float32) for shape in SHAPES]
    + [(SHAPES[3], torch.float16), (SHAPES[5], torch.bfloat16), (SHAPES[1], torch.bfloat16)],
)
def test_forward_and_backward(
    shape: tuple[int, ...], dtype: torch.dtype, activation: str | None, device: str
) -> None:
    y, g = draw(shape, dtype, device, 0.5), draw(shape, dtype, device).flip(0).contiguous()
    exact, rounded = numbers(y)
    tolerance = TOLERANCE[dtype]
    z = launch.apply(y, rounded.scale, rounded.shift, activation)
    assert z.dtype == dtype
    assert z.is_contiguous(memory_format=CL)
    close(z, normalisation.apply(y.double(), exact.scale, exact.shift, activation), tolerance)

    dy, dgamma, dbeta = launch.apply_backward(g, y, rounded, activation)
    expected = normalisation.apply_backward(g.double(), y.double(), exact, activation)
    assert dy.dtype == dtype
    close(dy, expected[0], 3 * tolerance)
    close(dgamma, expected[1], 2e-5)
    close(dbeta, expected[2], 2e-5)

    dv, total = launch.output_gradient(g, z, activation)
    expected_dv, expected_total = normalisation.output_gradient(g.double(), z.double(), activation)
    close(dv, expected_dv, tolerance)
    close(total, expected_total, 2e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_definition_has_the_derivatives_of_autograd(activation: str | None) -> None:
    y = draw((3, 4, 3, 2), torch.float64, "cpu", 0.5).requires_grad_()
    norm = norm_of(4, "cpu", torch.float64, 0.1)
    assert norm.weight is not None
    assert norm.bias is not None
    gamma, beta = norm.weight.requires_grad_(), norm.bias.requires_grad_()
    z = normalisation.normalised(y, gamma, beta, norm.eps, activation)
    g = torch.randn_like(z)
    expected = torch.autograd.grad(z, (y, gamma, beta), g)
    with torch.no_grad():
        of = normalisation.coefficients(normalisation.moments(y), norm)
        torch.testing.assert_close(normalisation.apply(y, of.scale, of.shift, activation), z)
        found = normalisation.apply_backward(g, y, of, activation)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.fixture
def poisoned() -> Iterator[None]:
    """New tensors hold NaN until they are written."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("device", DEVICES)
def test_every_element_is_written_and_the_bits_repeat(device: str) -> None:
    assert torch.empty(3, device=device).isnan().all()
    y, g = draw((3, 20, 5, 7), torch.float32, device), draw((3, 20, 7, 5), torch.float32, device)
    g = g.transpose(2, 3)  # neither contiguous nor channels_last
    _, rounded = numbers(y)

    def run() -> list[Tensor]:
        of = launch.moments(y)
        z = launch.apply(y, rounded.scale, rounded.shift, "tanh")
        return [
            of.mean,
            of.m2,
            *launch.coefficients(of, norm_of(20, device, torch.float32, None)),
            z,
            *launch.apply_backward(g, y, rounded, "tanh"),
            *launch.output_gradient(g, z, "tanh"),
        ]

    for a, b in zip(run(), run(), strict=True):
        assert torch.equal(a, b)  # which NaN never is


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 4),
    channels=st.integers(1, 40),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    offset=st.floats(-100, 100),
)
def test_moments_of_any_shape(
    n: int, channels: int, height: int, width: int, offset: float
) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    y = draw((n, channels, height, width), torch.float32, device, offset)
    mean, m2, _ = launch.moments(y)
    expected = normalisation.moments(y.double())
    torch.testing.assert_close(mean.double(), expected.mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(m2.double(), expected.m2, rtol=1e-3, atol=1e-3)


def test_many_rows_are_shared_by_a_bounded_number_of_programs() -> None:
    for rows in (1, 31, 4096, 10**6, 10**8):
        for channels in (1, 3, 64, 130, 512):
            tiles = tiling(rows, channels)
            assert tiles.partials * tiles.rows_each >= rows
            assert (tiles.partials - 1) * tiles.rows_each < rows  # none has nothing to do
            assert tiles.partials * tiles.columns <= MAX_PROGRAMS
            assert tiles.block_c * tiles.columns >= channels


def test_relu_hands_nan_on() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    y = torch.full((1, 2, 1, 1), torch.nan, device=device)
    one = torch.ones(2, device=device)
    assert launch.apply(y, one, one, "relu").isnan().all()
