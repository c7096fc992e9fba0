import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import kernels
from kernels import conv2d, conv_transpose2d, conv_transpose2d_weight_grad

ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {
    None: lambda y: y,
    "relu": torch.relu,
    "leaky_relu": lambda y: torch.where(y > 0, y, 0.2 * y),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
CL = torch.channels_last


def transposed_by_definition(x: Tensor, weight: Tensor) -> Tensor:
    """The sum in the docstring, written out."""
    n, _, h, w = x.shape
    y = torch.zeros(n, weight.shape[1], 2 * h, 2 * w, dtype=x.dtype)
    for i, j, a, b, r, s in itertools.product(range(h), range(w), *([(0, 1)] * 4)):
        if 0 <= i + a - r < h and 0 <= j + b - s < w:
            tap = weight[:, :, 1 - a + 2 * r, 1 - b + 2 * s]
            y[:, :, 2 * i + a, 2 * j + b] += x[:, :, i + a - r, j + b - s] @ tap
    return y


def test_transposed_against_its_definition() -> None:
    x, weight = torch.randn(2, 3, 3, 4).double(), torch.randn(3, 5, 4, 4).double()
    torch.testing.assert_close(conv_transpose2d(x, weight), transposed_by_definition(x, weight))


def test_transposed_by_hand() -> None:
    weight = torch.arange(16.0).view(1, 1, 4, 4)
    y = conv_transpose2d(torch.ones(1, 1, 1, 1), weight)  # the middle of the kernel
    assert y.tolist() == [[[[5, 6], [9, 10]]]]
    y = conv_transpose2d(torch.ones(1, 1, 1, 1), weight, torch.tensor([-6.0]), activation="relu")
    assert y.tolist() == [[[[0, 0], [3, 4]]]]


def test_convolution_by_hand() -> None:
    weight = torch.arange(16.0).view(1, 1, 4, 4)
    assert conv2d(torch.ones(1, 1, 2, 2), weight).item() == 5 + 6 + 9 + 10
    assert (
        conv2d(
            torch.ones(1, 1, 2, 2), weight, torch.tensor([-40.0]), activation="leaky_relu"
        ).item()
        == -2
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("channels", [(6, 5), (5, 3)])
def test_values_and_gradients(
    activation: str | None, with_bias: bool, channels: tuple[int, int]
) -> None:
    c_in, c_out = channels
    for ours, torchs, shape in (
        (conv_transpose2d, F.conv_transpose2d, (c_in, c_out, 4, 4)),
        (conv2d, F.conv2d, (c_out, c_in, 4, 4)),
    ):
        tensors = [torch.randn(2, c_in, 4, 6).double(), torch.randn(shape).double()]
        if with_bias:
            tensors.append(torch.randn(c_out).double())
        mine = [t.clone().requires_grad_() for t in tensors]
        reference = [t.clone().requires_grad_() for t in tensors]
        y = ours(*mine, activation=activation)
        expected = ACTIVATIONS[activation](
            torchs(reference[0], reference[1], *reference[2:] or [None], stride=2, padding=1)
        )
        torch.testing.assert_close(y, expected)
        g = torch.randn_like(y)
        y.backward(g)
        expected.backward(g)
        for a, b in zip(mine, reference, strict=True):
            torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("c_out", [2, 5])
def test_gradients_of_first_and_second_order(activation: str | None, c_out: int) -> None:
    torch.manual_seed(3)  # away from the kinks
    x = torch.randn(2, 3, 2, 3).double().requires_grad_()
    bias = torch.randn(c_out).double().requires_grad_()
    up = torch.randn(3, c_out, 4, 4).double().requires_grad_()
    down = torch.randn(c_out, 3, 4, 4).double().requires_grad_()
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        for function, weight in ((conv_transpose2d, up), (conv2d, down)):
            assert check(
                lambda *t, f=function: f(*t, activation=activation),
                (x, weight, bias),
                fast_mode=True,
            )


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 3),
    c_in=st.integers(1, 18),
    c_out=st.integers(1, 9),
    h=st.integers(2, 9),
    w=st.integers(2, 9),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    layout=st.sampled_from(["contiguous", "channels_last", "sliced", "permuted"]),
    seed=st.integers(0, 100),
)
def test_any_shape_dtype_and_layout(
    n: int, c_in: int, c_out: int, h: int, w: int, dtype: torch.dtype, layout: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    if layout == "sliced":
        x = rand(n, c_in + 1, h, 2 * w)[:, 1:, :, ::2]
    elif layout == "permuted":
        x = rand(w, n, c_in, h).permute(1, 2, 3, 0)
    else:
        x = rand(n, c_in, h, w)
        x = x.contiguous(memory_format=CL) if layout == "channels_last" else x
    tolerance = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-6}.get(dtype, 1e-13)
    bias = rand(c_out)
    for ours, torchs, weight in (
        (conv_transpose2d, F.conv_transpose2d, rand(c_in, c_out, 4, 4)),
        (conv2d, F.conv2d, rand(c_out, c_in, 4, 4)),
    ):
        y = ours(x, weight, bias)
        expected = torchs(x.double(), weight.double(), bias.double(), stride=2, padding=1)
        assert y.dtype == dtype
        assert ((y.double() - expected).norm() / expected.norm()).item() < tolerance


@pytest.mark.parametrize("c_out", [1, 3, 8])
@pytest.mark.parametrize("activation", [None, "tanh"])
def test_channels_last_in_channels_last_out(c_out: int, activation: str | None) -> None:
    x = torch.randn(2, 6, 4, 4).contiguous(memory_format=CL)
    up, down = torch.randn(6, c_out, 4, 4), torch.randn(c_out, 6, 4, 4)
    assert conv_transpose2d(x, up, activation=activation).is_contiguous(memory_format=CL)
    assert conv2d(x, down, activation=activation).is_contiguous(memory_format=CL)


@pytest.mark.parametrize("width", [3, 8])
def test_nan_and_inf_are_handed_on(width: int) -> None:
    x = torch.zeros(1, 4, 3, 3)
    x[0, 0, 1, 1] = float("nan")
    y = conv_transpose2d(x, torch.ones(4, width, 4, 4))
    assert y.isnan().sum().item() == 16 * width
    assert conv2d(x, torch.ones(width, 4, 4, 4)).isnan().all()
    x[0, 0, 1, 1] = float("inf")
    assert conv_transpose2d(x, torch.ones(4, width, 4, 4)).isinf().sum().item() == 16 * width


@pytest.mark.parametrize("c_out", [3, 8])
def test_autocast_as_torch_does(c_out: int) -> None:
    x, weight = torch.randn(2, 6, 4, 4), torch.randn(6, c_out, 4, 4)
    bias = torch.randn(c_out)
    mine = [t.clone().requires_grad_() for t in (x, weight, bias)]
    theirs = [t.clone().requires_grad_() for t in (x, weight, bias)]
    with torch.autocast("cpu", torch.bfloat16):
        y = conv_transpose2d(*mine)
        expected = F.conv_transpose2d(*theirs, stride=2, padding=1)
        mixed = conv_transpose2d(x.bfloat16(), weight, bias)
    assert y.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(mixed, expected)
    y.float().pow(2).sum().backward()
    expected.float().pow(2).sum().backward()
    for a, b in zip(mine, theirs, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert a.grad.dtype == torch.float32
        assert ((a.grad - b.grad).norm() / b.grad.norm()).item() < 1e-2


def test_autocast_leaves_float64_alone() -> None:
    x, weight = torch.randn(1, 2, 4, 4).double(), torch.randn(2, 3, 4, 4).double()
    with torch.autocast("cpu", torch.bfloat16):
        assert conv_transpose2d(x, weight).dtype == torch.float64


def test_results_repeat_bit_for_bit() -> None:
    x, weight = torch.randn(4, 16, 8, 8), torch.randn(16, 3, 4, 4, requires_grad=True)
    grads = []
    for _ in range(2):
        y = conv_transpose2d(x, weight, activation="tanh")
        grads.append((y, *torch.autograd.grad(y.pow(2).sum(), weight)))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_compiles_as_one_graph() -> None:
    torch.compiler.reset()
    up, down = torch.randn(6, 3, 4, 4, requires_grad=True), torch.randn(6, 3, 4, 4)

    def both(x: Tensor) -> Tensor:
        return conv2d(conv_transpose2d(x, up, activation="tanh"), down, activation="leaky_relu")

    x = torch.randn(2, 6, 4, 4)
    y = torch.compile(both, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(y, both(x))
    (grad,) = torch.autograd.grad(y.pow(2).sum(), up)
    (expected,) = torch.autograd.grad(both(x).pow(2).sum(), up)
    torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-4)


# --- bad input ---

X, UP, DOWN = torch.zeros(2, 3, 4, 4), torch.zeros(3, 5, 4, 4), torch.zeros(5, 3, 4, 4)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        (X, torch.zeros(3, 5, 4), None, r"weight has shape \[3, 5, 4\]"),
        (
            X[0, 0],
            UP,
            None,
            r"x has shape \[4, 4\]: expected \[N, Cin, H, W\] or \[Cin, H, W\]",
        ),
        (X[:, :2], UP, None, "x has 2 channels .* takes 3"),
        (X[:, :, :0], UP, None, "x has shape .* at least 1"),
        (X, UP, torch.zeros(3), r"bias has shape \[3\]: expected \[5\]"),
        (X, UP, torch.zeros(1, 5), r"bias has shape \[1, 5\]"),
        (X, UP.to("meta"), None, "weight is on meta and x on cpu"),
        (X, UP, torch.zeros(5, device="meta"), "bias is on meta and x on cpu"),
        (X, UP.double(), None, r"weight has dtype torch.float64 and x torch.float32: .*autocast"),
        (X, UP, torch.zeros(5).half(), "bias has dtype torch.float16"),
        (X, UP.long(), None, "weight has dtype torch.int64"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    x: Tensor, weight: Tensor, bias: Tensor | None, message: str
) -> None:
    with pytest.raises(RuntimeError, match=message):
        conv_transpose2d(x, weight, bias)


def test_the_convolutions_own_errors() -> None:
    with pytest.raises(RuntimeError, match=r"x has 3 channels .*\[Cout, Cin, 4, 4\] takes 5"):
        conv2d(X, UP)
    with pytest.raises(RuntimeError, match=r"bias has shape \[3\]: expected \[5\]"):
        conv2d(X, DOWN, torch.zeros(3))
    with pytest.raises(RuntimeError, match=r"x has shape \[2, 3, 1, 4\].* at least 2"):
        conv2d(X[:, :, :1], DOWN)


def test_mixed_devices_and_integers_are_errors_under_autocast_too() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RuntimeError, match="weight is on meta"):
            conv_transpose2d(X, UP.to("meta"))
        with pytest.raises(RuntimeError, match=r"weight has dtype torch.int64"):
            conv_transpose2d(X, UP.long())


def test_unknown_options() -> None:
    known = "known: None, 'relu', 'leaky_relu', 'tanh', 'sigmoid'"
    for function, weight in ((conv_transpose2d, UP), (conv2d, DOWN)):
        with pytest.raises(ValueError, match=f"activation='gelu' is not known; {known}"):
            function(X, weight, activation="gelu")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="impl: unknown implementation 'cudnn'"):
            function(X, weight, impl="cudnn")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argument", "value", "kind", "message"),
    [
        ("stride", 0, RuntimeError, "stride=0: expected integers of at least 1"),
        ("stride", -1, RuntimeError, "stride=-1: expected integers of at least 1"),
        ("padding", (1, -1), RuntimeError, r"padding=\(1, -1\): expected integers of at least 0"),
        ("padding", (1, 1, 1), RuntimeError, r"padding=\(1, 1, 1\): expected one integer or two"),
        ("dilation", 0, RuntimeError, "dilation=0: expected integers of at least 1"),
        ("groups", -2, RuntimeError, "groups=-2: expected integers of at least 1"),
        ("stride", 2.0, TypeError, "stride=2.0: expected integers"),
        ("stride", None, TypeError, "stride=None: expected integers"),
        ("stride", True, TypeError, "stride=True: expected integers"),
        ("stride", (2, 2.5), TypeError, r"stride=\(2, 2.5\): expected integers"),
        (
            "stride",
            "relu",
            TypeError,
            r"stride='relu': expected .*torch's order.*activation='relu'",
        ),
        ("groups", (1, 1), TypeError, r"groups=\(1, 1\): expected integers"),
    ],
)
def test_geometries_that_are_none_have_torchs_kind_of_error(
    argument: str, value: object, kind: type[Exception], message: str
) -> None:
    for ours, torchs, weight in (
        (conv_transpose2d, F.conv_transpose2d, UP),
        (conv2d, F.conv2d, DOWN),
    ):
        with pytest.raises(kind, match=message):
            ours(X, weight, **{argument: value})  # type: ignore[arg-type]
        with pytest.raises(kind):
            torchs(X, weight, **{argument: value})  # type: ignore[call-overload]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_words_for_the_padding() -> None:
    x, weight = torch.randn(2, 3, 7, 8), torch.randn(5, 3, 4, 4)
    for padding, stride in (("valid", 2), ("valid", 1), ("same", 1)):
        expected = F.conv2d(x, weight, None, stride, padding)
        torch.testing.assert_close(conv2d(x, weight, None, stride, padding), expected)  # type: ignore[arg-type]
        with pytest.raises(kernels.ImplUnavailableError, match=f"padding is '{padding}'|stride is"):
            conv2d(x, weight, None, stride, padding, impl="triton")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="padding='same' is not supported for strided"):
        conv2d(x, weight, padding="same")
    with pytest.raises(RuntimeError, match=r"padding='full': expected .* 'same' or 'valid'"):
        conv2d(x, weight, padding="full")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="padding='same': expected integers"):
        conv_transpose2d(X, UP, padding="same")  # type: ignore[arg-type]


def test_arguments_in_torchs_order() -> None:
    x, bias = torch.randn(2, 4, 9, 8), torch.randn(6)
    up, down = torch.randn(4, 3, 4, 4), torch.randn(6, 2, 4, 4)
    expected = F.conv_transpose2d(x, up, bias, 3, 2, 1, 2, 2)
    torch.testing.assert_close(conv_transpose2d(x, up, bias, 3, 2, 1, 2, 2), expected)
    expected = F.conv2d(x, down, bias, (3, 1), 2, 1, 2)
    torch.testing.assert_close(conv2d(x, down, bias, (3, 1), 2, 1, 2), expected)


@pytest.mark.parametrize(
    "two",
    [np.int64(2), np.int32(2), [2, 2], (2,), torch.Size((2, 2)), (np.int64(2), 2), torch.tensor(2)],
)
def test_every_kind_of_integer_and_sequence(two: int) -> None:
    one = torch.Size((1, 1)) if isinstance(two, torch.Size) else np.int64(1)
    for ours, torchs, weight in (
        (conv_transpose2d, F.conv_transpose2d, torch.randn(3, 5, 4, 4)),
        (conv2d, F.conv2d, torch.randn(5, 3, 4, 4)),
    ):
        x = torch.randn(2, 3, 4, 6)
        expected = torchs(x, weight, None, two, one)
        assert torch.equal(ours(x, weight, None, two, one), ours(x, weight))
        torch.testing.assert_close(ours(x, weight, None, two, one), expected)


@pytest.mark.parametrize("impl", ["auto", "triton"])
def test_one_image_without_a_batch(impl: Literal["auto", "triton"]) -> None:
    if impl == "triton":
        pytest.importorskip("triton")
    device = "cuda" if impl == "triton" and torch.cuda.is_available() else "cpu"
    x = torch.randn(3, 4, 6, device=device)
    for function, shape in ((conv_transpose2d, (3, 5, 4, 4)), (conv2d, (5, 3, 4, 4))):
        weight = torch.randn(shape, device=device)
        y = function(x, weight, activation="tanh", impl=impl)
        torch.testing.assert_close(y, function(x[None], weight, activation="tanh", impl=impl)[0])


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.complex128])
def test_other_dtypes_are_torchs(dtype: torch.dtype) -> None:
    x = (10 * torch.randn(2, 3, 5, 6, dtype=torch.complex128)).real.to(dtype)
    for ours, torchs, shape in (
        (conv_transpose2d, F.conv_transpose2d, (3, 5, 4, 4)),
        (conv2d, F.conv2d, (5, 3, 4, 4)),
    ):
        weight = (10 * torch.randn(shape)).to(dtype)
        torch.testing.assert_close(ours(x, weight), torchs(x, weight, stride=2, padding=1))
        with torch.autocast("cpu", torch.bfloat16):
            assert ours(x, weight).dtype == dtype
        with pytest.raises(kernels.ImplUnavailableError, match=f"a tensor has dtype {dtype}"):
            ours(x, weight, impl="triton")


@pytest.mark.parametrize(
    ("kernel", "geometry", "why"),
    [
        (3, {}, "the kernel is 3×3"),
        (4, {"stride": 1}, r"stride is \(1, 1\)"),
        (4, {"padding": (1, 0)}, r"padding is \(1, 0\)"),
        (5, {"stride": (3, 2), "padding": 2, "dilation": 2}, "the kernel is 5×5"),
        (4, {"dilation": 2}, r"dilation is \(2, 2\)"),
        (4, {"groups": 2}, "groups is 2"),
    ],
)
def test_other_geometries_are_torchs(kernel: int, geometry: dict[str, int], why: str) -> None:
    groups = geometry.get("groups", 1)
    x, bias = torch.randn(2, 4, 9, 8), torch.randn(6)
    for ours, torchs, channels in (
        (conv_transpose2d, F.conv_transpose2d, (4, 6 // groups)),
        (conv2d, F.conv2d, (6, 4 // groups)),
    ):
        weight = torch.randn(*channels, kernel, kernel)
        options = {"stride": 2, "padding": 1, **geometry}
        expected = torch.relu(torchs(x, weight, bias, **options))
        torch.testing.assert_close(ours(x, weight, bias, activation="relu", **geometry), expected)
        with pytest.raises(kernels.ImplUnavailableError, match=f"{why}.*supports kernel 4"):
            ours(x, weight, bias, impl="triton", **geometry)


def test_output_padding_is_torchs() -> None:
    expected = F.conv_transpose2d(X, UP, None, 2, 1, output_padding=1)
    torch.testing.assert_close(conv_transpose2d(X, UP, output_padding=1), expected)
    with pytest.raises(kernels.ImplUnavailableError, match=r"output_padding is \(1, 1\)"):
        conv_transpose2d(X, UP, output_padding=1, impl="triton")


@pytest.mark.parametrize("odd", [0, 1])
def test_weight_gradient(odd: int) -> None:
    x, grad = torch.randn(2, 3, 4, 5).double(), torch.randn(2, 6, 8 + odd, 10).double()
    weight = torch.zeros(3, 6, 4, 4).double().requires_grad_()
    F.conv_transpose2d(x, weight, None, 2, 1, output_padding=(odd, 0)).backward(grad)
    torch.testing.assert_close(conv_transpose2d_weight_grad(x, grad), weight.grad)
    leaves = x.requires_grad_(), grad.requires_grad_()
    assert torch.autograd.gradcheck(conv_transpose2d_weight_grad, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(conv_transpose2d_weight_grad, leaves, fast_mode=True)


def test_weight_gradient_of_what_does_not_fit() -> None:
    grad = torch.zeros(2, 5, 8, 8)
    with pytest.raises(RuntimeError, match=r"x has shape \[3, 4, 4\]: expected \[N, C, H, W\]"):
        conv_transpose2d_weight_grad(X[0], grad)
    with pytest.raises(RuntimeError, match=r"grad has shape .* expected \[2, Cout, 8, 8\]"):
        conv_transpose2d_weight_grad(X, grad[:, :, :6])
    with pytest.raises(RuntimeError, match=r"grad has dtype torch\.float64 and x torch\.float32"):
        conv_transpose2d_weight_grad(X, grad.double())
    with pytest.raises(RuntimeError, match="grad is on meta and x on cpu"):
        conv_transpose2d_weight_grad(X, grad.to("meta"))
    with pytest.raises(RuntimeError, match=r"x has dtype torch\.int64: it must be floating point"):
        conv_transpose2d_weight_grad(X.long(), grad.long())
