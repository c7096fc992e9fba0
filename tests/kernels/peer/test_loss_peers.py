"""Our losses and those of others on the same logits: values and two orders of derivatives.

PyTorch's own functions always; torchgan's, mimicry's and Liger-Kernel's where they are installed.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import discriminator_loss, generator_loss

Loss = Callable[[Tensor, Tensor], Tensor]
SCALES = [0.1, 3.0, 12.0]


def logits(scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """As many real as generated logits, as some of the peers take for granted. `[B, 1]`."""
    generator = torch.Generator().manual_seed(seed)
    real, fake = (torch.randn(33, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    return real.mul(scale).requires_grad_(), fake.mul(scale).requires_grad_()


def derivatives(loss: Loss, real: Tensor, fake: Tensor) -> list[Tensor]:
    """The loss, its gradients, and those of the gradients' sum of squares."""
    value = loss(real, fake)
    options: dict[str, Any] = {"materialize_grads": True, "allow_unused": True}
    first = torch.autograd.grad(value, (real, fake), create_graph=True, **options)
    squares = torch.stack([(each**2).sum() for each in first]).sum()
    second = torch.autograd.grad(squares, (real, fake), **options) if squares.requires_grad else ()
    return [each.detach() for each in (value, *first, *second)]


def agree(ours: Loss, theirs: Loss, scales: Sequence[float] = SCALES) -> None:
    for scale in scales:
        for seed in range(3):
            real, fake = logits(scale, seed)
            found, expected = (derivatives(each, real, fake) for each in (ours, theirs))
            # Where one has no second derivative, the other's is 0.
            for a, b in zip(found, expected, strict=False):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
            for rest in (found[len(expected) :], expected[len(found) :]):
                assert all(torch.equal(each, torch.zeros_like(each)) for each in rest)


def of_discriminator(*loss: Any, **options: Any) -> Loss:
    return lambda real, fake: discriminator_loss(real, fake, *loss, **options)


def of_generator(*loss: Any, **options: Any) -> Loss:
    return lambda real, fake: generator_loss(fake, *loss, **options)


# --- PyTorch ---


def bce(x: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(x, torch.full_like(x, label))


def margin(x: Tensor, sign: float) -> Tensor:
    """relu(1 − sign·x)."""
    other = torch.zeros_like(x)
    return F.margin_ranking_loss(x, other, torch.full_like(x, sign), margin=1.0)


def soft_margin(x: Tensor, sign: float) -> Tensor:
    """softplus(−sign·x)."""
    return F.soft_margin_loss(x, torch.full_like(x, sign))


def exponential(x: Tensor) -> Tensor:
    return F.poisson_nll_loss(x, torch.zeros_like(x), log_input=True)


def squared(x: Tensor, target: float) -> Tensor:
    return 0.5 * F.mse_loss(x, torch.full_like(x, target))


def two_classes(x: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the class whose logit is x with one whose logit is 0."""
    classes = torch.cat([x, torch.zeros_like(x)], 1)
    target = torch.zeros(len(x), dtype=torch.long)
    return F.cross_entropy(classes, target, label_smoothing=smoothing)


LOG2 = math.log(2)
TORCH: list[tuple[str, Loss, Loss]] = [
    ("gan: bce", of_discriminator("gan"), lambda r, f: bce(r, 1) + bce(f, 0)),
    (
        "gan: soft margin",
        of_discriminator("bce"),
        lambda r, f: soft_margin(r, 1) + soft_margin(f, -1),
    ),
    ("gan: two classes", of_discriminator(), lambda r, f: two_classes(r) + two_classes(-f)),
    (
        "gan, one-sided: bce",
        of_discriminator(real_label=0.9),
        lambda r, f: bce(r, 0.9) + bce(f, 0),
    ),
    (
        "gan, both sides: bce",
        of_discriminator(real_label=0.9, fake_label=0.1),
        lambda r, f: bce(r, 0.9) + bce(f, 0.1),
    ),
    (
        "gan, both sides: two classes",
        of_discriminator(real_label=0.9, fake_label=0.1),
        lambda r, f: two_classes(r, 0.2) + two_classes(-f, 0.2),
    ),
    (
        "jensen_shannon: bce",
        of_discriminator("js"),
        lambda r, f: bce(r, 1) + bce(f, 0) - 2 * LOG2,
    ),
    (
        "kl: poisson",
        of_discriminator("kl", output="log_ratio"),
        lambda r, f: exponential(f) - r.mean() - 1,
    ),
    ("reverse_kl: poisson", of_discriminator("rkl"), lambda r, f: exponential(-r) + f.mean() - 1),
    (
        "squared_hellinger: poisson",
        of_discriminator("hellinger"),
        lambda r, f: exponential(f) + exponential(-r) - 2,
    ),
    (
        "least_squares: mse",
        of_discriminator("lsgan", a=-1.0, b=0.5),
        lambda r, f: squared(r, 0.5) + squared(f, -1.0),
    ),
    ("hinge: margin ranking", of_discriminator("hinge"), lambda r, f: margin(r, 1) + margin(f, -1)),
    (
        "relativistic: soft margin",
        of_discriminator("rpgan"),
        lambda r, f: soft_margin(r - f, 1),
    ),
    (
        "relativistic, smoothed: bce",
        of_discriminator("rpgan", real_label=0.9),
        lambda r, f: bce(r - f, 0.9),
    ),
    ("non_saturating: bce", of_generator("ns"), lambda r, f: bce(f, 1)),
    ("saturating: bce", of_generator("minimax"), lambda r, f: -bce(f, 0)),
    ("boundary_seeking: mse", of_generator("bgan"), lambda r, f: F.mse_loss(f, 0 * f.detach())),
    ("generator's least_squares: mse", of_generator("lsgan"), lambda r, f: squared(f, 1)),
    (
        "non_saturating reverse_kl: poisson",
        of_generator("ns", divergence="rkl"),
        lambda r, f: exponential(-f),
    ),
]


@pytest.mark.parametrize(("name", "ours", "theirs"), TORCH, ids=[row[0] for row in TORCH])
def test_torch(name: str, ours: Loss, theirs: Loss) -> None:
    # At 12 some exponents are beyond our bound, which no formula of torch has.
    agree(ours, theirs, SCALES[:-1] if name.endswith("poisson") else SCALES)


# --- torchgan ---


def test_torchgan() -> None:
    peer = pytest.importorskip("torchgan.losses.functional")
    rows: list[tuple[Loss, Loss]] = [
        (of_discriminator("vanilla"), peer.minimax_discriminator_loss),
        (
            of_discriminator("vanilla", real_label=0.9),
            lambda r, f: peer.minimax_discriminator_loss(r, f, label_smoothing=0.1),
        ),
        (of_generator("vanilla"), lambda r, f: peer.minimax_generator_loss(f)),
        (
            of_generator("minimax"),
            lambda r, f: peer.minimax_generator_loss(f, nonsaturating=False),
        ),
        (of_discriminator("lsgan"), peer.least_squares_discriminator_loss),
        (
            of_discriminator("lsgan", a=-1.0, b=0.75),
            lambda r, f: peer.least_squares_discriminator_loss(r, f, a=-1.0, b=0.75),
        ),
        (of_generator("lsgan"), lambda r, f: peer.least_squares_generator_loss(f)),
        (of_generator("lsgan", c=0.5), lambda r, f: peer.least_squares_generator_loss(f, c=0.5)),
        (of_discriminator("wgan"), peer.wasserstein_discriminator_loss),
        (of_generator("wgan"), lambda r, f: peer.wasserstein_generator_loss(f)),
    ]
    for ours, theirs in rows:
        agree(ours, theirs)
    for reduction in ("sum", "none"):
        _, fake = logits(3.0, 0)
        for loss, name in (("bce", "minimax"), ("lsgan", "least_squares"), ("wgan", "wasserstein")):
            theirs = getattr(peer, f"{name}_generator_loss")(fake, reduction=reduction)
            ours = generator_loss(fake, loss, reduction=reduction)  # type: ignore[call-overload]
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


# --- mimicry ---


def mimicry() -> ModuleType:
    """Its module of losses alone: the package imports tensorflow."""
    package = importlib.util.find_spec("torch_mimicry")
    if package is None or package.origin is None:
        pytest.skip("torch_mimicry is not installed")
    path = Path(package.origin).parent / "modules" / "losses.py"
    spec = importlib.util.spec_from_file_location("mimicry_losses", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _double_by_default() -> Iterator[None]:
    """For peers that make labels without asking the logits for their dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("_double_by_default")
def test_mimicry() -> None:
    peer = mimicry()

    def ordered(loss: Any, *order: int, **options: Any) -> Loss:
        return lambda *pair: loss(*(pair[place] for place in order), **options)

    rows: list[tuple[Loss, Loss]] = [
        (of_discriminator("bce"), ordered(peer.minimax_loss_dis, 1, 0)),
        (
            of_discriminator("bce", real_label=0.75, fake_label=0.25),
            ordered(peer.minimax_loss_dis, 1, 0, real_label_val=0.75, fake_label_val=0.25),
        ),
        (of_generator("bce"), ordered(peer.minimax_loss_gen, 1)),
        (of_discriminator("wgan"), ordered(peer.wasserstein_loss_dis, 0, 1)),
        (of_generator("wgan"), ordered(peer.wasserstein_loss_gen, 1)),
        (of_discriminator("hinge"), ordered(peer.hinge_loss_dis, 1, 0)),
        (of_generator("hinge"), ordered(peer.hinge_loss_gen, 1)),
    ]
    for ours, theirs in rows:
        agree(ours, theirs)
    # Its non-saturating loss is −log(σ(F) + 1e-8), off by up to 1e-8/σ(F).
    _, fake = logits(1.0, 0)
    theirs = peer.ns_loss_gen(fake)
    bound = 1e-8 / fake.sigmoid().min().item()
    assert abs(generator_loss(fake, "ns") - theirs).item() <= bound


# --- Liger-Kernel ---


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_liger_kernel(smoothing: float) -> None:
    """Its fused cross-entropy of two classes, in float32, is that of a logit.

    Smoothing over two classes takes half of the share from the right one.
    """
    peer = pytest.importorskip("liger_kernel.transformers.functional")
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def one_class(x: Tensor) -> Tensor:
        classes = torch.cat([x, torch.zeros_like(x)], 1)
        target = torch.zeros(len(x), dtype=torch.long, device=device)
        value: Tensor = peer.liger_cross_entropy(classes, target, label_smoothing=smoothing)
        return value

    for scale in SCALES:
        real, fake = (x.detach().float().to(device).requires_grad_() for x in logits(scale, 0))
        ours = discriminator_loss(
            real, fake, real_label=1 - smoothing / 2, fake_label=smoothing / 2, impl="triton"
        )
        theirs = one_class(real) + one_class(-fake)
        torch.testing.assert_close(ours, theirs, rtol=3e-6, atol=1e-6)
        torch.testing.assert_close(
            torch.autograd.grad(ours, (real, fake)),
            torch.autograd.grad(theirs, (real, fake)),
            rtol=1e-5,
            atol=1e-7,
        )
