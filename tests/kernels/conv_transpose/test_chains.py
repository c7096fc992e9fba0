"""Chains of blocks: the same numbers as the blocks one by one, with fewer tensors between them."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import kernels
from kernels import ConvBlock, ConvTransposeBlock, FusedSequential, chain

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CL = torch.channels_last


@pytest.fixture
def _triton() -> None:
    pytest.importorskip("triton")


on_triton = [pytest.mark.usefixtures("_triton")]
if DEVICE == "cuda":
    on_triton.append(pytest.mark.gpu)


def triton(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that needs Triton: natively where there is a GPU, else interpreted."""
    for mark in on_triton:
        test = mark(test)
    return test


def modules(impl: str) -> list[nn.Module]:
    """Up and down, with every kind of neighbour and epilogue."""
    return [
        nn.BatchNorm2d(6),
        nn.ReLU(),
        ConvTransposeBlock(6, 5, impl=impl),
        ConvTransposeBlock(5, 4, activation="leaky_relu", impl=impl),
        ConvTransposeBlock(4, 3, norm="none", activation="tanh", impl=impl),
        ConvBlock(3, 5, norm="batch", activation="sigmoid", impl=impl),
        ConvBlock(5, 7, norm="batch", impl=impl),
        ConvBlock(7, 2, norm="batch", activation=None, impl=impl),
    ]


def build(
    impl: str, dtype: torch.dtype = torch.float32, container: type[nn.Sequential] = FusedSequential
) -> nn.Sequential:
    torch.manual_seed(0)
    network = container(*modules(impl))
    with torch.no_grad():
        for parameter in network.parameters():
            scale = (16 * parameter.shape[1]) ** -0.5 if parameter.dim() == 4 else 1.0
            parameter.normal_(0, 2 * scale)
    return network.to(DEVICE, dtype)


def step(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Result and gradients of one step, and the buffers after it."""
    x = x.detach().clone().requires_grad_()
    network.zero_grad()
    y = network(x)
    rng = torch.Generator().manual_seed(7)
    y.backward(torch.randn(y.shape, generator=rng).to(y))
    assert x.grad is not None
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    return [y.detach(), x.grad, *grads, *(buffer.clone() for buffer in network.buffers())]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)


def test_in_pytorch_it_is_the_plain_composition_bit_for_bit() -> None:
    fused, plain = build("torch"), build("torch", container=nn.Sequential)
    x = draw(3, 6, 2, 3)
    for training in (True, False):
        for a, b in zip(
            step(fused.train(training), x), step(plain.train(training), x), strict=True
        ):
            assert torch.equal(a, b)


def test_state_goes_over_in_both_directions() -> None:
    fused, plain = build("torch"), nn.Sequential(*modules("torch")).to(DEVICE)
    assert list(fused.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(fused.state_dict(), strict=True)
    fused.load_state_dict(plain.state_dict(), strict=True)
    textbook = nn.BatchNorm2d(6).to(DEVICE)
    textbook.load_state_dict(fused[0].state_dict(), strict=True)


@triton
@pytest.mark.parametrize("training", [True, False])
def test_on_triton_as_the_blocks_one_by_one(training: bool) -> None:
    x = draw(3, 6, 1, 2)  # in the widest layer 96 positions, more than a tile has rows
    found = step(build("triton").train(training), x)
    expected = step(build("triton", container=nn.Sequential).train(training), x)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    if DEVICE == "cpu":
        # Natively the compiler may contract a multiplication and an addition in one kernel and
        # not in the other. Blocks alone: called by itself, nn.BatchNorm2d is torch's.
        found = step(build("triton")[2:].train(training), x)
        expected = step(nn.Sequential(*build("triton")[2:]).train(training), x)
        assert torch.equal(found[0], expected[0])


@triton
@pytest.mark.parametrize("training", [True, False])
def test_on_triton_as_pytorch_in_float64(training: bool) -> None:
    ours, reference = build("triton"), build("torch", torch.float64)
    x = draw(2, 6, 2, 1)
    found, expected = step(ours.train(training), x), step(reference.train(training), x.double())
    for a, b in zip(found, expected, strict=True):
        assert (a.double() - b.double()).norm() <= 1e-4 * b.double().norm().clamp(min=1e-2)


@triton
def test_second_derivatives() -> None:
    found = []
    for impl, dtype in (("triton", torch.float32), ("torch", torch.float64)):
        torch.manual_seed(0)
        network = FusedSequential(
            ConvTransposeBlock(2, 3, activation="tanh", impl=impl),
            ConvBlock(3, 2, norm="batch", activation="sigmoid", impl=impl),
            ConvTransposeBlock(2, 1, norm="none", activation="tanh", impl=impl),
        ).to(DEVICE, dtype)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, 0.0, 0.3)
        network.load_state_dict({k: v.float() for k, v in network.state_dict().items()})
        found.append((network, dtype))
    found[0][0].load_state_dict(found[1][0].state_dict())
    results = []
    for network, dtype in found:
        x = draw(2, 2, 2, 3).to(dtype).requires_grad_()
        y = network(x)
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        results.append(
            [first, *torch.autograd.grad(first.square().sum(), [x, *network.parameters()])]
        )
    for a, b in zip(*results, strict=True):
        assert (a.double() - b).norm() <= 1e-3 * b.norm().clamp(min=1e-3)


def saved_bytes(network: nn.Module, x: Tensor) -> int:
    """Of what backward keeps: every storage once, parameters not counted."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers())}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(x)
    return sum(size for pointer, size in seen.items() if pointer not in own)


@triton
def test_a_generator_keeps_a_third_less() -> None:
    def generator(impl: str, container: type[nn.Sequential]) -> nn.Sequential:
        return container(
            nn.BatchNorm2d(64),
            nn.ReLU(),
            ConvTransposeBlock(64, 32, impl=impl),
            ConvTransposeBlock(32, 16, impl=impl),
            ConvTransposeBlock(16, 3, norm="none", activation="tanh", impl=impl),
        ).to(DEVICE)

    x = draw(4, 64, 2, 2).contiguous(memory_format=CL).requires_grad_()
    textbook = saved_bytes(generator("torch", nn.Sequential), x)
    assert saved_bytes(generator("triton", FusedSequential), x) < 2 / 3 * textbook


@triton
def test_a_chain_by_use_impl_and_through_names_of_its_own() -> None:
    network = build("auto")
    x = draw(2, 6, 2, 2)
    twin = copy.deepcopy(network)
    with kernels.use_impl("triton"):
        y = network(x)
        z = chain(x, twin[0], *twin[1:])
    assert torch.equal(y, z)
    torch.testing.assert_close(y, build("torch")(x), rtol=1e-4, atol=1e-4)


def test_hooks_and_strangers_are_called() -> None:
    network = FusedSequential(
        ConvTransposeBlock(3, 4), nn.Dropout(0.0), ConvBlock(4, 4), ConvBlock(4, 2)
    ).to(DEVICE)
    seen: list[tuple[int, ...]] = []
    network[2].register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape)))
    assert network(draw(2, 3, 4, 4)).shape == (2, 2, 2, 2)
    assert seen == [(2, 4, 4, 4)]
    network[3].add_module("0", nn.Conv2d(4, 2, 4, 2, 1, device=DEVICE))
    assert network(draw(2, 3, 4, 4)).shape == (2, 2, 2, 2)


def test_blocks_that_ask_for_different_implementations_are_not_one_chain() -> None:
    network = FusedSequential(
        ConvTransposeBlock(3, 4, impl="torch"), ConvTransposeBlock(4, 2, impl="auto")
    ).to(DEVICE)
    assert network(draw(2, 3, 2, 2)).shape == (2, 2, 8, 8)


def test_an_empty_chain_hands_its_input_on() -> None:
    x = draw(1, 2)
    assert FusedSequential()(x) is x


def test_what_does_not_fit_is_refused_before_a_batch_is_counted() -> None:
    network = FusedSequential(ConvTransposeBlock(3, 4), ConvTransposeBlock(5, 2)).to(DEVICE)
    with pytest.raises(RuntimeError, match="x has 4 channels"):
        network(draw(2, 3, 2, 2))
    assert network[0].norm.num_batches_tracked == 0
    down = FusedSequential(ConvBlock(3, 4), ConvBlock(4, 4, norm="batch")).to(DEVICE)
    with pytest.raises(ValueError, match=r"x of shape \[1, 4, 2, 2\] gives one value per channel"):
        down(draw(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"x of shape \[1, 6, 1, 1\] gives one value per channel"):
        FusedSequential(nn.BatchNorm2d(6), nn.ReLU()).to(DEVICE)(draw(1, 6, 1, 1))


@pytest.mark.parametrize("training", [True, False])
def test_compiles_as_one_graph(training: bool) -> None:
    torch.compiler.reset()
    network = build("auto").train(training)
    eager = copy.deepcopy(network)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    x = draw(2, 6, 2, 2)
    for a, b in zip(step(compiled, x), step(eager, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_explain_knows_the_operators() -> None:
    for name in ("conv_chain", "conv_transpose_block", "conv_block", "batch_norm_activation"):
        assert "Triton supports" in kernels.explain(name, device="cpu")
