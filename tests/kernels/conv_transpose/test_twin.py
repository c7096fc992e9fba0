"""The CPU formulations against torch's operators: each path, each dtype, each order."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.conv_transpose import twin
from kernels.conv_transpose.twin import dgrad, fprop

# (N, B, A, H, W) of the small image y [N, B, H, W]; A channels of the large image.
SHAPES = [
    (3, 5, 7, 3, 2),  # few positions against B: weight gradient as a matrix product
    (2, 2, 6, 9, 5),  # many: torch's
    (1, 4, 1, 1, 1),  # narrow: planes
    (2, 3, 3, 2, 5),
    (4, 16, 17, 2, 2),
    (0, 3, 5, 2, 2),
]


def rand(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def reference(product: str, operand: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    function = F.conv2d if product == "fprop" else F.conv_transpose2d
    return function(operand, weight, bias, stride=2, padding=1)


def case(product: str, shape: tuple[int, ...], odd: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    n, b, a, h, w = shape
    weight = rand(b, a, 4, 4)
    if product == "fprop":
        return rand(n, a, 2 * h + odd, 2 * w + odd), weight, rand(b)
    return rand(n, b, h, w), weight, rand(a)


def leaves(tensors: tuple[Tensor, ...], dtype: torch.dtype) -> list[Tensor]:
    return [t.detach().to(dtype).requires_grad_() for t in tensors]


def distance(ours: Tensor, expected: Tensor) -> float:
    return ((ours.double() - expected).norm() / expected.norm().clamp_min(1e-12)).item()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("product", "odd"), [("fprop", 0), ("fprop", 1), ("dgrad", 0)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-13), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)],
)
def test_values_and_gradients(
    product: str, odd: int, shape: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    tensors = tuple(t.to(dtype) for t in case(product, shape, odd))
    ours, exact = leaves(tensors, dtype), leaves(tensors, torch.float64)
    y = getattr(twin, product)(*ours)
    expected = reference(product, *exact)
    assert y.dtype == dtype
    assert y.shape == expected.shape
    assert distance(y, expected) <= tolerance
    g = rand(*expected.shape)
    y.backward(g.to(dtype))
    expected.backward(g.to(dtype).double())
    for leaf, ref in zip(ours, exact, strict=True):
        assert leaf.grad is not None
        assert ref.grad is not None
        assert leaf.grad.dtype == dtype
        assert leaf.grad.shape == leaf.shape
        assert distance(leaf.grad, ref.grad) <= tolerance


@pytest.mark.parametrize("shape", SHAPES[:5])
@pytest.mark.parametrize(("product", "odd"), [("fprop", 0), ("fprop", 1), ("dgrad", 0)])
def test_gradients_of_first_and_second_order(
    product: str, odd: int, shape: tuple[int, ...]
) -> None:
    function = getattr(twin, product)
    operands = leaves(case(product, shape, odd), torch.float64)
    assert torch.autograd.gradcheck(function, operands, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, operands, fast_mode=True)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_third_order(shape: tuple[int, ...]) -> None:
    x, weight, _ = leaves(case("fprop", shape), torch.float64)

    def third(product: object) -> Tensor:
        y = (fprop if product is fprop else F.conv2d)(x, weight, *_rest(product))
        first, w1 = torch.autograd.grad(y.pow(4).sum(), (x, weight), create_graph=True)
        (second,) = torch.autograd.grad(first.pow(2).sum() + w1.pow(2).sum(), x, create_graph=True)
        (result,) = torch.autograd.grad(second.pow(2).sum(), weight)
        return result

    torch.testing.assert_close(third(fprop), third(F.conv2d), rtol=1e-9, atol=1e-9)


def _rest(product: object) -> tuple[object, ...]:
    return (None,) if product is fprop else (None, 2, 1)


@pytest.mark.parametrize("product", ["fprop", "dgrad"])
def test_every_subset_of_gradients(product: str) -> None:
    full = leaves(case(product, SHAPES[0]), torch.float64)
    function = getattr(twin, product)
    expected = torch.autograd.grad(function(*full).pow(2).sum(), full)
    for subset in range(1, 8):
        wanted = [bool(subset >> i & 1) for i in range(3)]
        some = [t.detach().requires_grad_(w) for t, w in zip(full, wanted, strict=True)]
        function(*some).pow(2).sum().backward()
        for tensor, want, grad in zip(some, wanted, expected, strict=True):
            assert (tensor.grad is not None) == want
            if want:
                torch.testing.assert_close(tensor.grad, grad)


def test_first_order_and_any_order_paths_agree() -> None:
    for product in ("fprop", "dgrad"):
        for shape in SHAPES[:5]:
            operands = leaves(case(product, shape), torch.float32)
            y = getattr(twin, product)(*operands)
            g = torch.randn_like(y)
            once = torch.autograd.grad(y, operands, g, retain_graph=True)
            again = torch.autograd.grad(y, operands, g, create_graph=True)
            for a, b in zip(once, again, strict=True):
                torch.testing.assert_close(a, b.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("narrow", [1, 4])
def test_formulations_agree(narrow: int) -> None:
    y, weight = rand(2, 6, 3, 5), rand(6, narrow, 4, 4)
    bias = rand(narrow)
    expected = twin._dgrad(y, weight, bias, (6, 10))
    torch.testing.assert_close(twin._dgrad_planes(y, weight, bias), expected)
    x = rand(2, narrow, 6, 10)
    torch.testing.assert_close(twin._wgrad_matmul(x, y), twin._wgrad(x, y))


def test_a_choice_is_made_by_shape_and_dtype() -> None:
    many, few = torch.empty(64, 8, 16, 16), torch.empty(2, 64, 4, 4)
    assert twin._matmul_pays(few)
    assert not twin._matmul_pays(many)
    between = torch.empty(16, 16, 4, 4)  # 16 positions a channel
    assert not twin._matmul_pays(between)
    assert twin._matmul_pays(between.bfloat16())
    assert twin._planes_pay(torch.empty(8, 3, 4, 4))
    assert not twin._planes_pay(torch.empty(8, 5, 4, 4))
    assert not twin._planes_pay(torch.empty(8, 3, 4, 4, dtype=torch.bfloat16))


@pytest.mark.parametrize("width", [3, 6])
def test_permuted_sliced_and_expanded_operands(width: int) -> None:
    big = rand(5, 9, 2, 6)
    y = big.permute(2, 3, 0, 1)[:, :, :4, ::2]  # [2, 6, 4, 5]
    weight = rand(width, 6, 4, 4).transpose(0, 1)
    expected = F.conv_transpose2d(y, weight, None, 2, 1)
    torch.testing.assert_close(dgrad(y, weight, None), expected)
    x = rand(2, 1, 8, 8).expand(2, width, 8, 8).detach().requires_grad_()
    w = weight.detach().requires_grad_()
    fprop(x, w, None).sum().backward()  # the incoming gradient has strides of 0
    assert w.grad is not None
    x2, w2 = x.detach().requires_grad_(), w.detach().requires_grad_()
    F.conv2d(x2, w2, None, 2, 1).sum().backward()
    torch.testing.assert_close(w.grad, w2.grad)
    torch.testing.assert_close(x.grad, x2.grad)


def test_channels_last_weights_keep_their_layout_in_gradients() -> None:
    w = rand(64, 8, 4, 4, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    w.requires_grad_()
    x = rand(2, 8, 4, 4, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    fprop(x, w, None).sum().backward()
    assert w.grad is not None
    assert w.grad.is_contiguous(memory_format=torch.channels_last)


def test_transforms_of_torch_func() -> None:
    y, weight = rand(3, 4, 2, 2), rand(4, 2, 4, 4)

    def energy(weight: Tensor, sample: Tensor) -> Tensor:
        return dgrad(sample[None], weight, None).pow(2).sum()

    per_sample = torch.func.vmap(torch.func.grad(energy), in_dims=(None, 0))(weight, y)
    for grad, sample in zip(per_sample, y, strict=True):
        leaf = weight.clone().requires_grad_()
        energy(leaf, sample).backward()
        torch.testing.assert_close(grad, leaf.grad)
    _, tangent = torch.func.jvp(lambda y: dgrad(y, weight, None), (y,), (y,))
    torch.testing.assert_close(tangent, dgrad(y, weight, None))


def test_derivatives_inside_autocast_keep_their_dtype() -> None:
    for product in ("fprop", "dgrad"):
        operands = leaves(case(product, (2, 4, 3, 4, 4)), torch.float32)
        y = getattr(twin, product)(*operands).pow(2).sum()
        outside = torch.autograd.grad(y, operands, retain_graph=True)
        with torch.autocast("cpu", torch.bfloat16):
            inside = torch.autograd.grad(y, operands)
        for a, b in zip(outside, inside, strict=True):
            assert torch.equal(a, b)


def test_operands_are_left_alone() -> None:
    y, weight = rand(2, 3, 4, 4), rand(3, 2, 4, 4)
    before = y.clone(), weight.clone()
    dgrad(y, weight, None)
    assert torch.equal(y, before[0])
    assert torch.equal(weight, before[1])
