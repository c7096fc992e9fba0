"""The Triton kernels against the float64 twin: values, statistics and gradients."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels import discriminator_loss, generator_loss
from tests.kernels.losses.cases import DISCRIMINATOR_KEYS, GENERATOR_KEYS, named

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float32: 3e-6, torch.float16: 1e-3, torch.bfloat16: 1.6e-2}


def logits(count: int, seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, generator=generator) * 4).to(dtype).to(device)


def same(ours: Tensor | None, reference: Tensor | None, rtol: float, what: str) -> None:
    assert (ours is None) == (reference is None), what
    if ours is not None and reference is not None:
        torch.testing.assert_close(
            ours.double(), reference, rtol=rtol, atol=1e-6, equal_nan=True,
            msg=lambda text: f"{what}: {text}",
        )  # fmt: skip


def compare(function: Any, inputs: list[Tensor], *key: str, **others: Any) -> None:
    """Value, statistics and gradients of `function` by Triton and in float64, same logits."""
    options = named(key) | others
    narrow = [each.detach().clone().requires_grad_() for each in inputs]
    wide = [each.detach().double().requires_grad_() for each in inputs]
    ours, statistics = function(*narrow, impl="triton", return_statistics=True, **options)
    expected, reference = function(*wide, impl="torch", return_statistics=True, **options)
    assert ours.dtype == torch.float32
    same(ours, expected, 3e-6, "loss")
    for name, a, b in zip(statistics._fields, statistics, reference, strict=True):
        same(a, b, 5e-6, name)
    (3 * ours).backward()
    (3 * expected).backward()
    for a, b in zip(narrow, wide, strict=True):
        assert a.grad is not None
        assert a.grad.dtype == a.dtype
        assert b.grad is not None
        rounded = b.grad.to(a.dtype).double()  # what lies beyond float16 is inf in both
        same(a.grad, rounded, TOLERANCE[a.dtype], "gradient")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output"), DISCRIMINATOR_KEYS)
def test_discriminators(loss: str, output: str, dtype: torch.dtype, device: torch.device) -> None:
    inputs = [logits(127, 1, dtype, device), logits(127, 2, dtype, device)]
    compare(discriminator_loss, inputs, loss, output)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("key", GENERATOR_KEYS, ids="-".join)
def test_generators(key: tuple[str, str, str], dtype: torch.dtype, device: torch.device) -> None:
    options = {}
    if key[0] == "relativistic":
        options["real_logits"] = logits(130, 3, torch.float32, device)
    if key[0] == "boundary_seeking":
        options["log_z"] = torch.tensor(0.3, device=device)
    compare(generator_loss, [logits(130, 1, dtype, device)], *key, **options)


@pytest.mark.parametrize(
    ("real", "fake"),
    [(1, 2), (2, 1), (1024, 1025), (16 * 1024, 5), (16 * 1024 + 1, 3), (2, 16 * 1024 + 1)],
)
@pytest.mark.parametrize(("loss", "output"), [("gan", "f_gan"), ("kl", "log_ratio")])
def test_numbers_of_logits(
    real: int, fake: int, loss: str, output: str, device: torch.device
) -> None:
    inputs = [logits(real, 1, torch.float32, device), logits(fake, 2, torch.float32, device)]
    compare(discriminator_loss, inputs, loss, output)


@pytest.mark.parametrize("key", [("gan",), ("relativistic",), ("squared_hellinger",)])
def test_many_programs(key: tuple[str, ...], many: int, device: torch.device) -> None:
    inputs = [logits(many, 1, torch.bfloat16, device), logits(many, 2, torch.bfloat16, device)]
    compare(discriminator_loss, inputs, *key)
    # Rising, so that the largest weight so far is left behind by every program.
    inputs[1] = inputs[1].sort().values
    compare(discriminator_loss, inputs, *key)
    if key[0] != "relativistic":
        compare(discriminator_loss, [inputs[0], inputs[1][:3]], *key)


def test_a_million_logits(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    if device.type == "cpu":
        from kernels.losses import tiles

        # What the interpreter takes long for is the number of blocks.
        monkeypatch.setattr(tiles, "BLOCK", 2**16)
        monkeypatch.setattr(tiles, "BACKWARD_BLOCK", 2**16)
    inputs = [logits(2**20, seed, torch.float16, device) for seed in (1, 2)]
    compare(discriminator_loss, inputs, "kl")


@pytest.mark.parametrize("counts", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_no_logits(counts: tuple[int, int], reduction: str, device: torch.device) -> None:
    real, fake = (torch.ones(n, device=device, requires_grad=True) for n in counts)
    for loss in ("gan", "kl"):
        ours, expected = (
            discriminator_loss(
                real, fake, loss, impl=impl, reduction=reduction, return_statistics=True
            )
            for impl in ("triton", "torch")
        )
        torch.testing.assert_close(ours[0], expected[0], equal_nan=True)
        torch.testing.assert_close(tuple(ours[1]), tuple(expected[1]), equal_nan=True)
        if isinstance(ours[0], Tensor):
            gradients = torch.autograd.grad(ours[0], (real, fake))
            assert [each.shape for each in gradients] == [real.shape, fake.shape]


EXTREMES = [1e4, -1e4, 25.0, -25.0, math.inf, -math.inf, math.nan]


@pytest.mark.parametrize(("loss", "output"), DISCRIMINATOR_KEYS)
def test_extreme_logits(loss: str, output: str, device: torch.device) -> None:
    results = []
    for impl in ("triton", "torch"):
        real = torch.tensor([*EXTREMES, 0.5], device=device, requires_grad=True)
        fake = torch.tensor([0.5, *EXTREMES], device=device, requires_grad=True)
        terms = discriminator_loss(real, fake, loss, output=output, impl=impl, reduction="none")
        terms = [terms] if isinstance(terms, Tensor) else list(terms)
        gradients = torch.autograd.grad(terms, (real, fake), [torch.ones_like(t) for t in terms])
        for logits_, gradient in zip((real, fake), gradients, strict=True):
            finite = (real + fake if loss == "relativistic" else logits_).isfinite()
            assert gradient[finite].isfinite().all()
        results.append((*(term.detach() for term in terms), *gradients))
    torch.testing.assert_close(*results, rtol=3e-6, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize("value", EXTREMES)
@pytest.mark.parametrize("loss", ["gan", "squared_hellinger", "least_squares", "relativistic"])
def test_extreme_logits_in_means(loss: str, value: float, device: torch.device) -> None:
    for of_real, of_fake in ((value, 0.5), (0.5, value)):
        real = torch.tensor([of_real, 1.0], device=device)
        fake = torch.tensor([of_fake, -1.0], device=device)
        results = []
        for impl in ("triton", "torch"):
            mean, statistics = discriminator_loss(
                real, fake, loss, impl=impl, return_statistics=True
            )
            assert mean.isfinite() or not math.isfinite(value)
            results.append((mean, *(each for each in statistics if each is not None)))
        torch.testing.assert_close(*results, rtol=3e-6, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize("key", GENERATOR_KEYS, ids="-".join)
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_reductions_and_weights_of_generators(
    key: tuple[str, str, str], reduction: str, device: torch.device
) -> None:
    fake = logits(12, 4, torch.float32, device).reshape(3, 4).requires_grad_()
    weights = torch.rand(3, 1, dtype=torch.float64, device=device)  # the loss stays float32
    options: dict[str, Any] = {"fake_weights": weights, "reduction": reduction}
    if key[0] == "relativistic":
        options["real_logits"] = logits(12, 5, torch.float32, device).reshape(4, 3)
    results = []
    for impl in ("triton", "torch"):
        value = generator_loss(fake, **named(key), impl=impl, **options)
        incoming = torch.linspace(-1, 2, value.numel(), device=device).reshape(value.shape)
        results.append((value.detach(), *torch.autograd.grad(value, fake, incoming)))
    torch.testing.assert_close(*results, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize(("loss", "output"), DISCRIMINATOR_KEYS)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_reductions_and_weights_of_discriminators(
    loss: str, output: str, reduction: str, device: torch.device
) -> None:
    real, fake = (logits(15, seed, torch.float32, device).requires_grad_() for seed in (6, 7))
    options: dict[str, Any] = {"fake_weights": torch.rand(15, device=device)}
    if loss != "relativistic":
        options["real_weights"] = torch.rand(15, device=device)
    results = []
    for impl in ("triton", "torch"):
        value = discriminator_loss(
            real, fake, loss, output=output, impl=impl, reduction=reduction, **options
        )
        terms = [value] if isinstance(value, Tensor) else list(value)
        incoming = [torch.linspace(-1, 2, t.numel(), device=device).reshape(t.shape) for t in terms]
        gradients = torch.autograd.grad(terms, (real, fake), incoming)
        results.append((*(t.detach() for t in terms), *gradients))
    torch.testing.assert_close(*results, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("count", [300, None])
def test_results_repeat_bit_for_bit(
    count: int | None, device: torch.device, request: pytest.FixtureRequest
) -> None:
    count = count or request.getfixturevalue("many")
    real, fake = (logits(count, seed, torch.float32, device) for seed in (1, 2))
    first, second = (
        discriminator_loss(real, fake, "kl", impl="triton", return_statistics=True)
        for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [5, None])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_everything_handed_out_is_written(
    count: int | None,
    reduction: str,
    device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    count = count or request.getfixturevalue("many")
    real, fake = (logits(count, seed, torch.float32, device).requires_grad_() for seed in (1, 2))

    def results() -> list[Tensor]:
        value, statistics = discriminator_loss(
            real, fake, "kl", impl="triton", reduction=reduction, return_statistics=True
        )
        terms = [value] if isinstance(value, Tensor) else list(value)
        incoming = [torch.ones_like(each) for each in terms]
        gradients = torch.autograd.grad(terms, (real, fake), incoming)
        return [each.detach() for each in (*terms, *statistics, *gradients) if each is not None]

    clean = results()
    for name in ("empty", "empty_like"):
        make = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, make=make, **k: make(*a, **k).fill_(math.nan))
    for ours, expected in zip(results(), clean, strict=True):
        assert torch.equal(ours, expected)
