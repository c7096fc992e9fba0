"""What is done to whole networks: dtypes, layouts, devices, states; as torch's own modules take it.

Each is done to blocks and to an `nn.Sequential` of the same layers, and both are compared.
"""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from kernels import BatchNormActivation, ConvBlock, ConvTransposeBlock, FusedSequential

CL = torch.channels_last


def network(seed: int = 0) -> FusedSequential:
    torch.manual_seed(seed)
    return FusedSequential(
        BatchNormActivation(3),
        ConvTransposeBlock(3, 4),
        ConvBlock(4, 6, norm="batch"),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        ConvTransposeBlock(6, 2, norm="none", activation="tanh"),
    )


def of_torch(blocks: FusedSequential) -> nn.Sequential:
    """The same layers, with the same parameters, in `nn.Sequential`s."""
    layers = copy.deepcopy(list(blocks))
    return nn.Sequential(
        *(nn.Sequential(*each) if isinstance(each, nn.Sequential) else each for each in layers)
    )


def step(modules: nn.Module, x: Tensor) -> list[Tensor]:
    modules.zero_grad()
    y = modules(x)
    (y.float() * torch.linspace(-1, 2, y.numel()).view_as(y)).sum().backward()
    return [y.detach(), *(p.grad for p in modules.parameters() if p.grad is not None)]


def assert_same(ours: nn.Module, torchs: nn.Module, x: Tensor) -> None:
    """Results and gradients: dtypes and strides the same, values as near to float64's."""
    exact = step(copy.deepcopy(torchs).double(), x.double())
    found, expected = step(ours, x), step(torchs, x)
    assert len(found) == len(expected) == len(exact)
    for a, b, right in zip(found, expected, exact, strict=True):
        assert (a.dtype, a.stride()) == (b.dtype, b.stride())
        least = 100 * torch.finfo(a.dtype).eps * (right.norm() + 1)  # sums of some hundred terms
        assert (a.double() - right).norm() <= 2 * (b.double() - right).norm() + least


@pytest.fixture(params=[False, True], ids=["in place", "swapped"])
def _conversions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways that torch has of converting parameters."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(request.param)
    yield
    torch.__future__.set_swap_module_params_on_conversion(before)


@pytest.mark.usefixtures("_conversions")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("convert", [nn.Module.half, nn.Module.bfloat16, nn.Module.double])
def test_dtypes(convert: Callable[[nn.Module], nn.Module], training: bool) -> None:
    ours = network().train(training)
    torchs = of_torch(ours)
    parameters = list(ours.parameters())
    assert convert(ours) is ours
    convert(torchs)
    assert all(a is b for a, b in zip(ours.parameters(), parameters, strict=True))
    assert_same(ours, torchs, torch.randn(3, 3, 8, 8).to(parameters[0].dtype))
    ours.float()
    torchs.float()
    assert_same(ours, torchs, torch.randn(3, 3, 8, 8))


@pytest.mark.usefixtures("_conversions")
def test_layouts_there_and_back() -> None:
    ours = network()
    torchs = of_torch(ours)
    x = torch.randn(3, 3, 8, 8)
    for layout in (CL, torch.contiguous_format):
        ours.to(memory_format=layout)  # type: ignore[call-overload]
        torchs.to(memory_format=layout)  # type: ignore[call-overload]
        assert ours[1].weight.is_contiguous(memory_format=layout)  # type: ignore[union-attr]
        for images in (x, x.contiguous(memory_format=CL)):
            assert_same(ours, torchs, images)


@pytest.mark.usefixtures("_conversions")
@pytest.mark.parametrize("assign", [False, True])
def test_made_without_memory_and_filled_from_a_state(assign: bool) -> None:
    torchs = of_torch(network(1))
    with torch.device("meta"):
        ours = network(2)
    assert all(tensor.is_meta for tensor in ours.state_dict().values())
    with torch.no_grad():  # a graph would hold the parameters, which then could not be exchanged
        y = ours(torch.empty(2, 3, 8, 8, device="meta"))
    assert (y.shape, y.device.type) == ((2, 2, 16, 16), "meta")
    if not assign:
        ours.to_empty(device="cpu")
    state = dict(zip(ours.state_dict(), torchs.state_dict().values(), strict=True))
    ours.load_state_dict(state, assign=assign)
    if assign:
        for mine, given in zip(ours.parameters(), torchs.parameters(), strict=True):
            assert mine.data_ptr() == given.data_ptr()
    assert_same(ours, of_torch(ours), torch.randn(2, 3, 8, 8))
    assert_same(ours, copy.deepcopy(torchs), torch.randn(2, 3, 8, 8))


def test_a_call_with_other_parameters() -> None:
    ours, others = network(0).eval(), [network(seed).eval() for seed in (1, 2, 3)]
    x = torch.randn(2, 3, 8, 8)
    for other in others:
        state = {**dict(other.named_parameters()), **dict(other.named_buffers())}
        y = torch.func.functional_call(ours, state, (x,))
        torch.testing.assert_close(y, of_torch(other)(x))
    stacked = torch.func.stack_module_state(list(others))

    def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        y: Tensor = torch.func.functional_call(ours, (parameters, buffers), (x,))
        return y

    y = torch.func.vmap(call)(*stacked)
    torch.testing.assert_close(y, torch.stack([of_torch(other)(x) for other in others]))
