"""What users do to a block's layers: heeded as by nn.Sequential, or refused by name.

Each operation is done to a block and to an `nn.Sequential` of the same layers, and both are
compared in float64: results, gradients, state.
"""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import kernels
from kernels import BatchNormActivation, ConvBlock, ConvTransposeBlock, FusedSequential, chain
from kernels.conv_transpose.recognise import recognise

C_IN, C_OUT = 6, 5
Block = type[ConvTransposeBlock] | type[ConvBlock]
BLOCKS: list[Block] = [ConvTransposeBlock, ConvBlock]


class LoRA(nn.Module):
    """A low-rank addition to a convolution's result, as adapters wrap a layer."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.scale = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        return y + self.scale * y.mean(1, keepdim=True)


class OwnBatchNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Halved(nn.Module):
    """A parametrisation that counts how often it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, weight: Tensor) -> Tensor:
        self.calls += 1
        return weight / 2


def silu(layers: nn.Sequential) -> None:
    layers[2] = nn.SiLU()


def tanh(layers: nn.Sequential) -> None:
    layers[2] = nn.Tanh()


def recursively(layers: nn.Sequential) -> None:
    for name, child in layers.named_children():
        if isinstance(child, (nn.ReLU, nn.LeakyReLU)):
            setattr(layers, name, nn.Softplus())


def slope(layers: nn.Sequential) -> None:
    layers[2] = nn.LeakyReLU(0.2)
    layers[2].negative_slope = 0.01


def patched_forward(layers: nn.Sequential) -> None:
    layers[2].forward = lambda x: x * 3  # type: ignore[method-assign, assignment]


def patched_convolution(layers: nn.Sequential) -> None:
    own = layers[0].forward
    layers[0].forward = lambda x: own(x) * 2  # type: ignore[method-assign, assignment]


def hook_on_activation(layers: nn.Sequential) -> None:
    layers[2].register_forward_hook(lambda _, __, y: y + 1)


def hook_on_convolution(layers: nn.Sequential) -> None:
    layers[0].register_forward_pre_hook(lambda _, args: (args[0] * 2,))


def backward_hook(layers: nn.Sequential) -> None:
    layers[1].register_full_backward_hook(lambda _, grads, __: (grads[0] * 2,))


def own_batch_norm(layers: nn.Sequential) -> None:
    new = OwnBatchNorm(C_OUT, dtype=torch.float64)
    new.load_state_dict(layers[1].state_dict())
    layers[1] = new


def lora(layers: nn.Sequential) -> None:
    layers[0] = LoRA(layers[0])


def geometry(layers: nn.Sequential) -> None:
    layers[0].stride = (1, 1)  # type: ignore[assignment]


def larger_kernel(layers: nn.Sequential) -> None:
    kind = type(layers[0])
    torch.manual_seed(3)
    layers[0] = kind(C_IN, C_OUT, 3, 2, 1, dtype=torch.float64)  # type: ignore[call-arg, arg-type]


def old_spectral_norm(layers: nn.Sequential) -> None:
    torch.manual_seed(5)
    nn.utils.spectral_norm(layers[0])


def new_spectral_norm(layers: nn.Sequential) -> None:
    torch.manual_seed(5)
    parametrizations.spectral_norm(layers[0])


def old_weight_norm(layers: nn.Sequential) -> None:
    nn.utils.weight_norm(layers[0])


def new_weight_norm(layers: nn.Sequential) -> None:
    parametrizations.weight_norm(layers[0])


def pruned(layers: nn.Sequential) -> None:
    prune.l1_unstructured(layers[0], "weight", 0.5)


def parametrised(layers: nn.Sequential) -> None:
    parametrize.register_parametrization(layers[0], "weight", Halved())


def parametrised_norm(layers: nn.Sequential) -> None:
    parametrize.register_parametrization(layers[1], "weight", Halved())


def dropout_appended(layers: nn.Sequential) -> None:
    layers.append(nn.Softmax(1))


def without_activation(layers: nn.Sequential) -> None:
    layers.pop(2)


def identity(layers: nn.Sequential) -> None:
    layers[2] = nn.Identity()


def instance_norm(layers: nn.Sequential) -> None:
    layers[1] = nn.InstanceNorm2d(C_OUT, affine=True, dtype=torch.float64)


def other_eps(layers: nn.Sequential) -> None:
    layers[1].eps = 0.3  # type: ignore[assignment]


def in_place(layers: nn.Sequential) -> None:
    layers[2].inplace = True  # type: ignore[assignment]


SURGERIES: list[Callable[[nn.Sequential], None]] = [
    silu,
    tanh,
    recursively,
    slope,
    patched_forward,
    patched_convolution,
    hook_on_activation,
    hook_on_convolution,
    backward_hook,
    own_batch_norm,
    lora,
    geometry,
    larger_kernel,
    old_spectral_norm,
    new_spectral_norm,
    old_weight_norm,
    new_weight_norm,
    pruned,
    parametrised,
    parametrised_norm,
    dropout_appended,
    without_activation,
    identity,
    instance_norm,
    other_eps,
    in_place,
]


def layers_of(block: Block) -> nn.Sequential:
    torch.manual_seed(0)
    convolution = nn.ConvTranspose2d if block is ConvTransposeBlock else nn.Conv2d
    return nn.Sequential(
        convolution(C_IN, C_OUT, 4, 2, 1, bias=False), nn.BatchNorm2d(C_OUT), nn.ReLU()
    ).double()


def pair(block: Block, surgery: Callable[[nn.Sequential], None]) -> list[nn.Sequential]:
    """The block and its reference after the surgery, with the same weights."""
    reference = layers_of(block)
    ours = block(C_IN, C_OUT, norm="batch", activation="relu", dtype=torch.float64)
    ours.load_state_dict(reference.state_dict())
    surgery(ours)
    surgery(reference)
    ours.load_state_dict(reference.state_dict())
    return [ours, reference]


def step(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Result, gradients and state of one step."""
    x = x.clone().requires_grad_()
    network.zero_grad()
    y = network(x)
    (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    assert x.grad is not None
    found = {"y": y.detach(), "x": x.grad}
    found |= {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return found | {f"state {name}": value for name, value in network.state_dict().items()}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("container", [None, FusedSequential])
@pytest.mark.parametrize("surgery", SURGERIES)
def test_a_surgery_does_what_it_does_to_a_sequential(
    block: Block,
    training: bool,
    container: type[FusedSequential] | None,
    surgery: Callable[[nn.Sequential], None],
) -> None:
    ours, reference = pair(block, surgery)
    if container is not None:  # in the middle of a chain
        neighbours = [block(C_IN, C_IN, norm="batch").double() for _ in range(2)]
        for each in neighbours:
            each.load_state_dict(neighbours[0].state_dict())
        ours, reference = container(neighbours[0], ours), nn.Sequential(neighbours[1], reference)
    ours.train(training)
    reference.train(training)
    for seed in range(2):  # what is counted or iterated moves on
        rng = torch.Generator().manual_seed(seed)
        x = torch.randn(3, C_IN, 8, 8, dtype=torch.float64, generator=rng)
        found, expected = step(ours, x), step(reference, x)
        assert list(found) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("container", [FusedSequential, nn.Sequential])
def test_a_parametrisation_is_evaluated_once_a_forward(
    block: Block, container: type[nn.Sequential]
) -> None:
    for activation in (nn.ReLU(), nn.SiLU()):  # wholly together, and in part
        module = block(C_IN, C_OUT, activation=activation, dtype=torch.float64)
        halved = Halved()
        parametrize.register_parametrization(module.convolution, "weight", halved)
        halved.calls = 0
        x = torch.zeros(2, C_IN, 4, 4, dtype=torch.float64)
        container(module, nn.Identity())(x)
        assert halved.calls == 1
        chain(x, block(C_IN, C_IN).double(), module)
        assert halved.calls == 2


@pytest.mark.parametrize("block", BLOCKS)
def test_global_hooks_see_every_layer(block: Block) -> None:
    module = FusedSequential(block(C_IN, C_OUT, norm="batch"), block(C_OUT, 2, norm="none"))
    seen: list[str] = []
    handle = nn.modules.module.register_module_forward_hook(
        lambda each, _, __: seen.append(type(each).__name__)
    )
    try:
        module(torch.randn(2, C_IN, 8, 8))
    finally:
        handle.remove()
    assert seen.count("BatchNorm2d") == 1
    assert sum(name in ("Conv2d", "ConvTranspose2d") for name in seen) == 2


def test_a_class_that_is_patched_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    block, x = ConvBlock(3, 4, activation="relu"), torch.randn(2, 3, 4, 4)
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: F.relu(x) + 7)
    torch.testing.assert_close(block(x), F.relu(block.convolution(x)) + 7)


def test_conversion_to_sync_batch_norm_keeps_the_activation() -> None:
    network = FusedSequential(
        nn.BatchNorm2d(C_IN), nn.ReLU(), ConvTransposeBlock(C_IN, C_OUT), ConvBlock(C_OUT, 2)
    ).eval()
    x = torch.randn(2, C_IN, 4, 4)
    before, names = network(x), list(network.state_dict())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(network))
    assert isinstance(converted[2].norm, nn.SyncBatchNorm)
    assert list(converted.state_dict()) == names
    torch.testing.assert_close(converted(x), before)


def test_normalisation_and_activation_under_the_keys_of_one_layer() -> None:
    module = BatchNormActivation(4, "tanh", momentum=0.3)
    plain = nn.BatchNorm2d(4, momentum=0.3)
    assert list(module.state_dict()) == list(plain.state_dict())
    with torch.no_grad():
        plain.weight.uniform_(0.5, 2)
        plain.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
    outer, reference = nn.Sequential(module), nn.Sequential(plain)
    outer.load_state_dict(reference.state_dict(), strict=True)
    with pytest.raises(RuntimeError, match="size mismatch"):
        outer.load_state_dict(nn.Sequential(nn.BatchNorm2d(5)).state_dict())
    x = torch.randn(3, 4, 2, 2)
    for training in (True, False):
        outer.train(training)
        reference.train(training)
        torch.testing.assert_close(outer(x), reference(x).tanh())
        torch.testing.assert_close(dict(outer.state_dict()), dict(reference.state_dict()))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(outer))
    assert list(converted.state_dict()) == list(reference.state_dict())
    torch.testing.assert_close(converted(x), reference(x).tanh())
    y = FusedSequential(module, ConvBlock(4, 2))[0](x)
    torch.testing.assert_close(y, reference(x).tanh())
    with pytest.raises(ValueError, match="activation='elu' is not known"):
        BatchNormActivation(4, "elu")
    with pytest.raises(ValueError, match="unknown implementation 'cudnn'"):
        BatchNormActivation(4, impl="cudnn")


def test_fusing_convolution_and_normalisation_by_torchs_own_tool() -> None:
    block = ConvTransposeBlock(C_IN, C_OUT).eval()
    x = torch.randn(2, C_IN, 4, 4)
    with torch.no_grad():
        block[1].running_mean.uniform_(-1, 1)
        block[1].running_var.uniform_(0.5, 2)
    before = block(x)
    block[0] = nn.utils.fuse_conv_bn_eval(block[0], block[1], transpose=True)
    block[1] = nn.Identity()
    torch.testing.assert_close(block(x), before, rtol=1e-5, atol=1e-6)


def test_a_subclass_with_a_forward_of_its_own_is_called_in_a_chain() -> None:
    class Scaled(ConvBlock):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    first, second = ConvBlock(3, 4), Scaled(4, 2)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(
        FusedSequential(first, second)(x), 2 * F.leaky_relu(second[0](first(x)), 0.2)
    )


def test_what_is_called_is_explained() -> None:
    block = ConvBlock(3, 4)
    block[1] = nn.Hardswish()
    block(torch.zeros(1, 3, 4, 4))
    assert "Hardswish is none of the layers that are computed together" in kernels.explain(
        "conv_block", device="cpu"
    )


def test_an_order_for_triton_is_refused_where_the_convolution_is_called() -> None:
    block = ConvBlock(3, 4, impl="triton")
    block[0] = nn.Conv2d(3, 4, 3, 2, 1)
    with pytest.raises(kernels.ImplUnavailableError, match=r"conv_block: .*kernel_size=\(3, 3\)"):
        block(torch.zeros(1, 3, 4, 4))


def test_reasons_name_what_is_wrong() -> None:
    pruned_layer = nn.Conv2d(3, 3, 4, 2, 1)
    prune.identity(pruned_layer, "weight")
    cases: list[tuple[list[nn.Module], int, str]] = [
        ([pruned_layer], 0, "Conv2d has hooks"),
        (
            [nn.Conv2d(3, 3, 4, 2, 1, padding_mode="reflect")],
            0,
            "Conv2d has padding_mode='reflect'",
        ),
        ([nn.Conv2d(4, 4, 4, 2, 1, groups=2)], 0, "Conv2d has groups=2"),
        ([nn.Conv2d(3, 3, 4, 2, 1), nn.LeakyReLU(0.1)], 1, "LeakyReLU has the slope 0.1"),
        (
            [nn.Conv2d(3, 3, 4, 2, 1), nn.GroupNorm(1, 3)],
            1,
            "GroupNorm is none of the layers that are computed together",
        ),
    ]
    for modules, count, reason in cases:
        found = recognise(modules, False)
        assert (found.length, found.reason) == (count, reason)
    assert recognise([nn.Conv2d(3, 3, 4, 2, 1), nn.BatchNorm2d(3), nn.Tanh()], False).length == 3


# --- a block is a Sequential ---


def test_indexing_length_and_iteration() -> None:
    block = ConvTransposeBlock(3, 4, norm="batch", activation="tanh")
    assert len(block) == 3
    assert [type(layer) for layer in block] == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.Tanh]
    assert type(block[:2]) is nn.Sequential
    assert block[-1] is list(block)[2]
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(block.eval()(x), block[2](block[:2](x)))


def test_options_of_the_layers() -> None:
    block = ConvBlock(3, 4, norm="batch", negative_slope=0.3, eps=0.1, momentum=0.5, affine=False)
    assert block.norm is not None
    assert (block.norm.eps, block.norm.momentum, block.norm.weight) == (0.1, 0.5, None)
    x = torch.randn(4, 3, 8, 8)
    raw = F.batch_norm(block.convolution(x), None, None, training=True, eps=0.1)
    torch.testing.assert_close(block(x), F.leaky_relu(raw, 0.3))
    with pytest.raises(TypeError, match="eps: options of a normalisation, but norm='none'"):
        ConvBlock(3, 4, eps=0.1)
    with pytest.raises(TypeError, match="epsilon"):
        ConvBlock(3, 4, norm="batch", epsilon=0.1)


def test_an_activation_as_a_module() -> None:
    x = torch.randn(2, 3, 4, 4)
    block = ConvBlock(3, 4, activation=nn.GELU())
    torch.testing.assert_close(block(x), F.gelu(block.convolution(x)))


@pytest.mark.parametrize("block", BLOCKS)
def test_one_image_without_a_batch(block: Block) -> None:
    module = block(3, 4, norm="none", activation="leaky_relu")
    x = torch.randn(3, 4, 6)
    torch.testing.assert_close(module(x), module(x[None])[0])
    two = FusedSequential(module, block(4, 2, norm="none"))
    torch.testing.assert_close(two(x), two(x[None])[0])


@pytest.mark.parametrize("block", BLOCKS)
def test_initialisation_by_the_name_of_the_class(block: Block) -> None:
    """As the DCGAN tutorial does it."""

    def weights_init(module: nn.Module) -> None:
        name = type(module).__name__
        if name.find("Conv") != -1:
            nn.init.constant_(module.weight.data, 0.25)  # type: ignore[union-attr, arg-type]
        elif name.find("BatchNorm") != -1:
            nn.init.constant_(module.weight.data, 2.0)  # type: ignore[union-attr, arg-type]

    module = block(3, 4, norm="batch").apply(weights_init)
    assert module.weight is module.convolution.weight
    assert module.bias is None
    assert torch.equal(module.weight, torch.full_like(module.weight, 0.25))
    assert module.norm is not None
    assert torch.equal(module.norm.weight, torch.full((4,), 2.0))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("block", BLOCKS)
def test_pickles_and_symbolic_traces(block: Block) -> None:
    module = FusedSequential(block(3, 4, norm="batch"), nn.BatchNorm2d(4), nn.ReLU()).eval()
    x = torch.randn(2, 3, 8, 8)
    expected = module(x)
    torch.testing.assert_close(pickle.loads(pickle.dumps(module))(x), expected)
    traced = torch.fx.symbolic_trace(module)
    torch.testing.assert_close(traced(x), expected)
    assert sum(node.op == "call_module" for node in traced.graph.nodes) == 5
    scripted = torch.jit.trace(module, x)
    for other in (x, torch.randn(5, 3, 4, 6)):
        torch.testing.assert_close(scripted(other), module(other))


# --- layouts ---


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_layouts_are_those_of_torchs_layers(block: Block, norm: str, channels: int) -> None:
    """Parameters and results are contiguous unless someone asks for channels_last."""
    module = FusedSequential(block(3, 5, norm=norm), block(5, channels, norm=norm))
    reference = nn.Sequential(*(nn.Sequential(*layers) for layers in module))
    for layout in (torch.contiguous_format, torch.channels_last):
        module.to(memory_format=layout)  # type: ignore[call-overload]
        for x in (
            torch.randn(2, 3, 8, 8),
            torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last),
        ):
            y, expected = module(x), reference(x)
            for asked in (torch.contiguous_format, torch.channels_last):
                assert y.is_contiguous(memory_format=asked) == expected.is_contiguous(
                    memory_format=asked
                )
            y.sum().backward()
            for parameter in module.parameters():
                assert parameter.grad is not None
                assert parameter.grad.stride() == parameter.stride()
    module = FusedSequential(block(3, 5, norm=norm), block(5, channels, norm=norm))
    assert nn.utils.parameters_to_vector(module.parameters()).numel() == sum(
        p.numel() for p in module.parameters()
    )
    assert module(torch.randn(2, 3, 8, 8)).view(2, -1).dim() == 2


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("channels", [3, 6])
@pytest.mark.parametrize("activation", [None, "tanh"])
def test_batched_gradients_vmap_and_forward_mode(
    block: Block, channels: int, activation: str | None
) -> None:
    module = block(2, channels, norm="none", activation=activation, dtype=torch.float64)
    reference = nn.Sequential(*module)
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)

    def jacobian(network: nn.Module, vectorize: bool) -> Tensor:
        found = torch.autograd.functional.jacobian(network, x, vectorize=vectorize)
        assert isinstance(found, Tensor)
        return found

    torch.testing.assert_close(jacobian(module, True), jacobian(reference, False))
    torch.testing.assert_close(torch.func.vmap(module)(x[:, None]), reference(x)[:, None])
    tangent = torch.randn_like(x)
    for network_y, network_t in (
        torch.func.jvp(module, (x,), (tangent,)),
        torch.autograd.functional.jvp(reference, x, tangent),
    ):
        torch.testing.assert_close(network_y, reference(x))
        torch.testing.assert_close(
            network_t, torch.autograd.functional.jvp(reference, x, tangent)[1]
        )
    y = module(x)
    grads = torch.randn(4, *y.shape, dtype=torch.float64)
    batched = torch.autograd.grad(
        y, list(module.parameters()), grads, is_grads_batched=True, retain_graph=True
    )
    for one, grad in enumerate(grads):
        for found, expected in zip(
            batched,
            torch.autograd.grad(y, list(module.parameters()), grad, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(found[one], expected)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_batched_gradients_on_triton(block: Block, norm: str) -> None:
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = FusedSequential(block(2, 3, norm=norm), block(3, 2, norm=norm)).to(device)
    x = torch.randn(2, 2, 4, 4, device=device, requires_grad=True)
    wanted = [x, *module.parameters()]
    with kernels.use_impl("triton"):
        y = module(x)
    grads = torch.randn(3, *y.shape, device=device)
    batched = torch.autograd.grad(y, wanted, grads, is_grads_batched=True, retain_graph=True)
    for one, grad in enumerate(grads):
        for found, expected in zip(
            batched, torch.autograd.grad(y, wanted, grad, retain_graph=True), strict=True
        ):
            torch.testing.assert_close(found[one], expected, rtol=1e-4, atol=1e-5)
