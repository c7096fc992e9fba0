"""Arguments, dispatch, weights, and the operators that torch.compile sees."""

import math

import pytest
import torch

import kernels
from kernels import (
    ImplUnavailableError,
    effective_sample_size,
    log_normaliser,
    log_prob,
    normalised_weights,
    sample_bernoulli,
    sample_categorical,
    weighted_log_prob,
)
from kernels.policy_gradient import autograd
from tests.kernels.policy_gradient import reference

LOGITS = torch.zeros(2, 3, 4)
SYMBOLS = torch.zeros(5, 2, 3, dtype=torch.uint8)
WEIGHTS = torch.zeros(5, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sample_categorical([1.0], 1, 0), TypeError, "logits is a list"),
        (lambda: sample_categorical(LOGITS.int(), 1, 0), TypeError, "logits has dtype torch.int32"),
        (lambda: sample_bernoulli(LOGITS.bool(), 1, 0), TypeError, "logits has dtype torch.bool"),
        (lambda: sample_categorical(LOGITS[0, 0], 1, 0), ValueError, r"shape \[4\]: expected"),
        (lambda: sample_bernoulli(torch.tensor(0.0), 1, 0), ValueError, r"logits have shape \[\]"),
        (lambda: sample_categorical(torch.zeros(2, 65_537), 1, 0), ValueError, "65537 categories"),
        (lambda: sample_categorical(torch.zeros(2, 0), 1, 0), ValueError, "0 categories"),
        (lambda: sample_categorical(LOGITS, 1, 0, dim=0), ValueError, "dim=0"),
        (lambda: sample_categorical(LOGITS, 1, 0, dim=-3), ValueError, "dim=-3"),
        (lambda: sample_categorical(LOGITS, 1, 0, dim=3), ValueError, "dim=3"),
        (lambda: sample_categorical(LOGITS, 0, 0), ValueError, "samples=0: expected at least 1"),
        (lambda: sample_bernoulli(LOGITS, 2.0, 0), TypeError, "samples is a float"),
        (lambda: sample_bernoulli(LOGITS, 2, 0.5), TypeError, "seed is a float"),
        (lambda: sample_bernoulli(LOGITS, 2, 0, impl="cuda"), ValueError, "unknown implementation"),
        (lambda: log_prob(LOGITS, SYMBOLS.float()), TypeError, "symbols are torch.float32"),
        (lambda: log_prob(LOGITS, 3), TypeError, "symbols are int"),
        (lambda: log_prob(LOGITS, SYMBOLS[0]), ValueError, r"symbols have shape \[2, 3\]"),
        (lambda: log_prob(LOGITS, SYMBOLS[:, :1]), ValueError, r"expected \[M, 2, 3\]"),
        (lambda: log_prob(LOGITS, SYMBOLS[:0]), ValueError, "M ≥ 1"),
        (lambda: log_prob(LOGITS, SYMBOLS + 4), ValueError, "between 4 and 4: expected 0"),
        (lambda: log_prob(LOGITS, SYMBOLS.int() - 1), ValueError, "between -1 and -1"),
        (
            lambda: log_prob(LOGITS, torch.full((5, 2, 3, 4), 2)),
            ValueError,
            "expected 0 ≤ symbols < 2",
        ),
        (lambda: log_prob(LOGITS, SYMBOLS.to("meta")), ValueError, "symbols are on meta"),
        (lambda: weighted_log_prob(LOGITS, SYMBOLS, WEIGHTS.int()), TypeError, "weights has dtype"),
        (
            lambda: weighted_log_prob(LOGITS, SYMBOLS, WEIGHTS.t()),
            ValueError,
            r"weights have shape \[2, 5\]: expected \[M, B\] = \[5, 2\]",
        ),
        (
            lambda: weighted_log_prob(LOGITS, SYMBOLS, WEIGHTS.to("meta")),
            ValueError,
            "weights are on meta",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_triton_computes_in_float32():
    for call in (
        lambda: sample_categorical(LOGITS.double(), 1, 0, impl="triton"),
        lambda: sample_bernoulli(LOGITS.double(), 1, 0, impl="triton"),
        lambda: log_prob(LOGITS.double(), SYMBOLS, impl="triton"),
    ):
        with pytest.raises(ImplUnavailableError, match="float64"):
            call()


@pytest.mark.parametrize("name", ["sample_categorical", "sample_bernoulli", "log_prob"])
def test_explained(name):
    assert name in kernels.explain(name, "cpu")


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_no_positions(impl):
    logits = torch.randn(3, 4)
    drawn = sample_categorical(logits, 5, 0, impl=impl)
    assert drawn.symbols.shape == (5, 3)
    torch.testing.assert_close(
        drawn.log_probs, logits.log_softmax(-1)[range(3), drawn.symbols.long()]
    )


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_given_symbols(impl, dtype):
    logits = torch.randn(2, 3, 4)
    symbols = torch.randint(0, 4, (5, 2, 3)).to(dtype)
    ours = log_prob(logits, symbols.transpose(1, 2).contiguous().transpose(1, 2), impl=impl)
    exact = reference.log_prob(logits, symbols)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-6, atol=1e-6)
    bits = (torch.rand(5, 2, 3, 4) < 0.5).to(dtype)
    exact = reference.log_prob(logits, bits)
    ours = log_prob(logits, bits, impl=impl).double()
    torch.testing.assert_close(ours, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_weighted(impl):
    logits, weights = torch.randn(2, 3, 4), torch.randn(5, 2)
    symbols = torch.randint(0, 4, (5, 2, 3))
    value = weighted_log_prob(logits, symbols, weights, impl=impl)
    assert value.shape == ()
    exact = (weights * reference.log_prob(logits, symbols)).sum()
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_category_that_does_not_exist_is_nan_where_nobody_looked():
    # On a GPU the range is not checked: the kernel itself must not read beyond the logits.
    from kernels.policy_gradient import launch

    symbols = SYMBOLS.clone()
    symbols[3, 1, 2] = 4
    values = launch.log_prob(LOGITS, symbols)
    assert values[3, 1].isnan()
    assert values.isnan().sum() == 1


# --- weights -------------------------------------------------------------------------------------


def test_weights_by_hand():
    log_weights = torch.tensor([[0.0, 0.0], [math.log(3), 1000.0]])
    torch.testing.assert_close(
        normalised_weights(log_weights), torch.tensor([[0.25, 0.0], [0.75, 1.0]])
    )
    # 1 / (1/16 + 9/16) = 1.6.
    torch.testing.assert_close(effective_sample_size(log_weights), torch.tensor([1.6, 1.0]))
    expected = torch.tensor([math.log(2), 1000 - math.log(2)])
    torch.testing.assert_close(log_normaliser(log_weights), expected)


def test_weights_of_one_sample_and_in_other_dtypes():
    one = torch.tensor([[3.0, -7.0]])
    assert normalised_weights(one).tolist() == [[1.0, 1.0]]
    assert effective_sample_size(one).tolist() == [1.0, 1.0]
    assert log_normaliser(one).tolist() == [3.0, -7.0]
    assert normalised_weights(one.bfloat16()).dtype == torch.float32
    assert normalised_weights(one.double()).dtype == torch.float64
    assert effective_sample_size(torch.zeros(4, 2)).tolist() == [4.0, 4.0]


@pytest.mark.parametrize("function", [normalised_weights, effective_sample_size, log_normaliser])
def test_bad_weights(function):
    with pytest.raises(TypeError, match=r"log_weights is torch\.int64"):
        function(torch.tensor([1]))
    with pytest.raises(TypeError, match="log_weights is float"):
        function(1.0)
    with pytest.raises(ValueError, match=r"log_weights has shape \[0, 2\]"):
        function(torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"log_weights has shape \[\]"):
        function(torch.tensor(1.0))


# --- torch.compile -------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", [(2, 7), (2, 3, 4)])
def test_operators(impl, shape):
    operators = getattr(torch.ops, autograd.NAMESPACE)
    logits = torch.randn(shape, requires_grad=True)
    seed, offset = torch.tensor(3), torch.tensor(1)
    symbols = torch.zeros(3, *shape[:2], dtype=torch.uint8)
    for arguments in (
        (logits, 3, None, None, 3, 1, impl),
        (logits, 3, seed, offset, 0, 0, impl),
    ):
        torch.library.opcheck(operators.sample.default, arguments)
    torch.library.opcheck(operators.log_prob.default, (logits, symbols, impl))
    torch.library.opcheck(
        operators.score.default, (logits.detach(), symbols, torch.randn(3, 2), impl)
    )


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
def test_compiled_without_a_break(impl):
    def step(logits, weights, seed):
        drawn = sample_categorical(logits, 5, seed, 2, dim=1, impl=impl)
        again = weighted_log_prob(logits, drawn.symbols, weights, dim=1, impl=impl)
        bits = sample_bernoulli(logits, 4, 2**63 + 5, impl=impl)
        value = (weights * drawn.log_probs).sum() + 2 * again + bits.log_probs.sum()
        return drawn.symbols, bits.symbols, value

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    results = []
    for function in (step, compiled):
        generator = torch.Generator().manual_seed(1)
        logits = torch.randn(2, 6, 3, 4, generator=generator, requires_grad=True)
        *symbols, value = function(logits, torch.arange(10.0).view(5, 2), torch.tensor(11))
        value.backward()
        results.append((*symbols, value, logits.grad))
    for eager, traced in zip(*results, strict=True):
        torch.testing.assert_close(eager, traced)
