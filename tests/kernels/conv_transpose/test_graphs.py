"""The functions and blocks as others record them: fake tensors, make_fx, compile, export."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from kernels import ConvBlock, ConvTransposeBlock, FusedSequential, conv2d, conv_transpose2d

SIZES = [(2, 8, 8), (3, 6, 10), (1, 4, 4), (5, 2, 2), (7, 16, 12), (4, 3, 5), (6, 9, 7), (8, 20, 4)]


class Function(nn.Module):
    """One of the functions as a module with a weight."""

    def __init__(self, function: Callable[..., Tensor], *shape: int) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(*shape, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight, activation="tanh")


def down() -> nn.Module:
    return Function(conv2d, 5, 3)


def up() -> nn.Module:
    return Function(conv_transpose2d, 3, 5)


def up_to_few() -> nn.Module:
    return Function(conv_transpose2d, 3, 2)  # its own formulation on the CPU


def blocks(norm: Any = "batch") -> FusedSequential:
    return FusedSequential(
        nn.BatchNorm2d(3),
        nn.ReLU(),
        ConvTransposeBlock(3, 4, norm=norm),
        ConvBlock(4, 6, norm=norm),
        ConvTransposeBlock(6, 2, norm="none", activation="tanh"),
    )


def unnormalised() -> FusedSequential:
    return blocks("none")


MAKERS = [down, up, up_to_few, blocks, unnormalised]
Maker = Callable[[], nn.Module]


@pytest.mark.parametrize("make", MAKERS)
def test_fake_tensors(make: Maker) -> None:
    module = make()
    for layout in (torch.contiguous_format, torch.channels_last):
        expected = module(torch.randn(2, 3, 6, 8).contiguous(memory_format=layout))
        with FakeTensorMode():
            fake = make()
            x = torch.empty(2, 3, 6, 8).contiguous(memory_format=layout).requires_grad_()
            y = fake(x)
            wanted = [x, *fake.parameters()]
            grads = torch.autograd.grad(y.sum(), wanted)
        assert [g.shape for g in grads] == [t.shape for t in wanted]
        assert (y.shape, y.dtype, y.stride()) == (expected.shape, expected.dtype, expected.stride())


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("make", [down, up_to_few, blocks])
def test_make_fx(make: Maker, mode: str) -> None:
    """Of values and of derivatives, the parameters being arguments."""
    module = make().eval()
    state = {key: value.detach() for key, value in module.state_dict().items()}

    def call(state: dict[str, Tensor], x: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(module, state, (x,))
        return y

    def gradient(state: dict[str, Tensor], x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(call(state, x).pow(2).sum(), x)
        return found

    for function in (call, gradient):
        graph = make_fx(function, tracing_mode=mode)(state, torch.randn(2, 3, 6, 8))
        other = torch.randn(*((5, 3, 4, 10) if mode == "symbolic" else (2, 3, 6, 8)))
        torch.testing.assert_close(
            graph(state, other), function(state, other), rtol=1e-4, atol=1e-4
        )


def graphs(module: Callable[[Tensor], Tensor], reference: Callable[[Tensor], Tensor]) -> int:
    """How many graphs Dynamo makes of a module for images of many sizes."""
    torch.compiler.reset()
    made = 0

    def count(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        nonlocal made
        made += 1
        return graph.forward

    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=count)
    for n, height, width in SIZES:
        x = torch.randn(n, 3, height, width)
        torch.testing.assert_close(compiled(x), reference(x), rtol=1e-4, atol=1e-4)
    return made


@pytest.mark.parametrize(
    ("ours", "torchs", "geometry"),
    [
        (conv2d, F.conv2d, (2, 1)),
        (conv_transpose2d, F.conv_transpose2d, (2, 1)),
        (conv2d, F.conv2d, (1, "same")),
        (conv_transpose2d, F.conv_transpose2d, ((1, 2), 2)),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_functions_compile_for_all_sizes_as_torchs_do(
    ours: Callable[..., Tensor], torchs: Callable[..., Tensor], geometry: tuple[Any, Any]
) -> None:
    weight = torch.randn(3, 3, 4, 4)

    def our_call(x: Tensor) -> Tensor:
        return ours(x, weight, None, *geometry)

    def torchs_call(x: Tensor) -> Tensor:
        return torchs(x, weight, None, *geometry)

    assert graphs(our_call, torchs_call) <= graphs(torchs_call, torchs_call)


@pytest.mark.parametrize("training", [True, False])
def test_blocks_compile_for_all_sizes_as_torchs_do(training: bool) -> None:
    ours = blocks().train(training)
    torchs = nn.Sequential(
        *(
            nn.Sequential(*each) if isinstance(each, nn.Sequential) else each
            for each in copy.deepcopy(list(ours))
        )
    ).train(training)
    made = graphs(ours, torchs)
    torch.testing.assert_close(
        list(ours.state_dict().values()), list(torchs.state_dict().values()), rtol=1e-4, atol=1e-4
    )
    assert made <= graphs(torchs, copy.deepcopy(torchs))


@pytest.mark.parametrize("make", MAKERS)
def test_export_with_sizes_that_vary(make: Maker) -> None:
    module = make().eval()
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(module, (torch.randn(3, 3, 8, 6),), dynamic_shapes=(sizes,))
    for shape in ((3, 3, 8, 6), (5, 3, 8, 6), (2, 3, 6, 10)):
        x = torch.randn(shape)
        torch.testing.assert_close(program.module()(x), module(x))
