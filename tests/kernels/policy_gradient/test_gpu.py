"""On a GPU: the machine code, against the PyTorch twin on the CPU."""

import pytest
import torch

from kernels import log_prob, sample_bernoulli, sample_categorical, weighted_log_prob
from kernels.policy_gradient import launch, twin
from kernels.policy_gradient.stream import Stream
from tests.kernels.policy_gradient import reference

pytestmark = pytest.mark.gpu

SEED = 2**40 + 17
CUDA = "cuda"
TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 1.6e-2}


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch):
    reference.poison(monkeypatch)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("categories", [1, 2, 3, 5, 16, 17, 40, 100, 192, 256, 257, 3000])
@pytest.mark.parametrize(("rows", "positions", "samples"), [(3, 7, 5), (64, 301, 20), (1, 1, 1)])
@pytest.mark.parametrize("second", [False, True])
def test_categorical(dtype, categories, rows, positions, samples, second):
    shape = (rows, categories, positions) if second else (rows, positions, categories)
    dim = 1 if second else -1
    logits = (torch.randn(shape) * 4).to(dtype)
    leaf = logits.to(CUDA).requires_grad_()
    drawn = sample_categorical(leaf, samples, SEED, 5, dim=dim, impl="triton")
    twins = sample_categorical(logits, samples, SEED, 5, dim=dim, impl="torch")
    assert torch.equal(drawn.symbols.cpu(), twins.symbols)
    torch.testing.assert_close(drawn.log_probs.cpu(), twins.log_probs, rtol=1e-5, atol=1e-4)
    of_given = log_prob(leaf, drawn.symbols, dim=dim, impl="triton")
    torch.testing.assert_close(of_given, drawn.log_probs, rtol=1e-5, atol=1e-4)
    weights = torch.randn(samples, rows)
    (gradient,) = torch.autograd.grad((weights.to(CUDA) * drawn.log_probs).sum(), leaf)
    exact = reference.gradient(logits.movedim(dim, -1), twins.symbols, weights)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(
        gradient.movedim(dim, -1).cpu().double(), exact, rtol=tolerance, atol=5 * tolerance
    )


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("rows", "positions", "samples"), [(3, 7, 5), (64, 784, 20), (1, 1, 1)])
def test_bernoulli(dtype, rows, positions, samples):
    logits = (torch.randn(rows, positions) * 4).to(dtype)
    leaf = logits.to(CUDA).requires_grad_()
    drawn = sample_bernoulli(leaf, samples, SEED, 5, impl="triton")
    twins = sample_bernoulli(logits, samples, SEED, 5, impl="torch")
    assert torch.equal(drawn.symbols.cpu(), twins.symbols)
    torch.testing.assert_close(drawn.log_probs.cpu(), twins.log_probs, rtol=1e-5, atol=1e-4)
    weights = torch.randn(samples, rows)
    value = weighted_log_prob(leaf, drawn.symbols, weights.to(CUDA), impl="triton")
    (gradient,) = torch.autograd.grad(value, leaf)
    exact = reference.gradient(logits, twins.symbols, weights)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(gradient.cpu().double(), exact, rtol=tolerance, atol=5 * tolerance)


@pytest.mark.parametrize("shape", [(5, 33), (5, 33, 3), (5, 33, 192), (5, 33, 3000)])
def test_the_twin_on_the_gpu_draws_the_same(shape):
    logits = torch.randn(shape, device=CUDA) * 4
    stream = Stream(torch.tensor(SEED, device=CUDA), 3)
    ours, twins = (engine.sample(logits, 9, stream) for engine in (launch, twin))
    assert torch.equal(ours[0], twins[0])
    torch.testing.assert_close(ours[1], twins[1], rtol=1e-5, atol=1e-4)
    weights = torch.randn(9, 5, device=CUDA)
    scores = [engine.score(logits, ours[0], weights) for engine in (launch, twin)]
    torch.testing.assert_close(*scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_without_a_distribution(bad):
    logits = torch.zeros(2, 3, 5, device=CUDA)
    logits[0, 1, 1] = bad
    drawn = sample_categorical(logits, 5, SEED)
    assert (drawn.symbols[:, 0, 1] == 4).all()
    assert drawn.log_probs[:, 0].isnan().all()
    assert not drawn.log_probs[:, 1].isnan().any()


def test_seeds_of_any_value_need_one_kernel():
    logits = torch.zeros(2, 40, 4, device=CUDA)
    for seed, offset in ((0, 0), (1, 1), (16, 16), (2**63, 2**32 - 1), (-1, 7)):
        drawn = sample_categorical(logits, 4, seed, offset, impl="triton")
        expected = sample_categorical(logits.cpu(), 4, seed, offset, impl="torch")
        assert torch.equal(drawn.symbols.cpu(), expected.symbols)


def test_a_captured_graph_draws_anew():
    logits = torch.randn(4, 50, 16, device=CUDA)
    seed = torch.tensor(SEED, device=CUDA)
    offset = torch.zeros((), dtype=torch.int64, device=CUDA)
    sample_categorical(logits, 8, seed, offset)  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        offset += 1
        drawn = sample_categorical(logits, 8, seed, offset)
    for step in (1, 2, 3):
        graph.replay()
        expected = sample_categorical(logits.cpu(), 8, SEED, step)
        assert torch.equal(drawn.symbols.cpu(), expected.symbols)


def test_repeats_bit_for_bit():
    logits = torch.randn(64, 1024, 16, device=CUDA)
    weights = torch.randn(20, 64, device=CUDA)
    stream = Stream(SEED, 0)
    first, second = (launch.sample(logits, 20, stream) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    scores = [launch.score(logits, first[0], weights) for _ in range(2)]
    assert torch.equal(*scores)
