"""Traces, fake tensors and compilers: a function that was recorded gives what it gave before.

On other numbers than those that it was recorded with, and where that can be on another batch.
"""

import io
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter, CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from kernels import (
    Samples,
    effective_sample_size,
    log_normaliser,
    log_prob,
    normalised_weights,
    sample_bernoulli,
    sample_categorical,
    weighted_log_prob,
)
from kernels.policy_gradient import definitions
from tests.kernels.policy_gradient import reference

SEED = 2**40 + 5


def tensor_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2


def symbols_of(values: int, *shape: int) -> Tensor:
    return torch.randint(0, values, shape, generator=torch.Generator().manual_seed(3))


# By name: the function, and two sets of arguments for it, of different batches.
FUNCTIONS: dict[str, tuple[Callable[..., object], list[tuple[Tensor, ...]]]] = {
    "sample_categorical": (
        lambda t: sample_categorical(t, 6, SEED, 1, dim=1),
        [(tensor_of(2, 5, 3, 4),), (tensor_of(3, 5, 3, 4),)],
    ),
    "without positions": (
        lambda t: sample_categorical(t, 6, SEED),
        [(tensor_of(2, 5),), (tensor_of(3, 5),)],
    ),
    "many categories": (
        lambda t: sample_categorical(t, 3, SEED),
        [(tensor_of(2, 3, 300),), (tensor_of(3, 3, 300),)],
    ),
    "sample_bernoulli": (
        lambda t: sample_bernoulli(t, 6, SEED),
        [(tensor_of(2, 3, 4),), (tensor_of(3, 3, 4),)],
    ),
    "log_prob": (
        log_prob,
        [(tensor_of(b, 3, 5), symbols_of(5, 4, b, 3)) for b in (2, 3)],
    ),
    "log_prob of Bernoullis": (
        log_prob,
        [(tensor_of(b, 3), symbols_of(2, 4, b, 3)) for b in (2, 3)],
    ),
    "weighted_log_prob": (
        weighted_log_prob,
        [(tensor_of(b, 3, 5), symbols_of(5, 4, b, 3), tensor_of(4, b)) for b in (2, 3)],
    ),
    "normalised_weights": (normalised_weights, [(tensor_of(4, 2),), (tensor_of(7, 2),)]),
    "log_normaliser": (log_normaliser, [(tensor_of(4, 2),), (tensor_of(7, 2),)]),
    "effective_sample_size": (effective_sample_size, [(tensor_of(4, 2),), (tensor_of(7, 2),)]),
}
each_function = pytest.mark.parametrize("name", FUNCTIONS)


def same(found: object, wanted: object) -> None:
    # Blocks add up in another order than the whole: symbols are compared to the bit.
    if isinstance(wanted, Samples):
        found = Samples(*found)  # a trace of torch.jit gives a plain tuple
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


class Module(nn.Module):
    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> object:
        return self.function(*tensors)


# --- torch.fx ------------------------------------------------------------------------------------


class Draws(nn.Module):
    """Every public function, on what a layer gives."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 5)

    def forward(self, x: Tensor, seed: Tensor) -> tuple[Tensor, ...]:
        logits = self.layer(x)
        symbols, log_probs = sample_categorical(logits, 6, seed)
        bits = sample_bernoulli(logits, samples=6, seed=SEED)
        again = log_prob(logits, bits.symbols)
        weights = normalised_weights(again)
        value = weighted_log_prob(logits, symbols, weights)
        return log_probs, value, log_normaliser(again), effective_sample_size(log_weights=again)


def test_symbolic_trace_records_leaves() -> None:
    module = Draws()
    traced = torch.fx.symbolic_trace(module)
    leaves = [node for node in traced.graph.nodes if node.op == "call_function"]
    assert sample_categorical in [node.target for node in leaves]
    x, seed = tensor_of(2, 3, 4), torch.tensor(7)
    same(traced(x, seed), module(x, seed))
    same(pickle.loads(pickle.dumps(traced))(x, seed), module(x, seed))
    for found, wanted in zip(
        torch.autograd.grad(traced(x, seed)[1], module.layer.parameters()),
        torch.autograd.grad(module(x, seed)[1], module.layer.parameters()),
        strict=True,
    ):
        assert torch.equal(found, wanted)


# --- torch.jit -----------------------------------------------------------------------------------


@each_function
def test_jit_trace_keeps_no_sizes(name: str) -> None:
    function, (given, other) = FUNCTIONS[name]
    with warnings.catch_warnings():
        # That a trace might be wrong is a warning: none of them may be needed.
        warnings.simplefilter("error", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        traced = torch.jit.trace(Module(function), given)
    same(traced(*given), function(*given))
    same(traced(*other), function(*other))


def test_jit_trace_differentiates_and_draws_from_a_generator() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(
            lambda t: sample_categorical(t, 6, SEED).log_probs, tensor_of(2, 3, 5)
        )
        generator = torch.Generator().manual_seed(1)
        draws = torch.jit.trace(
            lambda t: sample_bernoulli(t, 6, generator=generator),
            tensor_of(2, 40),
            check_trace=False,
        )
    logits = tensor_of(3, 3, 5, seed=1).requires_grad_()
    (found,) = torch.autograd.grad(traced(logits).square().sum(), logits)
    value = sample_categorical(logits, 6, SEED).log_probs.square().sum()
    torch.testing.assert_close(found, torch.autograd.grad(value, logits)[0], rtol=1e-5, atol=1e-5)
    assert not torch.equal(draws(torch.zeros(2, 40))[0], draws(torch.zeros(2, 40))[0])


# --- fake tensors --------------------------------------------------------------------------------


@each_function
@pytest.mark.parametrize("leave", [False, True])
def test_fake_tensors_have_the_shapes_of_real_ones(name: str, leave: bool) -> None:
    function, (given, _) = FUNCTIONS[name]
    mode = FakeTensorMode()
    fakes = [mode.from_tensor(each) for each in given]
    if leave:  # fake tensors go on being fake
        found = function(*fakes)
    else:
        with mode:
            found = function(*fakes)
    leaves = torch.utils._pytree.tree_leaves(found)
    assert all(isinstance(each, FakeTensor) for each in leaves)
    for fake, real in zip(leaves, torch.utils._pytree.tree_leaves(function(*given)), strict=True):
        assert (fake.shape, fake.dtype, fake.stride()) == (real.shape, real.dtype, real.stride())
    on_meta = function(*(each.to("meta") for each in given))
    for meta, real in zip(
        torch.utils._pytree.tree_leaves(on_meta),
        torch.utils._pytree.tree_leaves(function(*given)),
        strict=True,
    ):
        assert meta.is_meta
        assert (meta.shape, meta.dtype) == (real.shape, real.dtype)


def test_fake_gradients_of_both_orders() -> None:
    with FakeTensorMode():
        for logits, draw in (
            (torch.randn(2, 3, 5, requires_grad=True), sample_categorical),
            (torch.randn(2, 3, requires_grad=True), sample_bernoulli),
        ):
            value = draw(logits, 4, SEED).log_probs.sum()
            (first,) = torch.autograd.grad(value, logits, create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), logits)
            assert first.shape == second.shape == logits.shape
            generator = torch.Generator()
            assert draw(logits, 4, generator=generator).log_probs.shape == (4, 2)


# --- make_fx -------------------------------------------------------------------------------------


@each_function
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx(name: str, mode: str) -> None:
    function, (given, other) = FUNCTIONS[name]
    graph = make_fx(lambda *tensors: function(*tensors), tracing_mode=mode)(*given)
    changed = [each * 0.5 if each.is_floating_point() else each for each in given]
    same(graph(*changed), function(*changed))
    if mode == "symbolic":
        same(graph(*other), function(*other))


@pytest.mark.parametrize("name", ["sample_categorical", "sample_bernoulli"])
@pytest.mark.parametrize("transform", ["backward", "grad", "vmap"])
def test_make_fx_of_gradients_and_transforms(name: str, transform: str) -> None:
    function, ((logits,), _) = FUNCTIONS[name]

    def value(t: Tensor) -> Tensor:
        return function(t).log_probs.square().sum()

    def backward(t: Tensor) -> Tensor:
        leaf = t.detach().requires_grad_()
        return torch.autograd.grad(value(leaf), leaf)[0]

    gradient = {
        "backward": backward,
        "grad": torch.func.grad(value),
        "vmap": lambda t: torch.vmap(torch.func.grad(value))(torch.stack([t, 2 * t])),
    }[transform]
    same(make_fx(gradient)(logits)(logits * 0.5), gradient(logits * 0.5))


# --- torch.compile -------------------------------------------------------------------------------


@each_function
def test_one_graph_for_all_sizes(name: str) -> None:
    function, (given, other) = FUNCTIONS[name]
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    for arguments in (given, other):
        same(compiled(*arguments), function(*arguments))
    assert counter.frame_count == 1


def test_one_graph_for_all_seeds_offsets_and_counts() -> None:
    torch._dynamo.reset()
    counter = CompileCounter()

    def draw(logits: Tensor, samples: int, seed: int, offset: int) -> Samples:
        return sample_categorical(logits, samples, seed, offset)

    compiled = torch.compile(draw, fullgraph=True, dynamic=True, backend=counter)
    for i in range(2, 8):
        logits = tensor_of(i, i + 1, 5)
        same(compiled(logits, i, 1000 * i, i), draw(logits, i, 1000 * i, i))
    assert counter.frame_count == 1


@pytest.mark.parametrize("name", ["sample_categorical", "sample_bernoulli", "log_prob"])
@pytest.mark.parametrize("transform", ["grad", "vmap", "jvp", "backward"])
def test_compiled_transforms(name: str, transform: str) -> None:
    function, ((logits, *rest), _) = FUNCTIONS[name]

    def value(t: Tensor) -> Tensor:
        found = function(t, *rest)
        return found if isinstance(found, Tensor) else found.log_probs

    def call(t: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if transform == "grad":
            return torch.func.grad(lambda u: value(u).square().sum())(t)
        if transform == "vmap":
            return torch.vmap(value)(torch.stack([t, 2 * t]))
        if transform == "jvp":
            return torch.func.jvp(value, (t,), (t,))
        return value(t).square().sum()

    torch._dynamo.reset()
    # With sizes of any kind torch's own tangents fail, of views at least.
    dynamic = transform == "backward"
    compiled = torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    if transform == "backward":
        leaf = logits.clone().requires_grad_()
        (found,) = torch.autograd.grad(compiled(leaf), leaf)
        same(found, torch.autograd.grad(call(leaf), leaf)[0])
    else:
        same(compiled(logits), call(logits))


def test_a_generator_breaks_a_graph_as_torchs_own_do() -> None:
    generator = torch.Generator()

    def ours(t: Tensor) -> Tensor:
        return sample_bernoulli(t, 3, generator=generator).log_probs

    def torchs(t: Tensor) -> Tensor:
        return torch.bernoulli(t.sigmoid(), generator=generator)

    for function in (ours, torchs):
        torch._dynamo.reset()
        with pytest.raises(torch._dynamo.exc.Unsupported):
            torch.compile(function, fullgraph=True, backend="eager")(tensor_of(2, 3))
    torch._dynamo.reset()
    compiled = torch.compile(ours, backend="aot_eager")
    found = compiled(tensor_of(2, 3)), compiled(tensor_of(2, 3))
    generator.manual_seed(generator.initial_seed())
    same(found, (ours(tensor_of(2, 3)), ours(tensor_of(2, 3))))


# --- torch.export --------------------------------------------------------------------------------


@each_function
@pytest.mark.parametrize("strict", [False, True])
def test_export_with_a_dynamic_batch_saved_and_loaded(name: str, strict: bool) -> None:
    function, (given, other) = FUNCTIONS[name]
    size = torch.export.Dim.AUTO
    sizes = tuple(dict.fromkeys(range(each.dim()), size) for each in given)
    program = torch.export.export(
        Module(function), given, dynamic_shapes={"tensors": sizes}, strict=strict
    )
    for arguments in (given, other):
        same(program.module()(*arguments), function(*arguments))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    same(loaded(*other), function(*other))


# --- the definition ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_gradients_of_the_score_are_those_of_differences(kind: str) -> None:
    shape = (2, 5) if kind == "bernoulli" else (2, 3, 4)
    logits = tensor_of(*shape).double().requires_grad_()
    symbols = symbols_of(2, 3, *shape[:2])
    weights = tensor_of(3, 2, seed=4).double().requires_grad_()
    direction = tensor_of(*shape, seed=5).double()
    found = definitions.score_gradients(logits, symbols, weights, direction)
    score = definitions.score(logits, symbols, weights)
    wanted = torch.autograd.grad((score * direction).sum(), (logits, weights))
    torch.testing.assert_close(found, wanted)
    assert torch.autograd.gradcheck(
        lambda a, b: definitions.score_gradients(a, symbols, b, direction), (logits, weights)
    )


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", [(2, 7), (2, 3, 4)])
def test_the_operator_of_the_score_can_be_differentiated(impl: str, shape: tuple[int, ...]) -> None:
    from kernels.policy_gradient import autograd

    score = getattr(torch.ops, autograd.NAMESPACE).score.default
    logits = tensor_of(*shape).requires_grad_()
    weights = tensor_of(3, 2).requires_grad_()
    symbols = symbols_of(2, 3, *shape[:2]).to(torch.uint8)
    torch.library.opcheck(score, (logits, symbols, weights, impl))
