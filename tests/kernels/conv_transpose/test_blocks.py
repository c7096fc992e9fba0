import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import kernels
from kernels import ConvBlock, ConvTransposeBlock

MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
CL = torch.channels_last
FusedBlock = type[ConvTransposeBlock] | type[ConvBlock]
BLOCKS: list[FusedBlock] = [ConvTransposeBlock, ConvBlock]


def sequential(
    block: FusedBlock,
    c_in: int,
    c_out: int,
    norm: str,
    activation: str | None,
    dtype: torch.dtype | None = None,
) -> nn.Sequential:
    convolution = nn.ConvTranspose2d if block is ConvTransposeBlock else nn.Conv2d
    layers: list[nn.Module] = [convolution(c_in, c_out, 4, 2, 1, bias=norm == "none", dtype=dtype)]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(c_out, dtype=dtype))
    if activation is not None:
        layers.append(MODULES[activation]())
    return nn.Sequential(*layers)


def stir(module: nn.Module) -> None:
    """Affine parameters and running statistics away from 1 and 0."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if "num_batches" not in name:
                noise = torch.rand_like(tensor)
                tensor.copy_(0.5 + noise if "var" in name else noise - 0.4)


def pair(
    block: FusedBlock,
    norm: str,
    activation: str | None = "relu",
    dtype: torch.dtype = torch.float64,
    channels: tuple[int, int] = (6, 5),
) -> tuple[nn.Module, nn.Sequential]:
    reference = sequential(block, *channels, norm, activation, dtype)
    stir(reference)
    ours = block(*channels, norm=norm, activation=activation, dtype=dtype)
    ours.load_state_dict(reference.state_dict(), strict=True)
    return ours, reference


def same_state(a: nn.Module, b: nn.Module) -> None:
    torch.testing.assert_close(dict(a.state_dict()), dict(b.state_dict()))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("activation", [None, *MODULES])
def test_state_goes_over_in_both_directions(
    block: FusedBlock, norm: str, activation: str | None
) -> None:
    ours = block(7, 3, norm=norm, activation=activation)
    reference = sequential(block, 7, 3, norm, activation)
    mine, theirs = ours.state_dict(), reference.state_dict()
    assert list(mine) == list(theirs)
    assert [t.shape for t in mine.values()] == [t.shape for t in theirs.values()]
    assert [t.dtype for t in mine.values()] == [t.dtype for t in theirs.values()]
    stir(ours)
    reference.load_state_dict(ours.state_dict(), strict=True)
    same_state(ours, reference)
    stir(reference)
    ours.load_state_dict(reference.state_dict(), strict=True)
    same_state(ours, reference)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("activation", [None, *MODULES])
@pytest.mark.parametrize("channels", [(6, 5), (5, 3)])
def test_training_as_the_sequential(
    block: FusedBlock, norm: str, activation: str | None, channels: tuple[int, int]
) -> None:
    ours, reference = pair(block, norm, activation, channels=channels)
    for step in range(3):  # running statistics and their counter go along
        x = torch.randn(3, channels[0], 4, 6).double() + step
        mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, expected = ours(mine), reference(theirs)
        torch.testing.assert_close(y, expected)
        g = torch.randn_like(y)
        ours.zero_grad()
        reference.zero_grad()
        y.backward(g)
        expected.backward(g)
        torch.testing.assert_close(mine.grad, theirs.grad)
        for (name, a), (other, b) in zip(
            ours.named_parameters(), reference.named_parameters(), strict=True
        ):
            assert name == other
            torch.testing.assert_close(a.grad, b.grad)
        same_state(ours, reference)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_evaluation_as_the_sequential(block: FusedBlock, norm: str) -> None:
    ours, reference = pair(block, norm)
    ours.eval()
    reference.eval()
    before = copy.deepcopy(ours.state_dict())
    x = torch.randn(2, 6, 4, 4).double()
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = ours(mine), reference(theirs)
    torch.testing.assert_close(y, expected)
    y.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    for a, b in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(dict(ours.state_dict()), dict(before))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_second_order(block: FusedBlock, training: bool) -> None:
    ours, _ = pair(block, "batch", "tanh", channels=(3, 5))
    ours.train(training)
    x = torch.randn(2, 3, 2, 4).double().requires_grad_()
    weight = ours.convolution.weight

    def run(x: Tensor, weight: Tensor) -> Tensor:
        result = torch.func.functional_call(ours, {"0.weight": weight}, x)
        assert isinstance(result, Tensor)
        return result

    assert torch.autograd.gradcheck(run, (x, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, weight), fast_mode=True)


@pytest.mark.parametrize("momentum", [None, 0.3])
def test_momentum(momentum: float | None) -> None:
    ours, reference = pair(ConvTransposeBlock, "batch")
    for module in (ours.norm, reference[1]):
        assert isinstance(module, nn.BatchNorm2d)
        module.momentum = momentum
        module.reset_running_stats()
    for _ in range(3):
        x = torch.randn(2, 6, 3, 3).double()
        torch.testing.assert_close(ours(x), reference(x))
    same_state(ours, reference)
    assert ours.norm.num_batches_tracked == 3


def test_the_norm_layers_own_settings_are_followed() -> None:
    x = torch.randn(2, 6, 3, 3).double()

    def frozen(norm: nn.BatchNorm2d) -> None:
        norm.eval()

    def untracked(norm: nn.BatchNorm2d) -> None:
        norm.track_running_stats = False

    def without_statistics(norm: nn.BatchNorm2d) -> None:
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None

    def not_affine(norm: nn.BatchNorm2d) -> None:
        norm.weight = norm.bias = None  # type: ignore[assignment]

    def eps(norm: nn.BatchNorm2d) -> None:
        norm.eps = 0.5

    for change in (frozen, untracked, without_statistics, not_affine, eps):
        for training in (True, False):
            ours, reference = pair(ConvTransposeBlock, "batch")
            ours.train(training)
            reference.train(training)
            change(ours.norm)
            change(reference[1])  # type: ignore[arg-type]
            torch.testing.assert_close(ours(x), reference(x))
            same_state(ours, reference)


@pytest.mark.parametrize("training", [True, False])
def test_a_bias_before_the_normalisation_counts(training: bool) -> None:
    ours, reference = pair(ConvTransposeBlock, "batch")
    for module, layer in ((ours, ours.convolution), (reference, reference[0])):
        layer.bias = nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))
        module.train(training)
    x = torch.randn(2, 6, 3, 3).double()
    torch.testing.assert_close(ours(x), reference(x))
    same_state(ours, reference)


def test_an_exchanged_norm_layer_is_called() -> None:
    ours, _ = pair(ConvTransposeBlock, "batch")
    x = torch.randn(2, 6, 3, 3).double()
    ours.add_module("1", nn.InstanceNorm2d(5, dtype=torch.float64))
    raw = nn.functional.conv_transpose2d(x, ours.convolution.weight, None, 2, 1)
    torch.testing.assert_close(ours(x), nn.functional.instance_norm(raw).relu())


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("training", [True, False])
def test_autocast_as_the_sequential(block: FusedBlock, norm: str, training: bool) -> None:
    ours, reference = pair(block, norm, dtype=torch.float32, channels=(6, 8))
    ours.train(training)
    reference.train(training)
    x = torch.randn(4, 6, 4, 4)
    exact = copy.deepcopy(reference).double()(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        y, expected = ours(x), reference(x)
    assert y.dtype == expected.dtype == torch.bfloat16
    error = (y.double() - exact).norm() / exact.norm()
    torchs_error = (expected.double() - exact).norm() / exact.norm()
    assert error.item() < max(2 * torchs_error.item(), 1e-3)
    y.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in ours.parameters())


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("channels", [(6, 8), (6, 3), (6, 1)])
def test_channels_last_in_channels_last_out(block: FusedBlock, channels: tuple[int, int]) -> None:
    x = torch.randn(2, 6, 4, 4).contiguous(memory_format=CL)
    for norm in ("batch", "none"):
        ours = block(*channels, norm=norm)
        assert ours(x).is_contiguous(memory_format=CL)
        assert ours.eval()(x).is_contiguous(memory_format=CL)


def test_shapes_up_and_down() -> None:
    assert ConvTransposeBlock(3, 4)(torch.randn(2, 3, 5, 7)).shape == (2, 4, 10, 14)
    assert ConvBlock(3, 4)(torch.randn(2, 3, 5, 7)).shape == (2, 4, 2, 3)


def test_defaults_are_the_dcgan_ones() -> None:
    up, down = ConvTransposeBlock(3, 4), ConvBlock(3, 4)
    assert isinstance(up.norm, nn.BatchNorm2d)
    assert isinstance(up[2], nn.ReLU)
    assert up.convolution.bias is None
    assert down.norm is None
    assert isinstance(down[1], nn.LeakyReLU)
    assert down[1].negative_slope == 0.2
    assert down.convolution.bias is not None
    assert "impl='auto'" in repr(up)


def test_initialised_as_torchs_layers() -> None:
    torch.manual_seed(0)
    ours = ConvTransposeBlock(6, 5)
    torch.manual_seed(0)
    same_state(ours, sequential(ConvTransposeBlock, 6, 5, "batch", "relu"))


def test_device_and_dtype() -> None:
    block = ConvTransposeBlock(3, 4, device="meta", dtype=torch.bfloat16)
    assert {p.device.type for p in block.parameters()} == {"meta"}
    assert {p.dtype for p in block.parameters()} == {torch.bfloat16}
    half = ConvTransposeBlock(3, 4, dtype=torch.bfloat16)
    x = torch.randn(2, 3, 4, 4, dtype=torch.bfloat16)
    assert half(x).dtype == half.eval()(x).dtype == torch.bfloat16


def test_copies_are_independent() -> None:
    block = ConvTransposeBlock(3, 4).to(memory_format=CL)  # type: ignore[call-overload]
    twin = copy.deepcopy(block)
    block(torch.randn(2, 3, 4, 4))
    assert twin.norm.num_batches_tracked == 0
    assert twin.convolution.weight.is_contiguous(memory_format=CL)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("training", [True, False])
def test_compiles_as_one_graph(block: FusedBlock, norm: str, training: bool) -> None:
    torch.compiler.reset()
    ours, _ = pair(block, norm, "leaky_relu", dtype=torch.float32)
    ours.train(training)
    eager = copy.deepcopy(ours)
    x = torch.randn(2, 6, 4, 4)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    y, expected = compiled(x), eager(x)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    y.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    for a, b in zip(ours.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)
    same_state(ours, eager)


# --- bad input ---


@pytest.mark.parametrize("block", BLOCKS)
def test_unknown_options(block: FusedBlock) -> None:
    with pytest.raises(ValueError, match="norm='layer' is not known; known: 'batch', 'none'"):
        block(3, 4, norm="layer")
    with pytest.raises(ValueError, match="activation='elu' is not known"):
        block(3, 4, activation="elu")
    with pytest.raises(ValueError, match="impl: unknown implementation 'cudnn'"):
        block(3, 4, impl="cudnn")


@pytest.mark.parametrize("block", BLOCKS)
def test_inputs_that_do_not_fit(block: FusedBlock) -> None:
    module = block(3, 4)
    with pytest.raises(RuntimeError, match="x has 2 channels"):
        module(torch.zeros(1, 2, 4, 4))
    with pytest.raises(RuntimeError, match=r"x has shape \[4, 4\]"):
        module(torch.zeros(4, 4))
    with pytest.raises(ValueError, match=r"x has shape \[3, 4, 4\]: batch normalisation takes"):
        block(3, 4, norm="batch")(torch.zeros(3, 4, 4))  # as nn.BatchNorm2d takes batches alone
    with pytest.raises(RuntimeError, match=r"weight has dtype torch.float32 and x torch.float64"):
        module(torch.zeros(1, 3, 4, 4).double())
    with pytest.raises(RuntimeError, match="weight is on cpu and x on meta"):
        module(torch.zeros(1, 3, 4, 4, device="meta"))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("block", [ConvTransposeBlock, ConvBlock])
def test_normalisations_that_do_not_fit(block: type[FusedBlock], training: bool) -> None:
    x = torch.zeros(2, 3, 4, 4)
    for channels in (1, 5):
        module = block(3, 4, norm="batch").train(training)
        module[1] = torch.nn.BatchNorm2d(channels).train(training)
        with pytest.raises(RuntimeError, match=f"of {channels} channels, but there are 4"):
            module(x)
        with pytest.raises(RuntimeError, match="running_mean should contain 4 elements"):
            torch.nn.Sequential(*module)(x)
    module = block(3, 4, norm="batch", eps=-1.0).train(training)
    with pytest.raises(ValueError, match=r"eps=-1\.0: batch normalisation takes a positive one"):
        module(x)


def test_one_value_per_channel() -> None:
    block = ConvBlock(3, 4, norm="batch")
    x = torch.randn(1, 3, 2, 2)
    with pytest.raises(ValueError, match=r"x of shape \[1, 3, 2, 2\] gives one value per channel"):
        block(x)
    assert block.norm.num_batches_tracked == 0
    assert block.eval()(x).shape == (1, 4, 1, 1)
    assert ConvTransposeBlock(3, 4)(x[:, :, :1, :1]).shape == (1, 4, 2, 2)


@pytest.mark.parametrize(
    ("block", "name"), [(ConvTransposeBlock, "conv_transpose_block"), (ConvBlock, "conv_block")]
)
def test_triton_needs_a_gpu_or_its_interpreter(
    block: FusedBlock, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(kernels.ImplUnavailableError, match=f"{name}: .*the argument impl="):
        block(3, 4, impl="triton")(x)
    with (
        kernels.use_impl("triton"),
        pytest.raises(kernels.ImplUnavailableError, match=f"{name}: .*use_impl"),
    ):
        block(3, 4)(x)


@pytest.mark.parametrize("block", BLOCKS)
def test_auto_stays_with_pytorch_on_the_cpu(block: FusedBlock) -> None:
    x = torch.randn(2, 3, 4, 4)
    automatic, torchs = block(3, 4, norm="batch"), block(3, 4, norm="batch", impl="torch")
    torchs.load_state_dict(automatic.state_dict())
    assert torch.equal(automatic(x), torchs(x))


@pytest.mark.parametrize("training", [True, False])
def test_a_cumulative_average_compiles_as_one_graph(training: bool) -> None:
    """Its divisor is a tensor: read on the host it would break the graph."""
    torch.compiler.reset()
    ours, _ = pair(ConvTransposeBlock, "batch", dtype=torch.float32)
    norm = ours.norm
    assert isinstance(norm, nn.BatchNorm2d)
    norm.momentum = None
    ours.train(training)
    eager = copy.deepcopy(ours)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        x = torch.randn(2, 6, 4, 4)
        torch.testing.assert_close(compiled(x), eager(x), rtol=1e-5, atol=1e-5)
    same_state(ours, eager)
