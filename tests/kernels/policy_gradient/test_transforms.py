"""Transforms of torch.func, forward mode and batches of gradients: as a loop, and as float64.

Each is tried on every public function; symbols are the bits of an untransformed call.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from kernels import (
    ImplUnavailableError,
    Samples,
    effective_sample_size,
    log_normaliser,
    log_prob,
    normalised_weights,
    sample_bernoulli,
    sample_categorical,
    weighted_log_prob,
)
from kernels.policy_gradient import twin
from kernels.policy_gradient.fixed_point import cumulative_categorical
from tests.kernels.policy_gradient import reference

SEED = 11
SAMPLES = 6


def tensor_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2


CATEGORICAL, BERNOULLI = tensor_of(2, 3, 5), tensor_of(2, 7)
DRAWN = sample_categorical(CATEGORICAL, SAMPLES, SEED).symbols
BITS = sample_bernoulli(BERNOULLI, SAMPLES, SEED).symbols
WEIGHTS = tensor_of(SAMPLES, 2, seed=1)


def of_categorical(logits: Tensor) -> Tensor:
    return reference.log_prob(logits, DRAWN)


def of_bernoulli(logits: Tensor) -> Tensor:
    return reference.log_prob(logits, BITS)


# By name: the function of the logits, what it is in torch's own distributions, and the logits.
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Tensor]] = {
    "sample_categorical": (
        lambda t: sample_categorical(t, SAMPLES, SEED).log_probs,
        of_categorical,
        CATEGORICAL,
    ),
    "sample_bernoulli": (
        lambda t: sample_bernoulli(t, SAMPLES, SEED).log_probs,
        of_bernoulli,
        BERNOULLI,
    ),
    "log_prob": (lambda t: log_prob(t, DRAWN), of_categorical, CATEGORICAL),
    "log_prob of Bernoullis": (lambda t: log_prob(t, BITS), of_bernoulli, BERNOULLI),
    "weighted_log_prob": (
        lambda t: weighted_log_prob(t, DRAWN, WEIGHTS),
        lambda t: (WEIGHTS * of_categorical(t)).sum(),
        CATEGORICAL,
    ),
}
OF_WEIGHTS = (normalised_weights, effective_sample_size, log_normaliser)

each_function = pytest.mark.parametrize("name", FUNCTIONS)


def close(found: object, exact: object) -> None:
    torch.testing.assert_close(
        found, exact, rtol=2e-5, atol=2e-5, check_dtype=False, check_layout=False
    )


def scalar(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function whose second derivatives are not symmetric in what they are of by chance."""

    def call(logits: Tensor) -> Tensor:
        value = function(logits)
        return (value.square() * torch.arange(1.0, 1 + value.numel()).view(value.shape)).sum()

    return call


# --- derivatives ---------------------------------------------------------------------------------


@each_function
def test_grad(name: str) -> None:
    ours, exact, logits = FUNCTIONS[name]
    close(torch.func.grad(scalar(ours))(logits), torch.func.grad(scalar(exact))(logits.double()))


@each_function
def test_grad_of_grad_and_hessian(name: str) -> None:
    ours, exact, logits = FUNCTIONS[name]

    def twice(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return torch.func.grad(lambda t: torch.func.grad(scalar(function))(t).square().sum())

    found, wanted = twice(ours)(logits), twice(exact)(logits.double())
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-3)
    found = torch.func.hessian(scalar(ours))(logits)
    wanted = torch.func.hessian(scalar(exact))(logits.double())
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-3)


@each_function
def test_forward_mode(name: str) -> None:
    ours, exact, logits = FUNCTIONS[name]
    tangent = torch.ones_like(logits) + logits
    found = torch.func.jvp(ours, (logits,), (tangent,))
    close(found, torch.func.jvp(exact, (logits.double(),), (tangent.double(),)))
    with forward_ad.dual_level():
        dual = ours(forward_ad.make_dual(logits, tangent))
        close(forward_ad.unpack_dual(dual).tangent, found[1])


@each_function
def test_jacobians(name: str) -> None:
    ours, exact, logits = FUNCTIONS[name]
    wanted = torch.func.jacrev(exact)(logits.double())
    close(torch.func.jacrev(ours)(logits), wanted)
    close(torch.func.jacfwd(ours)(logits), wanted)
    jacobian = torch.autograd.functional.jacobian
    close(jacobian(ours, logits, vectorize=True), wanted)
    close(jacobian(ours, logits, vectorize=True, strategy="forward-mode"), wanted)


@each_function
def test_vectorised_hessian(name: str) -> None:
    ours, exact, logits = FUNCTIONS[name]
    found = torch.autograd.functional.hessian(scalar(ours), logits, vectorize=True)
    wanted = torch.autograd.functional.hessian(scalar(exact), logits.double())
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("batch", ["is_grads_batched", "vmap"])
def test_batches_of_gradients(impl: str, batch: str) -> None:
    for draw, logits in ((sample_categorical, CATEGORICAL), (sample_bernoulli, BERNOULLI)):
        leaf = logits.clone().requires_grad_()
        drawn = draw(leaf, SAMPLES, SEED, impl=impl).log_probs
        of_given = log_prob(leaf, DRAWN if logits is CATEGORICAL else BITS, impl=impl)
        for value in (drawn, of_given):
            many = tensor_of(4, *value.shape, seed=2)

            def one(g: Tensor, value: Tensor = value, leaf: Tensor = leaf) -> Tensor:
                return torch.autograd.grad(value, leaf, g, retain_graph=True)[0]

            if batch == "vmap":
                found = torch.vmap(one)(many)
            else:
                (found,) = torch.autograd.grad(
                    value, leaf, many, retain_graph=True, is_grads_batched=True
                )
            close(found, torch.stack([one(g) for g in many]))


def test_what_has_no_gradient_has_none_in_transforms() -> None:
    log_weights = tensor_of(4, 3)
    for function in OF_WEIGHTS:
        zero = torch.func.grad(lambda t, function=function: function(t).sum())(log_weights)
        assert (zero == 0).all()
    zero = torch.func.grad(lambda w: weighted_log_prob(CATEGORICAL, DRAWN, w))(WEIGHTS)
    assert (zero == 0).all()
    # Of a weight that the logits enter too, neither, at either level.
    logits = CATEGORICAL.double()

    def value(t: Tensor) -> Tensor:
        return weighted_log_prob(t, DRAWN, t.sum() * torch.ones_like(WEIGHTS))

    def constant(t: Tensor) -> Tensor:
        return weighted_log_prob(t, DRAWN, logits.sum() * torch.ones_like(WEIGHTS))

    close(torch.func.grad(value)(logits), torch.func.grad(constant)(logits))
    close(
        torch.func.grad(lambda t: torch.func.grad(value)(t).square().sum())(logits),
        torch.func.grad(lambda t: torch.func.grad(constant)(t).square().sum())(logits),
    )


# --- vmap ----------------------------------------------------------------------------------------


def stacked(samples: list[Samples]) -> Samples:
    return Samples(*(torch.stack(each) for each in zip(*samples, strict=True)))


def same(found: Samples, wanted: Samples) -> None:
    assert isinstance(found, Samples)
    assert torch.equal(found.symbols, wanted.symbols)
    assert found.symbols.dtype == wanted.symbols.dtype
    close(found.log_probs, wanted.log_probs)


@pytest.mark.parametrize(
    ("shape", "dim"),
    [((2, 3, 5), -1), ((2, 3, 5), 1), ((2, 4, 3, 2), 1), ((3, 4), -1), ((1, 2, 300), 2)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_vmap_over_logits_is_the_loop(shape: tuple[int, ...], dim: int, dtype: torch.dtype) -> None:
    logits = tensor_of(3, *shape).to(dtype)
    found = torch.vmap(lambda t: sample_categorical(t, 5, SEED, 2, dim=dim))(logits)
    same(found, stacked([sample_categorical(t, 5, SEED, 2, dim=dim) for t in logits]))
    found = torch.vmap(lambda t: sample_bernoulli(t, 5, SEED))(logits)
    same(found, stacked([sample_bernoulli(t, 5, SEED) for t in logits]))


def test_vmap_from_another_dimension_and_within_another() -> None:
    logits = tensor_of(2, 3, 4, 5)
    found = torch.vmap(lambda t: sample_categorical(t, 5, SEED), in_dims=2, out_dims=1)(logits)
    wanted = stacked([sample_categorical(t, 5, SEED) for t in logits.unbind(2)])
    same(Samples(*(each.movedim(1, 0) for each in found)), wanted)
    nested = torch.vmap(torch.vmap(lambda t: sample_bernoulli(t, 5, SEED)))(logits)
    wanted = stacked([stacked([sample_bernoulli(t, 5, SEED) for t in row]) for row in logits])
    same(nested, wanted)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_vmap_over_seeds_and_offsets_is_the_loop(dtype: torch.dtype) -> None:
    seeds = torch.tensor([3, -7, 2**31 - 1], dtype=dtype)
    logits = tensor_of(3, 2, 4, 5)
    found = torch.vmap(lambda t, s: sample_categorical(t, 5, s))(logits, seeds)
    wanted = [sample_categorical(t, 5, int(s)) for t, s in zip(logits, seeds, strict=True)]
    same(found, stacked(wanted))
    found = torch.vmap(lambda s: sample_bernoulli(BERNOULLI, 5, s))(seeds)
    same(found, stacked([sample_bernoulli(BERNOULLI, 5, int(s)) for s in seeds]))
    offsets = torch.arange(3, dtype=dtype)
    found = torch.vmap(lambda o: sample_categorical(CATEGORICAL, 5, SEED, o))(offsets)
    same(found, stacked([sample_categorical(CATEGORICAL, 5, SEED, o) for o in range(3)]))


def test_vmap_of_what_is_given() -> None:
    logits, symbols = tensor_of(3, 2, 4, 5), torch.arange(3 * 6 * 2 * 4).view(3, 6, 2, 4) % 5
    weights = tensor_of(3, 6, 2)
    close(
        torch.vmap(log_prob)(logits, symbols),
        torch.stack([log_prob(*each) for each in zip(logits, symbols, strict=True)]),
    )
    close(
        torch.vmap(log_prob, in_dims=(None, 0))(logits[0], symbols),
        torch.stack([log_prob(logits[0], each) for each in symbols]),
    )
    close(
        torch.vmap(weighted_log_prob)(logits, symbols, weights),
        torch.stack(
            [weighted_log_prob(*each) for each in zip(logits, symbols, weights, strict=True)]
        ),
    )
    for function in OF_WEIGHTS:
        close(torch.vmap(function)(weights), torch.stack([function(each) for each in weights]))


@each_function
def test_gradients_of_each_example(name: str) -> None:
    ours, exact, logits = FUNCTIONS[name]
    many = torch.stack([logits, logits])
    found = torch.vmap(torch.func.grad(scalar(ours)))(many)
    close(found, torch.stack([torch.func.grad(scalar(exact))(logits.double())] * 2))


def test_a_generator_follows_the_randomness_of_vmap() -> None:
    logits = torch.zeros(3, 2, 50, 4)

    def draw(randomness: str) -> Tensor:
        generator = torch.Generator().manual_seed(5)
        return torch.vmap(
            lambda t: sample_categorical(t, 4, generator=generator).symbols, randomness=randomness
        )(logits)

    alike, different = draw("same"), draw("different")
    assert torch.equal(alike[0], alike[1])
    assert torch.equal(alike[0], alike[2])
    # Of 400 equally likely symbols a quarter agrees by chance.
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert 60 < (different[a] == different[b]).sum() < 140
    assert torch.equal(different, draw("different"))
    with pytest.raises(RuntimeError, match="randomness error mode"):
        draw("error")


# --- and the rest --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_without_a_distribution(bad: float) -> None:
    logits = torch.zeros(2, 2, 3, 5)
    logits[0, 1, 2] = bad
    found = torch.vmap(lambda t: sample_categorical(t, 5, SEED))(logits)
    wanted = stacked([sample_categorical(t, 5, SEED) for t in logits])
    assert torch.equal(found.symbols, wanted.symbols)
    assert (found.symbols[0, :, 1, 2] == 4).all()
    torch.testing.assert_close(found.log_probs, wanted.log_probs, equal_nan=True)
    bits = torch.vmap(lambda t: sample_bernoulli(t, 5, SEED))(logits)
    wanted = stacked([sample_bernoulli(t, 5, SEED) for t in logits])
    assert torch.equal(bits.symbols, wanted.symbols)
    torch.testing.assert_close(bits.log_probs, wanted.log_probs, equal_nan=True)


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3)])
def test_nothing_to_draw(shape: tuple[int, ...]) -> None:
    found = torch.vmap(lambda t: sample_categorical(t, 5, SEED))(torch.zeros(2, *shape))
    assert found.symbols.shape == (2, 5, *shape[:2])
    assert found.log_probs.tolist() == [[[0.0] * shape[0]] * 5] * 2


def test_logits_are_not_written_to() -> None:
    for draw in (sample_categorical, sample_bernoulli):
        for dtype in (torch.float32, torch.float64):
            logits = tensor_of(2, 3, 5).to(dtype)
            before = logits.clone()
            torch.func.grad(lambda t, draw=draw: draw(t, 3, SEED).log_probs.sum())(logits)
            assert torch.equal(logits, before)


def test_an_order_of_triton_is_refused() -> None:
    for call in (
        lambda t: sample_categorical(t, 3, SEED, impl="triton").log_probs,
        lambda t: sample_bernoulli(t, 3, SEED, impl="triton").log_probs,
        lambda t: log_prob(t, DRAWN, impl="triton"),
    ):
        with pytest.raises(ImplUnavailableError, match=r"a transform of torch\.func"):
            torch.func.jvp(call, (CATEGORICAL,), (CATEGORICAL,))


def test_another_default_dtype_changes_no_threshold() -> None:
    logits = tensor_of(30, 17)
    wanted = cumulative_categorical(twin._copy(logits), -1)
    torch.set_default_dtype(torch.float64)
    try:
        found = cumulative_categorical(twin._copy(logits), -1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, wanted)
