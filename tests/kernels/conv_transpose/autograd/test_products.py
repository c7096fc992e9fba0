"""The operators on Triton: derivatives of any order, autocast, torch.compile, the choice."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from kernels import conv2d, conv_transpose2d, conv_transpose2d_weight_grad, use_impl

autograd = pytest.importorskip("kernels.conv_transpose.autograd.products")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []

CL = torch.channels_last


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    yield
    convolutions.fp32_precision = before


def rand(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)


def leaves(*tensors: Tensor, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [t.detach().to(dtype).requires_grad_() for t in tensors]


def distance(ours: Tensor, expected: Tensor) -> float:
    return ((ours.double() - expected).norm() / expected.norm().clamp_min(1e-12)).item()


@pytest.mark.parametrize(("up", "activation"), [(True, "tanh"), (False, "leaky_relu")])
def test_gradients_of_first_and_second_order(up: bool, activation: str) -> None:
    function = conv_transpose2d if up else conv2d
    tensors = leaves(rand(1, 2, 2, 3), rand(*((2, 3) if up else (3, 2)), 4, 4), rand(3))
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(
            lambda *t: function(*t, activation=activation, impl="triton"), tensors, fast_mode=True
        )


@pytest.mark.parametrize("activation", [None, "relu", "leaky_relu", "tanh", "sigmoid"])
def test_derivatives_up_to_the_third_are_torchs(activation: str | None) -> None:
    def derivatives(impl: str) -> list[Tensor]:
        x, up, bias = tensors = leaves(rand(1, 2, 2, 3), rand(2, 3, 4, 4), rand(3))
        y = conv2d(conv_transpose2d(*tensors, activation=activation, impl=impl), up, impl=impl)
        found, value = [y.detach()], y.pow(3).sum()
        for leaf in (x, up, bias):
            (grad,) = torch.autograd.grad(value, leaf, create_graph=True)
            found.append(grad.detach())
            value = grad.pow(2).sum()
        return found

    for ours, expected in zip(derivatives("triton"), derivatives("torch"), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_gradients_of_the_weight_gradient() -> None:
    inputs = leaves(rand(1, 2, 2, 2), rand(1, 3, 5, 4))  # an odd size, too
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(
            lambda x, g: conv_transpose2d_weight_grad(x, g, "triton"), inputs, fast_mode=True
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("odd", [0, 1])
def test_first_derivatives(dtype: torch.dtype, odd: int) -> None:
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    for ours, torchs, shape, size in (
        (conv_transpose2d, F.conv_transpose2d, (17, 3), 3),
        (conv2d, F.conv2d, (3, 17), 6 + odd),
    ):
        tensors = rand(3, 17, size, size), rand(*shape, 4, 4), rand(3)
        mine = leaves(*tensors, dtype=dtype)
        right = leaves(*(t.detach() for t in mine))
        y = ours(*mine, activation="leaky_relu", impl="triton")
        expected = F.leaky_relu(torchs(*right, stride=2, padding=1), 0.2)
        g = rand(*y.shape)
        y.backward(g.to(dtype))
        expected.backward(g.to(dtype).double())
        assert distance(y, expected) < tolerance
        for a, b in zip(mine, right, strict=True):
            assert a.grad.dtype == dtype
            assert distance(a.grad, b.grad) < 2 * tolerance


@pytest.mark.parametrize("subset", range(1, 8))
def test_every_subset_of_gradients(subset: int) -> None:
    full = leaves(rand(1, 3, 4, 4), rand(2, 3, 4, 4), rand(2), dtype=torch.float32)
    some = [t.detach().requires_grad_(bool(subset >> i & 1)) for i, t in enumerate(full)]
    expected = torch.autograd.grad(conv2d(*full, activation="relu").pow(2).sum(), full)
    conv2d(*some, activation="relu", impl="triton").pow(2).sum().backward()
    for tensor, grad in zip(some, expected, strict=True):
        assert (tensor.grad is not None) == tensor.requires_grad
        if tensor.grad is not None:
            torch.testing.assert_close(tensor.grad, grad, rtol=1e-4, atol=1e-4)


def critic(x: Tensor, weight: Tensor, bias: Tensor, last: Tensor) -> Tensor:
    return conv2d(conv2d(x, weight, bias, activation="leaky_relu"), last).flatten(1).sum(1)


def penalty(impl: str, kind: str) -> tuple[Tensor, ...]:
    """A penalty's gradients: R1 of a critic, or path length of a generator."""
    with use_impl(impl):
        if kind == "r1":
            x, *parameters = leaves(
                rand(2, 2, 4, 4), rand(3, 2, 4, 4), rand(3), rand(1, 3, 4, 4), dtype=torch.float32
            )
            output = critic(x, *parameters)
        else:
            x, *parameters = leaves(
                rand(2, 3, 2, 2), rand(3, 2, 4, 4), rand(2), dtype=torch.float32
            )
            images = conv_transpose2d(x, *parameters, activation="tanh")
            output = images * rand(*images.shape, dtype=torch.float32)
        (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        length = slope.square().sum((1, 2, 3))
        length = length if kind == "r1" else (length.sqrt() - 1).square()
        return torch.autograd.grad(length.mean(), parameters, allow_unused=True)


@pytest.mark.parametrize("kind", ["r1", "path length"])
def test_penalties_are_the_same_on_either_implementation(kind: str) -> None:
    for ours, expected in zip(penalty("triton", kind), penalty("torch", kind), strict=True):
        if ours is None:  # what does not depend on a bias: torch may say 0
            assert expected is None or not expected.any()
        else:
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_autocast_as_torch_does() -> None:
    x, up, bias = leaves(rand(2, 6, 3, 3), rand(6, 3, 4, 4), rand(3), dtype=torch.float32)
    with torch.autocast(DEVICE, torch.bfloat16):
        y = conv_transpose2d(x, up, bias, impl="triton")
        grad = conv_transpose2d_weight_grad(x, y, impl="triton")
    assert y.dtype == grad.dtype == torch.bfloat16
    y.float().pow(2).sum().backward()
    assert up.grad.dtype == torch.float32
    expected = F.conv_transpose2d(x.double(), up.double(), bias.double(), 2, 1)
    assert distance(y, expected) < 1e-2


def test_tensors_are_converted_once_and_explain_counts_them() -> None:
    from kernels.conv_transpose.layout import conversions

    x, up = leaves(rand(2, 3, 2, 2), rand(3, 4, 4, 4), dtype=torch.float32)
    before = conversions()
    y = conv_transpose2d(x, up, impl="triton")
    y.backward(torch.ones_like(y))
    # x, the weight, and the gradient of y, which is contiguous as x is; none of them twice.
    assert conversions() == before + 3
    with use_impl("triton"):
        report = kernels.explain("conv_transpose2d", DEVICE)
    assert f"NCHW tensors converted to channels_last so far: {before + 3}" in report
    assert "derivatives of any order" in report


@pytest.mark.parametrize("name", ["dgrad", "fprop", "wgrad"])
def test_opcheck(name: str) -> None:
    y, x = rand(1, 3, 2, 2, dtype=torch.float32), rand(1, 2, 4, 4, dtype=torch.float32)
    weight, bias = rand(3, 2, 4, 4, dtype=torch.float32), rand(2, dtype=torch.float32)
    y, x, weight = (t.contiguous(memory_format=CL).requires_grad_() for t in (y, x, weight))
    arguments = {
        "dgrad": (y, weight, bias.requires_grad_(), "tanh", 4, 4),
        "fprop": (x, weight, None, None),
        "wgrad": (x, y),
    }
    torch.library.opcheck(getattr(autograd._LIBRARY, name), arguments[name])


def test_compiles_as_one_graph() -> None:
    torch.compiler.reset()
    (up,) = leaves(rand(4, 3, 4, 4), dtype=torch.float32)

    def both(x: Tensor) -> Tensor:
        y = conv_transpose2d(x, up, activation="tanh", impl="triton")
        return conv2d(y, up, activation="leaky_relu", impl="triton")

    x = rand(2, 4, 2, 2, dtype=torch.float32)
    y = torch.compile(both, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(y, both(x))
    (grad,) = torch.autograd.grad(y.pow(2).sum(), up)
    (expected,) = torch.autograd.grad(both(x).pow(2).sum(), up)
    torch.testing.assert_close(grad, expected)


# --- the choice ---


def test_transforms_of_torch_func_go_to_torch() -> None:
    x, up = rand(3, 2, 2, 2), rand(2, 3, 4, 4)
    _, tangent = torch.func.jvp(lambda x: conv_transpose2d(x, up), (x,), (x,))
    torch.testing.assert_close(tangent, conv_transpose2d(x, up))
    with pytest.raises(kernels.ImplUnavailableError, match=r"a transform of torch\.func"):
        torch.func.jvp(lambda x: conv_transpose2d(x, up, impl="triton"), (x,), (x,))


@pytest.mark.parametrize(
    ("x", "weight", "why"),
    [
        (torch.zeros(0, 2, 2, 2), torch.zeros(2, 3, 4, 4), r"\[0, 2, 2, 2\] is empty"),
        (torch.zeros(1, 2, 2, 2), torch.zeros(2, 0, 4, 4), r"\[2, 0, 4, 4\] is empty"),
        (torch.zeros(1, 2, 2, 2).to(torch.float8_e5m2), None, "float8_e5m2"),
    ],
)
def test_what_triton_does_not_do(x: Tensor, weight: Tensor | None, why: str) -> None:
    weight = torch.zeros(2, 3, 4, 4).to(x.dtype) if weight is None else weight
    with pytest.raises(kernels.ImplUnavailableError, match=f"{why}.*Triton supports kernel 4"):
        conv_transpose2d(x.to(DEVICE), weight.to(DEVICE), impl="triton")


def test_auto_is_torch_where_nothing_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.conv_transpose import functions, tiles

    proposed = tuple(row._replace(verified=False) for row in tiles.table(90))
    monkeypatch.setattr(tiles, "table", lambda architecture: proposed)
    monkeypatch.setattr(tiles, "entries", lambda *call: [r for r in proposed if r[:4] == call[:4]])
    reason = tiles.why_torch("dgrad", "bf16", 512, 256, 1024, 90)
    assert "dgrad in bf16 for 512 and 256 channels on sm_90 is verified" in reason
    assert "python -m kernels.tune" in reason
    x = torch.zeros(1, 2, 2, 2)
    assert "on cpu" in functions.why_torch("dgrad", x, 2, 3, 4)
    assert functions.why_torch_on(torch.device("cpu")) is None
    assert "PyTorch sees no cuda:99" in functions.why_torch_on(torch.device("cuda", 99))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 100)
    monkeypatch.setattr(tiles, "architecture_of", lambda device: 90)
    assert "for sm_90 is verified yet" in functions.why_torch_on(torch.device("cuda", 99))
    verified = (proposed[0]._replace(verified=True),)
    monkeypatch.setattr(tiles, "table", lambda architecture: verified)
    assert functions.why_torch_on(torch.device("cuda", 99)) is None


def test_auto_is_triton_where_the_table_says_that_it_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.conv_transpose import tiles

    entry = tiles.table(90)[0]._replace(verified=True, measured_ratio=1.2, positions=1000)
    slow = entry._replace(measured_ratio=0.9, positions=5000)
    monkeypatch.setattr(tiles, "entries", lambda *_: (entry, slow))
    call = (entry.op, entry.precision, entry.b, entry.a)
    assert tiles.why_torch(*call, 4999, 90) is None
    assert "measured at 0.90 of torch's speed" in tiles.why_torch(*call, 5000, 90)
    assert "is verified" in tiles.why_torch(*call, 999, 90)  # smaller than what was measured
