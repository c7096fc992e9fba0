"""Blocks on Triton against the same blocks in float64 PyTorch."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import kernels
from kernels import ConvBlock, ConvTransposeBlock, FusedSequential

pytest.importorskip("triton")
# On a machine with a GPU these run natively, and `pytest -m gpu` picks them.
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []

CL = torch.channels_last
FusedBlock = type[ConvTransposeBlock] | type[ConvBlock]
BLOCKS: list[FusedBlock] = [ConvTransposeBlock, ConvBlock]


@pytest.fixture(autouse=True)
def _ieee() -> Iterator[None]:
    """The references are float64: no tf32."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = allowed


def stir(module: nn.Module, seed: int) -> None:
    """Parameters and running statistics of a size that keeps signals near 1, and away from it."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if "num_batches" in name:
                continue
            noise = torch.rand(tensor.shape, generator=rng, dtype=torch.float64)
            scale = (16 * tensor.shape[1]) ** -0.5 if tensor.dim() == 4 else 1.0
            drawn = 0.5 + noise if "var" in name else (noise - 0.4) * 2 * scale
            tensor.copy_(drawn.float())


def pair(
    block: FusedBlock,
    channels: tuple[int, int],
    norm: str,
    activation: str | None,
    dtype: torch.dtype,
) -> tuple[nn.Module, nn.Module]:
    """A block on Triton in `dtype` and the same in float64 PyTorch."""
    reference = block(*channels, norm=norm, activation=activation, impl="torch").double()
    stir(reference, sum(channels))
    ours = block(*channels, norm=norm, activation=activation, impl="triton")
    ours.load_state_dict(reference.state_dict())
    ours = ours.to(DEVICE, dtype)
    reference.load_state_dict({k: v.to(DEVICE) for k, v in ours.state_dict().items()})
    return ours, reference.to(DEVICE)


def draw(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64).to(DEVICE)


def error(actual: Tensor | None, expected: Tensor | None) -> float:
    assert actual is not None
    assert expected is not None
    assert actual.shape == expected.shape
    scale = max(expected.double().norm().item(), 1e-3)
    return (actual.double() - expected.double()).norm().item() / scale


def compare(ours: nn.Module, reference: nn.Module, x: Tensor, tolerance: float) -> None:
    """Results, gradients and running statistics of one step, by ‖d‖/‖reference‖."""
    dtype = next(ours.parameters()).dtype
    mine = x.detach().to(dtype, copy=True).requires_grad_()
    theirs = mine.detach().double().requires_grad_()
    y, expected = ours(mine), reference(theirs)
    assert y.dtype == dtype
    for layout in (CL, torch.contiguous_format):
        assert y.is_contiguous(memory_format=layout) == expected.is_contiguous(memory_format=layout)
    assert error(y, expected) < tolerance
    g = draw(y.shape, seed=1).to(dtype)
    y.backward(g)
    expected.backward(g.double())
    assert error(mine.grad, theirs.grad) < 3 * tolerance
    for (name, a), b in zip(ours.named_parameters(), reference.parameters(), strict=True):
        assert a.grad is not None
        assert a.grad.dtype == a.dtype
        assert error(a.grad, b.grad) < 3 * tolerance, name
    for (name, a), b in zip(ours.named_buffers(), reference.buffers(), strict=True):
        assert error(a, b) < tolerance, name


SHAPES = [
    # batch, Cin, Cout, height, width
    (1, 3, 16, 4, 5),
    (3, 17, 1, 3, 2),
    (2, 1, 66, 2, 3),  # more channels than a tile has columns
    (2, 32, 3, 4, 2),
    (3, 16, 17, 5, 7),  # more positions than a tile has rows
]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_fp32(block: FusedBlock, shape: tuple[int, ...], training: bool) -> None:
    n, c_in, c_out, height, width = shape
    ours, reference = pair(block, (c_in, c_out), "batch", "leaky_relu", torch.float32)
    ours.train(training)
    reference.train(training)
    compare(ours, reference, draw((n, c_in, height, width)) + 1, 1e-5)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("activation", [None, "relu", "tanh", "sigmoid"])
def test_every_activation(block: FusedBlock, norm: str, activation: str | None) -> None:
    ours, reference = pair(block, (3, 5), norm, activation, torch.float32)
    compare(ours, reference, draw((2, 3, 4, 3)), 1e-5)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 1.2e-2)])
def test_16_bits(block: FusedBlock, dtype: torch.dtype, tolerance: float, training: bool) -> None:
    # tanh: a sign that rounding has flipped would be an error of the size of the gradient.
    ours, reference = pair(block, (16, 17), "batch", "tanh", dtype)
    ours.train(training)
    reference.train(training)
    compare(ours, reference, draw((3, 16, 4, 5)), tolerance)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_large_mean_with_a_small_deviation(block: FusedBlock) -> None:
    # The products' mean is some thousand times their deviation.
    ours, reference = pair(block, (3, 4), "batch", None, torch.float32)
    for module in (ours, reference):
        layer = module.get_submodule("0")
        layer.bias = nn.Parameter(torch.full((4,), 2000.0, dtype=layer.weight.dtype, device=DEVICE))
        module.to(memory_format=CL)  # type: ignore[call-overload]  # for torch to sum in this order
    torchs = copy.deepcopy(reference).float()
    x = draw((4, 3, 6, 6)).float()
    y, in_fp32, expected = ours(x), torchs(x), reference(x.double())
    # Rounding the product itself is already an error of 1e-4.
    assert error(y, expected) < 1e-3
    assert error(y, expected) < 2 * error(in_fp32, expected)
    var, expected_var = (m.get_buffer("1.running_var") for m in (ours, reference))
    assert error(var, expected_var) < 1e-3


@pytest.mark.parametrize("momentum", [None, 0.3])
def test_momentum(momentum: float | None) -> None:
    ours, reference = pair(ConvTransposeBlock, (3, 5), "batch", "relu", torch.float32)
    for module in (ours, reference):
        norm = module.get_submodule("1")
        assert isinstance(norm, nn.BatchNorm2d)
        norm.momentum = momentum
        norm.reset_running_stats()
    for step in range(3):
        x = draw((2, 3, 3, 3), seed=step).float()
        assert error(ours(x), reference(x.double())) < 1e-5
    for (name, a), b in zip(ours.named_buffers(), reference.buffers(), strict=True):
        assert error(a, b) < 1e-5, name
    assert ours.get_buffer("1.num_batches_tracked") == 3


def test_the_norm_layers_own_settings_are_followed() -> None:
    x = draw((2, 3, 3, 3)).float()

    def untracked(norm: nn.BatchNorm2d) -> None:
        norm.track_running_stats = False

    def frozen(norm: nn.BatchNorm2d) -> None:
        norm.eval()

    def without_statistics(norm: nn.BatchNorm2d) -> None:
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None

    def not_affine(norm: nn.BatchNorm2d) -> None:
        norm.weight = norm.bias = None  # type: ignore[assignment]

    for change in (untracked, frozen, without_statistics, not_affine):
        ours, reference = pair(ConvTransposeBlock, (3, 5), "batch", "relu", torch.float32)
        for module in (ours, reference):
            norm = module.get_submodule("1")
            assert isinstance(norm, nn.BatchNorm2d)
            change(norm)
        compare(ours, reference, x, 1e-5)


@pytest.mark.parametrize("requiring", ["x", "0.weight", "1.weight", "1.bias"])
def test_each_gradient_alone(requiring: str) -> None:
    ours, reference = pair(ConvTransposeBlock, (3, 5), "batch", "relu", torch.float32)
    x = draw((2, 3, 3, 3)).float()
    found = []
    for module, operand in ((ours, x.clone()), (reference, x.double())):
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name == requiring)
        operand.requires_grad_(requiring == "x")
        wanted = operand if requiring == "x" else module.get_parameter(requiring)
        found += torch.autograd.grad(module(operand).square().sum(), wanted)
    assert error(*found) < 3e-5


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_second_order(block: FusedBlock, training: bool) -> None:
    """What a gradient penalty takes: ∂/∂θ of ‖∂y/∂x‖², through a graph of the first derivative."""
    ours, reference = pair(block, (3, 4), "batch", "tanh", torch.float32)
    x = draw((2, 3, 4, 2)).float()
    g = draw((2, 4, 8, 4) if block is ConvTransposeBlock else (2, 4, 2, 1), seed=2).float()
    found = []
    for module, operand in ((ours, x), (reference, x.double())):
        module.train(training)
        operand = operand.clone().requires_grad_()
        (first,) = torch.autograd.grad(
            module(operand), operand, g.to(operand.dtype), create_graph=True
        )
        parameters = [operand, module.get_parameter("0.weight"), module.get_parameter("1.weight")]
        found.append([first, *torch.autograd.grad(first.square().sum(), parameters)])
    for a, b in zip(*found, strict=True):
        assert error(a, b) < 1e-4


def test_second_derivatives_where_operands_depend_on_one_another() -> None:
    """x a function of the weight: what reaches the weight through x is counted once."""
    found = []
    for module in pair(ConvTransposeBlock, (3, 3), "batch", "tanh", torch.float32):
        weight = module.get_parameter("0.weight")
        x = weight[:2, :, :2, :2] * 3
        (first,) = torch.autograd.grad(module(x).square().sum(), weight, create_graph=True)
        found.append([first, *torch.autograd.grad(first.square().sum(), weight)])
    for a, b in zip(*found, strict=True):
        assert error(a, b) < 1e-4


@pytest.mark.parametrize("layout", ["sliced", "permuted", "expanded gradient"])
def test_inputs_in_other_layouts(layout: str) -> None:
    ours, reference = pair(ConvTransposeBlock, (3, 5), "batch", "relu", torch.float32)
    x = draw((2, 6, 4, 4)).float()[:, ::2] if layout == "sliced" else draw((2, 4, 4, 3)).float()
    if layout != "sliced":
        x = x.permute(0, 3, 2, 1)
    grads = []
    for module, operand in ((ours, x), (reference, x.double())):
        operand = operand.detach().requires_grad_()
        y = module(operand)
        loss = y.sum() if layout == "expanded gradient" else y.square().sum()
        loss.backward()
        grads.append(module.get_parameter("1.bias").grad)
    assert error(*grads) < 1e-5


def test_the_bits_repeat_and_nothing_is_left_unwritten() -> None:
    torch.use_deterministic_algorithms(True)  # new tensors hold NaN
    try:
        runs = []
        for _ in range(2):
            ours, _ = pair(ConvTransposeBlock, (17, 5), "batch", "relu", torch.float32)
            x = draw((3, 17, 3, 5)).float().requires_grad_()
            y = ours(x)
            y.square().sum().backward()
            runs.append([y, x.grad, *(p.grad for p in ours.parameters()), *ours.buffers()])
        for a, b in zip(*runs, strict=True):
            assert a is not None
            assert b is not None
            assert torch.equal(a, b)  # which NaN never is
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("block", BLOCKS)
def test_autocast(block: FusedBlock) -> None:
    ours, reference = pair(block, (6, 8), "batch", "tanh", torch.float32)
    x = draw((4, 6, 4, 4)).float()
    with torch.autocast(DEVICE, torch.bfloat16):
        y = ours(x)
    assert y.dtype == torch.bfloat16
    assert error(y, reference(x.double())) < 1.2e-2
    y.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in ours.parameters())


def test_a_normalisation_by_itself() -> None:
    ours = FusedSequential(nn.BatchNorm2d(5), nn.ReLU()).to(DEVICE)
    stir(ours, 5)
    reference = nn.Sequential(*copy.deepcopy(ours).double())
    with kernels.use_impl("triton"):
        compare(ours, reference, draw((3, 5, 4, 3)) + 2, 1e-5)
        x = draw((3, 5, 4, 3)).contiguous(memory_format=CL)
        compare(ours.eval(), reference.eval(), x, 1e-5)


def test_torch_func_goes_to_pytorch_or_is_refused() -> None:
    ours, _ = pair(ConvTransposeBlock, (3, 4), "none", "relu", torch.float32)
    x = draw((2, 2, 3, 2, 2)).float()
    with pytest.raises(kernels.ImplUnavailableError, match=r"torch\.func"):
        torch.func.vmap(ours)(x)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("training", [True, False])
def test_compiles_as_one_graph(block: FusedBlock, training: bool) -> None:
    torch.compiler.reset()
    ours, reference = pair(block, (6, 5), "batch", "leaky_relu", torch.float32)
    ours.train(training)
    reference.train(training)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    x = draw((2, 6, 4, 4)).float()
    y, expected = compiled(x), reference(x.double())
    assert error(y, expected) < 1e-5
    y.square().sum().backward()
    expected.square().sum().backward()
    for a, b in zip(ours.parameters(), reference.parameters(), strict=True):
        assert error(a.grad, b.grad) < 3e-5
