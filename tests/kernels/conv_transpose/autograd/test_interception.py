"""Triton's products where something takes operators for itself: counted, faked, recorded."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

import kernels
from kernels import ConvBlock, ConvTransposeBlock, FusedSequential, use_impl

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    yield
    convolutions.fp32_precision = before


def rand(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE)


def network(impl: str) -> FusedSequential:
    torch.manual_seed(0)
    return FusedSequential(
        ConvTransposeBlock(6, 5, impl=impl),
        ConvTransposeBlock(5, 4, activation="tanh", impl=impl),
        ConvBlock(4, 3, norm="batch", impl=impl),
        ConvBlock(3, 2, impl=impl),
    ).to(DEVICE)


@pytest.mark.parametrize("odd", [0, 1])
def test_products_count_as_those_of_torch(odd: int) -> None:
    counts = []
    for impl in ("triton", "torch"):
        with FlopCounterMode(display=False) as counter, use_impl(impl):
            small = rand(2, 6, 4, 3).requires_grad_()
            large = rand(2, 6, 8 + odd, 6 + odd).requires_grad_()
            x = kernels.conv_transpose2d(small, rand(6, 3, 4, 4).requires_grad_())
            y = kernels.conv2d(large, rand(5, 6, 4, 4).requires_grad_())
            (x.square().sum() + y.square().sum()).backward()
            kernels.conv_transpose2d_weight_grad(small.detach(), x.detach())
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]
    # Small image · taps · channels, twice: three of the first product and its derivatives, as many
    # of the second, and one weight gradient.
    assert counts[0] == 2 * (2 * 4 * 3 * 16) * (4 * 6 * 3 + 3 * 6 * 5)


def test_a_block_on_triton_is_refused_to_who_counts_by_module() -> None:
    """The counter puts hooks on every module, so that each layer is called."""
    with (
        FlopCounterMode(display=False),
        pytest.raises(kernels.ImplUnavailableError, match="ConvTranspose2d has hooks"),
    ):
        network("triton")(rand(2, 6, 4, 4))


@pytest.mark.parametrize("within", [True, False])
def test_fake_tensors(within: bool) -> None:
    """Shapes, dtypes and layouts are those of the real ones, and nothing is launched."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    module, real = network("triton"), rand(2, 6, 4, 4)
    x = mode.from_tensor(real).requires_grad_()
    if within:
        with mode:
            y = module(x)
            y.sum().backward()
    else:
        weight, bias = mode.from_tensor(rand(6, 3, 4, 4)), mode.from_tensor(rand(3))
        y = kernels.conv_transpose2d(x, weight, bias, impl="triton")
        y.sum().backward()
        module = nn.Sequential()
    assert isinstance(y, FakeTensor)
    assert x.grad is not None
    assert x.grad.shape == x.shape
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.shape == parameter.shape
    expected = network("triton")(real) if within else torch.empty(2, 3, 8, 8)
    assert (y.shape, y.dtype, y.stride()) == (expected.shape, expected.dtype, expected.stride())


def test_recorded_products_give_the_same() -> None:
    module, x = network("triton").eval(), rand(2, 6, 4, 4)
    recorded = make_fx(module)(x)
    names = [str(node.target) for node in recorded.graph.nodes]
    assert sum("conv_transpose.dgrad" in name for name in names) == 2
    assert sum("conv_transpose.fprop" in name for name in names) == 2
    torch.testing.assert_close(recorded(x), module(x), rtol=1e-4, atol=1e-5)


def test_gradients_under_a_mode_are_those_without() -> None:
    class Watching(torch.utils._python_dispatch.TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.seen += "conv_transpose" in str(func)
            return func(*args, **(kwargs or {}))

    found = []
    for mode in (None, Watching()):
        module, x = network("triton"), rand(2, 6, 4, 4).requires_grad_()
        if mode is None:
            module(x).square().sum().backward()
        else:
            with mode:
                module(x).square().sum().backward()
            assert mode.seen == 12  # four products, and two derivatives each
        assert x.grad is not None
        found.append([x.grad, *(p.grad for p in module.parameters()), *module.buffers()])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)
