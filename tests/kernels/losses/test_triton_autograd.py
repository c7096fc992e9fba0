"""The Triton kernels inside autograd, torch.compile and CUDA graphs."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import kernels
from kernels import discriminator_loss, generator_loss
from kernels.losses.objectives import DISCRIMINATORS
from tests.kernels.losses.cases import DISCRIMINATOR_KEYS, named, strided_logits

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LOSSES = [("gan", "f_gan"), ("kl", "log_ratio"), ("relativistic", "f_gan")]


def pair(device: torch.device) -> tuple[Tensor, Tensor]:
    real = torch.linspace(-3, 2, 6, device=device, requires_grad=True)
    fake = torch.linspace(1, -2, 6, device=device, requires_grad=True)
    return real, fake


@pytest.mark.parametrize("needed", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize(("loss", "output"), LOSSES)
def test_each_side_gets_the_gradient_it_needs(
    needed: tuple[bool, bool], loss: str, output: str, device: torch.device
) -> None:
    results = []
    for impl in ("triton", "torch"):
        real, fake = pair(device)
        for each, wanted in zip((real, fake), needed, strict=True):
            each.requires_grad_(wanted)
        value = discriminator_loss(real, fake, loss, output=output, impl=impl)
        assert value.requires_grad == any(needed)
        if any(needed):
            (value * -2.5).backward()
        results.append((real.grad, fake.grad))
    for ours, expected, wanted in zip(*results, needed, strict=True):
        assert (ours is not None) == wanted
        if wanted:
            torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(("loss", "output"), DISCRIMINATOR_KEYS)
def test_gradients_of_gradients(loss: str, output: str, device: torch.device) -> None:
    results = []
    for impl in ("triton", "torch"):
        real, fake = pair(device)
        value = discriminator_loss(real, fake, loss, output=output, impl=impl)
        gradients = torch.autograd.grad(value, (real, fake), create_graph=True)
        penalty = sum((each**2).sum() for each in gradients) + value
        second = torch.autograd.grad(penalty, (real, fake), create_graph=True)
        third = torch.autograd.grad(
            sum((each**3).sum() for each in second), (real, fake), materialize_grads=True,
            allow_unused=True,
        ) if any(each.requires_grad for each in second) else ()  # fmt: skip
        results.append((*(each.detach() for each in second), *third))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


def test_one_tensor_for_both_sides(device: torch.device) -> None:
    results = []
    for impl in ("triton", "torch"):
        x, _ = pair(device)
        (first,) = torch.autograd.grad(discriminator_loss(x, x, impl=impl), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        results.append((first.detach(), second))
    torch.testing.assert_close(*results)


@pytest.mark.filterwarnings("ignore:Input #:UserWarning")  # not double precision: meant
@pytest.mark.parametrize(("loss", "output"), LOSSES)
def test_gradcheck(loss: str, output: str, device: torch.device) -> None:
    real, fake = pair(device)
    # fp32: a coarse step, and as coarse a comparison.
    assert torch.autograd.gradcheck(
        lambda r, f: discriminator_loss(r, f, loss, output=output, impl="triton"),
        (real, fake), eps=1e-2, atol=2e-3, rtol=2e-2,
    )  # fmt: skip
    assert torch.autograd.gradgradcheck(
        lambda r, f: discriminator_loss(r, f, loss, output=output, impl="triton"),
        (real, fake), eps=1e-2, atol=2e-3, rtol=2e-2,
    )  # fmt: skip


def operator_arguments(device: torch.device, reduction: str, loss: str) -> tuple[Any, ...]:
    from kernels.losses import autograd

    real, fake = pair(device)
    codes, numbers = autograd.encode(DISCRIMINATORS[loss, "f_gan"], reduction, True)
    return fake, real, None, None, None, codes, numbers


@pytest.mark.parametrize("loss", ["kl", "relativistic"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_opcheck(reduction: str, loss: str, device: torch.device) -> None:
    from kernels.losses import autograd

    torch.library.opcheck(autograd.loss_operator, operator_arguments(device, reduction, loss))


@pytest.mark.parametrize(
    ("loss", "output", "reduction"),
    [("gan", "f_gan", "mean"), ("kl", "log_ratio", "none"), ("relativistic", "f_gan", "none")],
)
def test_compiles_as_one_graph(
    loss: str, output: str, reduction: str, device: torch.device
) -> None:
    torch.compiler.reset()

    def both(real: Tensor, fake: Tensor, log_z: Tensor) -> tuple[Tensor, ...]:
        value, statistics = discriminator_loss(
            real,
            fake,
            loss,
            output=output,
            impl="triton",
            return_statistics=True,
            reduction=reduction,
        )
        terms = (value,) if isinstance(value, Tensor) else value
        of_generator = generator_loss(fake, "boundary_seeking", impl="triton", log_z=log_z)
        return (*terms, of_generator, statistics.real_accuracy)

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    log_z = torch.tensor(0.2, device=device)
    results = []
    for function in (compiled, both):
        real, fake = pair(device)
        values = function(real, fake, log_z)
        assert [each.requires_grad for each in values] == [True] * (len(values) - 1) + [False]
        total = sum(each.square().sum() for each in values[:-1])
        assert isinstance(total, Tensor)
        results.append((*(v.detach() for v in values), *torch.autograd.grad(total, (real, fake))))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_narrow_the_loss(dtype: torch.dtype, device: torch.device) -> None:
    real, fake = pair(device)
    with torch.autocast(device.type, dtype):
        value = discriminator_loss(real, fake, impl="triton")
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, discriminator_loss(real, fake, impl="torch"))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(strided_logits(DTYPES), strided_logits(DTYPES), st.sampled_from(DISCRIMINATOR_KEYS))
def test_any_shape_dtype_and_stride(
    device: torch.device, real: Tensor, fake: Tensor, key: tuple[str, str]
) -> None:
    if key[0] == "relativistic":
        fake = real.flip(0) if real.dim() else real
    results = []
    for impl, wide in (("triton", False), ("torch", True)):
        r, f = (each.detach().to(device) for each in (real, fake))
        r, f = ((each.double() if wide else each).requires_grad_() for each in (r, f))
        value = discriminator_loss(r, f, **named(key), impl=impl)
        gradients = torch.autograd.grad(value, (r, f))
        assert [each.shape for each in gradients] == [r.shape, f.shape]
        results.append((value.detach(), gradients, (r.dtype, f.dtype)))
    (ours, gradients, dtypes), (expected, references, _) = results
    torch.testing.assert_close(ours.double(), expected, rtol=3e-6, atol=1e-6)
    for gradient, reference, dtype in zip(gradients, references, dtypes, strict=True):
        rtol = {torch.float32: 3e-6, torch.float16: 1e-3, torch.bfloat16: 1.6e-2}[dtype]
        torch.testing.assert_close(
            gradient.double(), reference.to(dtype).double(), rtol=rtol, atol=1e-6
        )


def test_inputs_are_left_alone(device: torch.device) -> None:
    real, fake = pair(device)
    before = real.detach().clone(), fake.detach().clone()
    discriminator_loss(real, fake, "kl", impl="triton").backward()
    assert torch.equal(real, before[0])
    assert torch.equal(fake, before[1])


def test_what_triton_refuses(device: torch.device) -> None:
    real, fake = (each.detach() for each in pair(device))
    with pytest.raises(kernels.ImplUnavailableError, match="real_logits are float64"):
        discriminator_loss(real.double(), fake, impl="triton")
    value = discriminator_loss(real.double(), fake)
    assert value.dtype == torch.float64  # auto goes to PyTorch instead

    def loss(logits: Tensor) -> Tensor:
        return generator_loss(logits, impl="triton")

    with pytest.raises(kernels.ImplUnavailableError, match=r"transform of torch\.func"):
        torch.func.grad(loss)(fake)


@pytest.mark.gpu
def test_a_captured_graph_replays() -> None:
    real, fake = (torch.randn(128, device="cuda", requires_grad=True) for _ in range(2))
    for _ in range(3):
        torch.autograd.grad(discriminator_loss(real, fake, impl="triton"), (real, fake))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value, statistics = discriminator_loss(real, fake, impl="triton", return_statistics=True)
        gradients = torch.autograd.grad(value, (real, fake))
    with torch.no_grad():
        real.normal_()
        fake.normal_()
    graph.replay()
    torch.cuda.synchronize()
    expected, others = discriminator_loss(real, fake, impl="torch", return_statistics=True)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(tuple(statistics), tuple(others))
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (real, fake)))


@pytest.mark.gpu
@pytest.mark.parametrize("count", [1, 128, 16 * 1024])
def test_one_launch_each_way(count: int) -> None:
    real, fake = (torch.randn(count, device="cuda", requires_grad=True) for _ in range(2))

    def launches(function: Any) -> int:
        function()
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            function()
            torch.cuda.synchronize()
        return sum(event.count for event in profile.key_averages() if event.device_time_total > 0)

    def forward() -> Tensor:
        value, _ = discriminator_loss(real, fake, return_statistics=True)
        return value

    assert launches(forward) == 1
    value = forward()
    incoming = torch.ones((), device="cuda")
    assert (
        launches(lambda: torch.autograd.grad(value, (real, fake), incoming, retain_graph=True)) == 1
    )
