"""The losses inside graphs and transforms: what is recorded once holds for any size and value."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from kernels import DiscriminatorLoss, GeneratorLoss, discriminator_loss, generator_loss

SIZES = range(2, 14)
# A curve of each sort: logarithm, exponential with its bound, bend, pairs; one with labels.
LOSSES: list[dict[str, Any]] = [
    {"loss": "gan"},
    {"loss": "kl", "output": "log_ratio"},
    {"loss": "hinge"},
    {"loss": "relativistic"},
    {"loss": "gan", "real_label": 0.9, "fake_label": 0.1},
    {"loss": "relativistic", "real_label": 0.9},
    {"loss": "lsgan", "a": -1.0, "b": 0.5},
]
NAMES = ["gan", "kl", "hinge", "relativistic", "labels", "label of pairs", "targets"]
losses = pytest.mark.parametrize("options", LOSSES, ids=NAMES)


class Counter:
    """A backend of torch.compile that runs a graph as it is and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, module: fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return module.forward


def samples(count: int, other: int | None = None) -> tuple[Tensor, Tensor]:
    """Logits of which the fake ones go beyond the exponent's bound."""
    return torch.linspace(-3, 2, count), torch.linspace(-2, 25, count if other is None else other)


def flat(found: Any) -> list[Tensor]:
    """The tensors of a result, in order."""
    if isinstance(found, Tensor):
        return [found]
    return [] if found is None else [each for part in found for each in flat(part)]


# --- torch.compile ---


@losses
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_one_compilation_for_every_size(options: dict[str, Any], reduction: str) -> None:
    torch.compiler.reset()
    counter = Counter()

    def both(real: Tensor, fake: Tensor, weights: Tensor) -> Any:
        of_discriminator = discriminator_loss(
            real, fake, **options, reduction=reduction, fake_weights=weights, return_statistics=True
        )
        plain = discriminator_loss(real, fake, **options)
        of_generator = generator_loss(fake, "boundary_seeking", log_z=0.5, return_statistics=True)
        return of_discriminator, plain, of_generator

    compiled = torch.compile(both, dynamic=True, fullgraph=True, backend=counter)
    for size in SIZES:
        other = size if options["loss"] == "relativistic" else size + 3
        real, fake = samples(size, other)
        weights = torch.linspace(0, 1, other)
        torch.testing.assert_close(
            flat(compiled(real, fake, weights)), flat(both(real, fake, weights))
        )
    assert counter.graphs == 1


@losses
def test_one_compilation_of_the_fused_losses(options: dict[str, Any], device: torch.device) -> None:
    torch.compiler.reset()
    counter = Counter()

    def loss(real: Tensor, fake: Tensor) -> Any:
        return discriminator_loss(real, fake, **options, impl="triton", return_statistics=True)

    compiled = torch.compile(loss, dynamic=True, fullgraph=True, backend=counter)
    for size in SIZES:
        other = size if options["loss"] == "relativistic" else size + 3
        real, fake = (each.to(device) for each in samples(size, other))
        torch.testing.assert_close(flat(compiled(real, fake)), flat(loss(real, fake)))
    assert counter.graphs == 1


def test_above_and_below_the_size_that_eager_treats_apart() -> None:
    from kernels.losses.twin import SMALL

    torch.compiler.reset()
    counter = Counter()
    compiled = torch.compile(discriminator_loss, dynamic=True, fullgraph=True, backend=counter)
    for size in (SMALL - 1, SMALL, SMALL + 1):
        real, fake = torch.randn(size), torch.randn(size)
        torch.testing.assert_close(compiled(real, fake), discriminator_loss(real, fake))
    assert counter.graphs == 1


# --- graphs by other means ---


class Both(nn.Module):
    """Either player's loss, with statistics."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.discriminator = DiscriminatorLoss(**options, return_statistics=True)
        self.generator = GeneratorLoss("ns", divergence="kl", output="log_ratio")

    def forward(self, real: Tensor, fake: Tensor) -> Any:
        return self.discriminator(real, fake), self.generator(fake)


@losses
def test_torch_export_with_a_batch_of_any_size(options: dict[str, Any]) -> None:
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(
        Both(options), samples(5), dynamic_shapes=({0: batch}, {0: batch})
    )
    for size in (2, 7, 300):
        real, fake = samples(size)
        torch.testing.assert_close(
            flat(program.module()(real, fake)), flat(Both(options)(real, fake))
        )


@losses
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx(options: dict[str, Any], mode: Any) -> None:
    def gradients(real: Tensor, fake: Tensor) -> Any:
        real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
        value, statistics = discriminator_loss(real, fake, **options, return_statistics=True)
        return value, statistics, torch.autograd.grad(value, (real, fake))

    # Recorded below the exponent's bound, and compared beyond it.
    graph = make_fx(gradients, tracing_mode=mode)(torch.zeros(5), torch.ones(5))
    for size in (5, 9) if mode == "symbolic" else (5,):
        real, fake = samples(size)
        torch.testing.assert_close(flat(graph(real, fake)), flat(gradients(real, fake)))


@losses
def test_fake_tensors(options: dict[str, Any]) -> None:
    with FakeTensorMode():
        real, fake = torch.empty(5, requires_grad=True), torch.empty(5, requires_grad=True)
        for reduction in ("mean", "sum", "none"):
            value, statistics = discriminator_loss(
                real, fake, **options, reduction=reduction, return_statistics=True
            )
            expected = (5,) if reduction == "none" else ()
            assert all(each.shape == expected for each in flat(value))
            assert all(each.shape == () for each in flat(statistics))
            total = torch.stack([each.sum() for each in flat(value)]).sum()
            gradients = torch.autograd.grad(total, (real, fake))
            assert [each.shape for each in gradients] == [(5,), (5,)]
        assert generator_loss(fake, "boundary_seeking").shape == ()


@losses
@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated:DeprecationWarning")
def test_jit_trace(options: dict[str, Any]) -> None:
    def loss(real: Tensor, fake: Tensor) -> Tensor:
        return discriminator_loss(real, fake, **options)

    traced = torch.jit.trace(loss, (torch.zeros(5), torch.ones(5)))  # type: ignore[no-untyped-call]
    real, fake = samples(9)
    torch.testing.assert_close(traced(real, fake), loss(real, fake))


def test_symbolic_trace_takes_a_loss_as_one_call() -> None:
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.critic = nn.Linear(3, 1)
            self.loss = GeneratorLoss("hinge")

        def forward(self, real: Tensor, fake: Tensor) -> Any:
            real, fake = self.critic(real), self.critic(fake)
            loss, statistics = discriminator_loss(real, fake, "hinge", return_statistics=True)
            return loss + self.loss(fake), statistics

    step = Step()
    traced = fx.symbolic_trace(step)
    called = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert discriminator_loss in called
    assert generator_loss in called
    inputs = torch.randn(4, 3), torch.randn(6, 3)
    torch.testing.assert_close(flat(traced(*inputs)), flat(step(*inputs)))


# --- transforms, forward mode, batches of gradients ---


@losses
def test_transforms(options: dict[str, Any]) -> None:
    real, fake = torch.randn(4, 6), torch.randn(4, 6).mul(9)
    real.requires_grad_()
    fake.requires_grad_()

    def loss(real: Tensor, fake: Tensor) -> Tensor:
        return discriminator_loss(real, fake, **options)

    each = torch.stack([loss(r, f) for r, f in zip(real, fake, strict=True)])
    expected = torch.autograd.grad(each.sum(), (real, fake))
    real, fake = real.detach(), fake.detach()
    torch.testing.assert_close(torch.func.vmap(loss)(real, fake), each.detach())
    gradient = torch.func.grad(loss, argnums=(0, 1))
    torch.testing.assert_close(torch.func.vmap(gradient)(real, fake), expected)
    along_real, along_fake = torch.randn(6), torch.randn(6)
    slope = (expected[0][0] * along_real + expected[1][0] * along_fake).sum()
    _, found = torch.func.jvp(loss, (real[0], fake[0]), (along_real, along_fake))
    # torch's forward mode widens a scalar that is multiplied by a number.
    torch.testing.assert_close(found, slope, check_dtype=False)
    with forward_ad.dual_level():
        dual = loss(
            forward_ad.make_dual(real[0], along_real), forward_ad.make_dual(fake[0], along_fake)
        )
        tangent = forward_ad.unpack_dual(dual).tangent
        torch.testing.assert_close(tangent, slope, check_dtype=False)


@losses
def test_batches_of_gradients(options: dict[str, Any]) -> None:
    fake = torch.randn(5).mul(9).requires_grad_()
    terms = flat(discriminator_loss(torch.zeros(5), fake, **options, reduction="none"))[-1]
    (at_once,) = torch.autograd.grad(
        terms, fake, torch.eye(5), is_grads_batched=True, retain_graph=True
    )
    one_by_one = [torch.autograd.grad(term, fake, retain_graph=True)[0] for term in terms]
    torch.testing.assert_close(at_once, torch.stack(one_by_one))


def test_hessians() -> None:
    fake = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)

    def loss(fake: Tensor) -> Tensor:
        return generator_loss(fake, "saturating", divergence="kl", output="log_ratio")

    expected = torch.diag(-fake.exp() / 3)
    torch.testing.assert_close(torch.func.hessian(loss)(fake), expected)
    torch.testing.assert_close(
        torch.autograd.functional.hessian(loss, fake, vectorize=True),  # type: ignore[no-untyped-call]
        expected,
    )
