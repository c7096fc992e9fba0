"""The convolutions and blocks on the cases by which PyTorch tests its own: none may be wrong.

Each case is computed by ours and by torch's. As they are, they have other kernels and strides than
ours, which torch computes; so each is computed once more with its images, channels and bias, and a
kernel of 4, stride 2 and padding 1.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kernels
from kernels import ConvBlock, ConvTransposeBlock, FusedSequential, conv2d, conv_transpose2d
from tests.kernels.peer import pytorch

OURS: dict[str, Callable[..., Tensor]] = {
    "nn.functional.conv2d": conv2d,
    "nn.functional.conv_transpose2d": conv_transpose2d,
}
TORCHS: dict[str, Callable[..., Tensor]] = {
    "nn.functional.conv2d": F.conv2d,
    "nn.functional.conv_transpose2d": F.conv_transpose2d,
}
# How many cases there are at least, of a dtype: fewer would mean that they were not found.
LEAST = {"nn.functional.conv2d": 30, "nn.functional.conv_transpose2d": 12}
NAMES = list(OURS)
DEFAULTS = {"stride": 1, "padding": 0}  # of torch's functions, which ours has otherwise
OUR_GEOMETRY = {"stride": 2, "padding": 1}

SIXTEEN_BITS = {torch.float16: 1e-3, torch.bfloat16: 1e-2}  # ‖ours − torch's‖ / ‖torch's‖

pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel lengths:UserWarning"
)


class Case(NamedTuple):
    """x, weight and perhaps a bias, and the geometry."""

    tensors: list[Tensor]
    options: dict[str, Any]


def as_they_are(name: str, dtype: torch.dtype) -> Iterator[Case]:
    entry = pytorch.operator(name)
    for sample in entry.reference_inputs("cpu", dtype):  # the sample inputs among them
        tensors = [t for t in (sample.input, *sample.args) if t is not None]
        yield Case(tensors, DEFAULTS | sample.kwargs)


def in_our_geometry(name: str, dtype: torch.dtype) -> Iterator[Case]:
    for (x, weight, *bias), options in as_they_are(name, dtype):
        shape = (weight.shape[0], weight.shape[1] * options.get("groups", 1))
        generator = torch.Generator().manual_seed(sum(x.shape))
        ours = 4 * torch.randn(*shape, 4, 4, generator=generator, dtype=torch.float64)
        yield Case([x, ours.to(dtype), *bias], OUR_GEOMETRY)


BOTH = [as_they_are, in_our_geometry]
Cases = Callable[[str, torch.dtype], Iterator[Case]]


def outcome(compute: Callable[[], Any]) -> Any:
    """What a call gives, or the error that it raises."""
    try:
        return compute()
    except Exception as error:
        return error


def agree(ours: Any, torchs: Any) -> bool:
    """Whether two outcomes are the same: values that are close, or errors of one kind."""
    if isinstance(torchs, Exception) or isinstance(ours, Exception):
        return isinstance(torchs, Exception) and isinstance(ours, type(torchs))
    if isinstance(ours, list) and ours[0].dtype in SIXTEEN_BITS:
        # Sums in another order: a sum of large numbers may be small, so that the whole counts.
        return all(
            a.dtype == b.dtype
            and (a.double() - b.double()).norm() <= SIXTEEN_BITS[a.dtype] * b.double().norm()
            for a, b in zip(ours, torchs, strict=True)
        )
    try:
        torch.testing.assert_close(ours, torchs)
    except AssertionError:
        return False
    return True


def values_and_gradients(function: Callable[..., Tensor], case: Case) -> list[Tensor]:
    tensors = [t.detach().clone() for t in case.tensors]
    if tensors[0].is_floating_point() or tensors[0].is_complex():
        for tensor in tensors:
            tensor.requires_grad_()
    y = function(*tensors, **case.options)
    if not y.requires_grad:
        return [y]
    weights = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).view_as(y).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, tensors, weights)]


@pytest.mark.parametrize("cases", BOTH)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_in_every_dtype(name: str, cases: Cases) -> None:
    tally, wrong = Counter[torch.dtype](), []
    for dtype in sorted(pytorch.operator(name).dtypes, key=str):
        for case in cases(name, dtype):
            tally[dtype] += 1
            ours, torchs = (
                outcome(lambda f=f, case=case: values_and_gradients(f, case))
                for f in (OURS[name], TORCHS[name])
            )
            if isinstance(torchs, Exception) or not agree(ours, torchs):
                wrong.append((dtype, case.options, ours, torchs))
    assert wrong == []
    assert {torch.float32, torch.float64, torch.int64, torch.complex64} <= set(tally)
    assert min(tally.values()) >= LEAST[name]


@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives(name: str) -> None:
    def second(function: Callable[..., Tensor], case: Case) -> list[Tensor]:
        tensors = [t.detach().clone().requires_grad_() for t in case.tensors]
        y = function(*tensors, **case.options)
        first = torch.autograd.grad(y.pow(3).sum(), tensors, create_graph=True)
        return list(torch.autograd.grad(sum(g.pow(2).sum() for g in first), tensors))  # type: ignore[arg-type]

    run = 0
    for cases in BOTH:
        for case in cases(name, torch.float64):
            torch.testing.assert_close(second(OURS[name], case), second(TORCHS[name], case))
            run += 1
    assert run >= 2 * LEAST[name]


# --- transforms ---


def jvp(function: Callable[..., Tensor], tensors: list[Tensor]) -> object:
    return torch.func.jvp(function, tuple(tensors), tuple(t.sin() for t in tensors))


def vmap(function: Callable[..., Tensor], tensors: list[Tensor]) -> object:
    return torch.func.vmap(function)(*(torch.stack([t, t.cos()]) for t in tensors))


def vmap_of_the_weight(function: Callable[..., Tensor], tensors: list[Tensor]) -> object:
    x, weight, *bias = tensors
    return torch.func.vmap(lambda w: function(x, w, *bias))(torch.stack([weight, weight.cos()]))


def grad(function: Callable[..., Tensor], tensors: list[Tensor]) -> object:
    places = tuple(range(len(tensors)))
    return torch.func.grad(lambda *t: function(*t).pow(2).sum(), places)(*tensors)


def gradients_of_each(function: Callable[..., Tensor], tensors: list[Tensor]) -> object:
    x, *parameters = tensors
    of_one = torch.func.grad(lambda p, x: function(x, *p).pow(2).sum())
    return torch.func.vmap(of_one, (None, 0))(parameters, torch.stack([x, x.cos()]))


def batched_gradients(function: Callable[..., Tensor], tensors: list[Tensor]) -> object:
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    y = function(*leaves)
    grads = torch.stack([torch.ones_like(y), y.detach().sin()])
    return torch.autograd.grad(y, leaves, grads, is_grads_batched=True)


def hessian_times_vector(function: Callable[..., Tensor], tensors: list[Tensor]) -> object:
    x, *parameters = tensors
    first = torch.func.grad(lambda x: function(x, *parameters).pow(3).sum())
    return torch.func.jvp(first, (x,), (x.sin(),))


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize(
    "transform",
    [
        jvp,
        vmap,
        vmap_of_the_weight,
        grad,
        gradients_of_each,
        batched_gradients,
        hessian_times_vector,
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_transforms(name: str, transform: Callable[..., object]) -> None:
    run, wrong = 0, []
    for cases in BOTH:
        for tensors, options in cases(name, torch.float64):
            ours, torchs = (
                outcome(lambda f=f, t=tensors, o=options: transform(lambda *args: f(*args, **o), t))
                for f in (OURS[name], TORCHS[name])
            )
            run += 1
            if isinstance(torchs, Exception) or not agree(ours, torchs):
                wrong.append((cases.__name__, options, ours, torchs))
    assert wrong == []
    assert run >= 2 * LEAST[name]


# --- what is refused ---


def test_torchs_error_inputs() -> None:
    """Inputs that torch's own tests expect an error for: ours has the same kind."""
    run = 0
    for error in pytorch.operator("nn.functional.conv2d").error_inputs("cpu"):
        sample = error.sample_input
        tensors, options = (sample.input, *sample.args), DEFAULTS | sample.kwargs
        with pytest.raises(error.error_type):
            F.conv2d(*tensors, **options)
        with pytest.raises(error.error_type):
            conv2d(*tensors, **options)
        run += 1
    assert run >= 10


@pytest.mark.parametrize("name", NAMES)
def test_an_order_for_triton_is_followed_or_refused_by_name(name: str) -> None:
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    refused = Counter[str]()
    for (x, weight, *bias), options in as_they_are(name, torch.float32):
        tensors = [t.to(device) for t in (x, weight, *bias)]
        with pytest.raises(kernels.ImplUnavailableError) as caught:
            OURS[name](*tensors, **options, impl="triton")
        reason = str(caught.value).split("cannot run it: ")[1].split(". ")[0]
        refused[reason.split(" is ")[0]] += 1
    assert set(refused) <= {"the kernel", "stride"}
    assert refused.total() >= LEAST[name]
    run = 0
    for (x, weight, *bias), options in in_our_geometry(name, torch.float32):
        case = Case([t.to(device) for t in (x, weight, *bias)], options)
        ours = values_and_gradients(lambda *t, **o: OURS[name](*t, **o, impl="triton"), case)
        for found, expected in zip(ours, values_and_gradients(TORCHS[name], case), strict=True):
            distance = (found - expected).norm() / expected.norm().clamp_min(1e-6)
            assert distance.item() < 1e-3  # of tf32
        run += 1
    assert run >= LEAST[name]


# --- modules as layers of blocks ---

BLOCKS: dict[str, type[ConvBlock] | type[ConvTransposeBlock]] = {
    "nn.Conv2d": ConvBlock,
    "nn.ConvTranspose2d": ConvTransposeBlock,
}


class ModuleCase(NamedTuple):
    """A module, what it is called with, and whether in training."""

    module: nn.Module
    x: Tensor


def module_cases(name: str, dtype: torch.dtype) -> Iterator[ModuleCase]:
    """PyTorch's cases of a module, in training and evaluation."""
    entry = pytorch.module(name)
    for training in (True, False):
        for given in entry.module_inputs_func(entry, "cpu", dtype, False, training):
            torch.manual_seed(0)
            arguments = given.constructor_input
            module = entry.module_cls(*arguments.args, **arguments.kwargs).to(dtype)
            (x,) = given.forward_input.args
            yield ModuleCase(module.train(training), x)


def step(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Result, gradients and state after one step."""
    x = x.detach().clone().requires_grad_()
    y = network(x)
    weights = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).view_as(y).to(y.dtype)
    leaves = {"x": x, **dict(network.named_parameters())}
    grads = torch.autograd.grad(y, list(leaves.values()), weights)
    found = {"y": y.detach()} | dict(zip(leaves, grads, strict=True))
    return found | {f"state {key}": value for key, value in network.state_dict().items()}


def assert_like_torchs(network: nn.Sequential, x: Tensor) -> bool:
    """The network computes what an `nn.Sequential` of its layers does. False: both refuse."""
    reference = nn.Sequential(
        *(
            nn.Sequential(*copy.deepcopy(list(layers)))
            if isinstance(layers, nn.Sequential)
            else copy.deepcopy(layers)
            for layers in network
        )
    )
    ours, torchs = (outcome(lambda n=n: step(n, x)) for n in (network, reference))
    assert agree(ours, torchs), (network, x.shape, ours, torchs)
    return not isinstance(torchs, Exception)


DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BLOCKS)
def test_convolutions_as_layers(name: str, dtype: torch.dtype) -> None:
    tally = Counter[bool]()
    for convolution, x in module_cases(name, dtype):
        assert isinstance(convolution, (nn.Conv2d, nn.ConvTranspose2d))
        channels = (convolution.in_channels, convolution.out_channels)
        for own in (convolution, type(convolution)(*channels, 4, 2, 1, dtype=dtype)):
            for norm in ("none", "batch"):
                block = BLOCKS[name](*channels, norm=norm, activation="tanh", dtype=dtype)  # type: ignore[arg-type]
                block[0] = own
                block.train(convolution.training)
                tally[assert_like_torchs(FusedSequential(block), x)] += 1
    cases = 8 if name == "nn.Conv2d" else 4
    # Half of them are images without a batch, which the normalisation refuses.
    assert tally[True] >= 3 * cases
    assert tally[False] == tally[True] / 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_normalisations_as_layers(dtype: torch.dtype) -> None:
    tally = Counter[bool]()
    for norm, x in module_cases("nn.BatchNorm2d", dtype):
        channels = norm.num_features
        after = nn.LeakyReLU(0.2)
        for modules in ((norm,), (norm, after), (norm, after, ConvBlock(channels, 3, dtype=dtype))):
            network = FusedSequential(*copy.deepcopy(modules)).train(norm.training)
            tally[assert_like_torchs(network, x)] += 1
        for block in (ConvBlock, ConvTransposeBlock):
            own = block(channels, channels, norm="batch", activation="relu", dtype=dtype)
            own[1] = copy.deepcopy(norm)
            network = FusedSequential(own.train(norm.training)).train(norm.training)
            tally[assert_like_torchs(network, x)] += 1
    assert tally[True] >= 5 * 2 * 6
    assert tally[False] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["nn.ReLU", "nn.LeakyReLU", "nn.Tanh", "nn.Sigmoid"])
def test_activations_as_layers(name: str, dtype: torch.dtype) -> None:
    run, generator = 0, torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, 4, 6, dtype=dtype, generator=generator)
    for activation, x in module_cases(name, dtype):
        assert assert_like_torchs(FusedSequential(activation), x)
        block = ConvBlock(3, 4, norm="batch", activation=activation, dtype=dtype)
        other = ConvTransposeBlock(4, 2, norm="none", activation=activation, dtype=dtype)
        own = FusedSequential(nn.BatchNorm2d(3, dtype=dtype), activation, block, other)
        assert assert_like_torchs(own, image)
        run += 1
    assert run >= 6


def test_torchs_error_inputs_of_the_normalisation() -> None:
    entry = pytorch.module("nn.BatchNorm2d")
    run = 0
    for error in entry.module_error_inputs_func(entry, "cpu", torch.float32, False, True):
        arguments = error.module_error_input.constructor_input
        norm = nn.BatchNorm2d(*arguments.args, **arguments.kwargs)
        (x,) = error.module_error_input.forward_input.args
        block = ConvBlock(4, norm.num_features, norm="batch")
        block[1] = norm
        for network, image in (
            (norm, x),
            (FusedSequential(norm, nn.ReLU()), x),
            (block, torch.randn(2, 4, 8, 8)),
        ):
            with pytest.raises(error.error_type):
                network(image)
        run += 1
    assert run >= 1
