"""Under "auto" every product of a derivative is asked for by itself."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels.conv_transpose.definitions.normalisation import BatchNorm
from kernels.conv_transpose.geometry import DEFAULT
from kernels.conv_transpose.layers import Layer
from kernels.conv_transpose.layers import run_layers as composition

products = pytest.importorskip("kernels.conv_transpose.autograd.products")
layers = pytest.importorskip("kernels.conv_transpose.autograd.layers")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []
REFUSED = ("dgrad", "fprop", "wgrad")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The products that were launched on Triton."""
    found: Counter[str] = Counter()

    def counting(name: str, product: Any) -> Any:
        def launch(*args: Any, **kwargs: Any) -> Any:
            found[name] += 1
            return product(*args, **kwargs)

        return launch

    for name in REFUSED:
        product = counting(name, getattr(products.launch, name))
        monkeypatch.setattr(products.launch, name, product)
        monkeypatch.setattr(layers, name, product)
    return found


def refuse(monkeypatch: pytest.MonkeyPatch, *refused: str) -> None:
    """Have the table prefer torch for these products, and Triton for the others."""
    monkeypatch.setattr(products, "prefers_torch", lambda op, *_: op in refused)


def rand(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    return values.to(DEVICE).requires_grad_()


@pytest.mark.parametrize("refused", REFUSED)
def test_a_refused_product_is_torchs(
    refused: str, launched: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, refused)
    x, weight = rand(2, 3, 3, 4), rand(3, 2, 4, 4, seed=1)
    y = products.conv_transpose2d(x, weight, None, None, DEFAULT, automatic=True)
    expected = torch.nn.functional.conv_transpose2d(x, weight, None, 2, 1)
    torch.testing.assert_close(y, expected)
    g = rand(*y.shape, seed=2).detach()
    ours = torch.autograd.grad(y, (x, weight), g)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, (x, weight), g))
    # Forward was asked for by dispatch, before it came here.
    assert launched == Counter({"dgrad": 1, "fprop": 1, "wgrad": 1}) - Counter(
        {} if refused == "dgrad" else {refused: 1}
    )


@pytest.mark.parametrize("refused", [(), ("fprop",), REFUSED])
def test_derivatives_of_any_order(
    refused: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, *refused)
    x, weight = rand(1, 1, 2, 4), rand(2, 1, 4, 4, seed=1)

    def convolution(x: Tensor, weight: Tensor) -> Tensor:
        return products.conv2d(x, weight, None, "tanh", DEFAULT, automatic=True)

    def weight_grad(x: Tensor, grad: Tensor) -> Tensor:
        return products.conv_transpose2d_weight_grad(x, grad, automatic=True)

    # By random directions: the interpreter is slow.
    assert torch.autograd.gradcheck(convolution, (x, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(convolution, (x, weight), fast_mode=True)
    assert torch.autograd.gradcheck(weight_grad, (rand(1, 2, 1, 2), x), fast_mode=True)


def test_an_order_is_not_asked(launched: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, *REFUSED)
    x, weight = rand(1, 2, 4, 4), rand(3, 2, 4, 4, seed=1)
    products.conv2d(x, weight, None, None, DEFAULT).sum().backward()
    assert launched == {"fprop": 1, "dgrad": 1, "wgrad": 1}


@pytest.mark.parametrize("refused", [*((each,) for each in REFUSED), REFUSED])
@pytest.mark.parametrize("folding", [True, False])
def test_layers(
    refused: tuple[str, ...],
    folding: bool,
    launched: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse(monkeypatch, *refused)
    norm = BatchNorm(rand(4, seed=3), rand(4, seed=4), None, None, True, None, None, 1e-5)
    x, first, second = rand(2, 3, 2, 2), rand(3, 4, 4, 4, seed=1), rand(2, 4, 4, 4, seed=2)
    chain = [
        Layer(first, None, norm, "relu", transposed=True),
        Layer(second, None, None, "tanh", transposed=False),
    ]
    ours = layers.run_layers(x, chain, folding=folding, automatic=True)
    expected = composition(x, chain)
    torch.testing.assert_close(ours, expected)
    g = rand(*ours.shape, seed=5).detach()
    leaves = (x, first, second, norm.weight, norm.bias)
    torch.testing.assert_close(
        torch.autograd.grad(ours, leaves, g), torch.autograd.grad(expected, leaves, g)
    )
    # Forward dgrad and fprop; backward both again, and two gradients of weights.
    every = Counter({"dgrad": 2, "fprop": 2, "wgrad": 2})
    for op in refused:
        every[op] -= 2 if op == "wgrad" else 1
    assert launched == +every


def test_compiled_products_are_asked_for_too(
    launched: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "wgrad")
    x, weight = rand(1, 2, 4, 4), rand(3, 2, 4, 4, seed=1)

    def convolution(x: Tensor, weight: Tensor) -> Tensor:
        return products.conv2d(x, weight, None, None, DEFAULT, automatic=True)

    torch.compiler.reset()
    y = torch.compile(convolution, fullgraph=True, backend="aot_eager")(x, weight)
    expected = torch.nn.functional.conv2d(x, weight, None, 2, 1)
    torch.testing.assert_close(y, expected)
    g = rand(*y.shape, seed=2).detach()
    ours = torch.autograd.grad(y, (x, weight), g)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, (x, weight), g))
    assert launched == {"fprop": 1, "dgrad": 1}


def test_whether_a_product_folds_is_what_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def folds(*call: object) -> bool:
        asked.append(call)
        return False

    class OnCuda:
        device, dtype = torch.device("cuda", 0), torch.bfloat16
        shape = (2, 4, 8, 6)

    monkeypatch.setattr(layers.tiles, "folds", folds)
    monkeypatch.setattr(layers.tiles, "architecture_of", lambda device: 90)
    weight = torch.empty(4, 5, 4, 4)
    assert not layers._folds(OnCuda(), Layer(weight, None, None, None, transposed=True))
    assert not layers._folds(OnCuda(), Layer(weight, None, None, None, transposed=False))
    assert asked == [("dgrad", "bf16", 4, 5, 96, 90), ("fprop", "bf16", 4, 5, 24, 90)]
    assert layers._folds(torch.empty(1, 4, 2, 2), Layer(weight, None, None, None, True))
