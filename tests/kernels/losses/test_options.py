import math

import pytest
import torch
from torch import Tensor, nn

from kernels import (
    DiscriminatorLoss,
    GeneratorLoss,
    discriminator_loss,
    generator_loss,
    update_log_z,
)
from kernels.losses.objectives import DISCRIMINATORS, GENERATORS
from kernels.losses.statistics import weight_moments
from kernels.losses.twin import Operands, plain_losses
from tests.kernels.losses.cases import named

# Real and generated logits of one shape, float32: the shortest way through.
SAMPLES = torch.linspace(-3, 4, 12).reshape(3, 4), torch.linspace(2, -5, 12).reshape(3, 4)
OWN = [key for key in GENERATORS if key[1:] == ("gan", "f_gan") or key[0][-7:] == "seeking"]


@pytest.mark.parametrize(("loss", "output"), DISCRIMINATORS)
def test_the_short_way_is_the_long_one(loss: str, output: str) -> None:
    real, fake = (each.clone().requires_grad_() for each in SAMPLES)
    value = discriminator_loss(real, fake, loss, output=output)
    expected = plain_losses(Operands(real, fake), DISCRIMINATORS[loss, output], "mean")
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(value, expected)
    for order in range(2):
        ours, theirs = (
            torch.autograd.grad(each, (real, fake), create_graph=True, materialize_grads=True)
            for each in (value, expected)
        )
        torch.testing.assert_close(ours, theirs, msg=lambda text, o=order: f"order {o}: {text}")
        value, expected = (sum((g**2).sum() for g in each) for each in (ours, theirs))
        if not value.requires_grad:
            break


@pytest.mark.parametrize("key", [key for key, each in GENERATORS.items() if not each.paired])
def test_the_generators_short_way_is_the_long_one(key: tuple[str, str, str]) -> None:
    fake = SAMPLES[1].clone().requires_grad_()
    value, expected = (
        generator_loss(fake, **named(key)),
        plain_losses(Operands(None, fake), GENERATORS[key], "mean"),
    )
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each, fake) for each in (value, expected)))


@pytest.mark.parametrize(("loss", "output"), DISCRIMINATORS)
def test_reductions_fit_together(loss: str, output: str) -> None:
    real, fake = SAMPLES
    if loss != "relativistic":
        fake = fake[:2]  # other numbers of samples on both sides
    mean = discriminator_loss(real, fake, loss, output=output)
    total = discriminator_loss(real, fake, loss, output=output, reduction="sum")
    terms = discriminator_loss(real, fake, loss, output=output, reduction="none")
    if isinstance(terms, Tensor):
        assert loss == "relativistic"
        assert terms.shape == real.shape
        torch.testing.assert_close((terms.mean(), terms.sum()), (mean, total))
    else:
        assert [each.shape for each in terms] == [real.shape, fake.shape]
        torch.testing.assert_close(terms[0].mean() + terms[1].mean(), mean)
        torch.testing.assert_close(terms[0].sum() + terms[1].sum(), total)
        assert not {each.data_ptr() for each in terms} & {real.data_ptr(), fake.data_ptr()}


@pytest.mark.parametrize("key", OWN)
def test_the_generators_reductions_fit_together(key: tuple[str, str, str]) -> None:
    fake = SAMPLES[1]
    options = {"real_logits": SAMPLES[0]} if key[0] == "relativistic" else {}
    mean, total, terms = (
        generator_loss(fake, **named(key), reduction=reduction, **options)
        for reduction in ("mean", "sum", "none")
    )
    assert terms.shape == fake.shape
    torch.testing.assert_close((terms.mean(), terms.sum()), (mean, total))


@pytest.mark.parametrize(("loss", "output"), DISCRIMINATORS)
def test_weights_are_factors_of_the_terms(loss: str, output: str) -> None:
    real, fake = SAMPLES
    weights = torch.tensor([0.0, 0.5, 1.0, 2.0])  # broadcast over the rows
    terms = discriminator_loss(real, fake, loss, output=output, reduction="none")
    if isinstance(terms, Tensor):
        weighted = discriminator_loss(real, fake, loss, output=output, fake_weights=weights)
        expected = (terms * weights).mean()
    else:
        weighted = discriminator_loss(
            real, fake, loss, output=output, real_weights=weights, fake_weights=2 * weights
        )
        expected = (terms[0] * weights).mean() + (terms[1] * 2 * weights).mean()
    torch.testing.assert_close(weighted, expected)


def test_weights_are_constants() -> None:
    fake = torch.tensor([1.0, -2.0], requires_grad=True)
    weights = torch.tensor([1.0, 3.0], requires_grad=True)
    generator_loss(fake, "wasserstein", fake_weights=weights).backward()
    assert weights.grad is None
    assert fake.grad is not None
    assert fake.grad.tolist() == [-0.5, -1.5]


def test_weights_of_double_precision_do_not_widen_the_loss() -> None:
    fake = SAMPLES[1]
    weights = torch.rand(3, 4, dtype=torch.float64)
    value = generator_loss(fake, fake_weights=weights)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, generator_loss(fake, fake_weights=weights.float()))


def test_weights_as_in_torchs_binary_cross_entropy() -> None:
    real, fake = SAMPLES
    weights = torch.rand(3, 4)
    expected = nn.functional.binary_cross_entropy_with_logits(
        real, torch.ones(3, 4), weight=weights
    ) + nn.functional.binary_cross_entropy_with_logits(fake, torch.zeros(3, 4), weight=weights)
    value = discriminator_loss(real, fake, real_weights=weights, fake_weights=weights)
    torch.testing.assert_close(value, expected)


# --- statistics ---


def test_importance_weights_of_known_logits() -> None:
    # log w = F: weights 1, 2, 5.
    logits = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).log()
    _, statistics = discriminator_loss(
        logits, logits, "kl", output="log_ratio", return_statistics=True
    )
    assert statistics.mean_weight is not None
    assert statistics.effective_sample_size is not None
    assert statistics.log_z is not None
    assert statistics.mean_weight.item() == pytest.approx(8 / 3)
    assert statistics.effective_sample_size.item() == pytest.approx(64 / 30)
    assert statistics.log_z.item() == pytest.approx(math.log(8 / 3))
    # log w = 2F for Hellinger's f_gan, F − 1 for KL's.
    _, of_generator = generator_loss(logits, divergence="squared_hellinger", return_statistics=True)
    assert of_generator.mean_weight is not None
    assert of_generator.mean_weight.item() == pytest.approx(10)
    _, of_generator = generator_loss(logits, divergence="kl", return_statistics=True)
    assert of_generator.mean_weight is not None
    assert of_generator.mean_weight.item() == pytest.approx(8 / 3 / math.e)
    assert of_generator.fake_logit.item() == pytest.approx(math.log(10) / 3)


@pytest.mark.parametrize("loss", ["hinge", "total_variation", "pearson", "relativistic"])
def test_no_weights_where_there_are_none(loss: str) -> None:
    _, statistics = discriminator_loss(*SAMPLES, loss, return_statistics=True)
    assert statistics[-3:] == (None, None, None)
    assert all(isinstance(each, Tensor) for each in statistics[:-3])
    _, of_generator = generator_loss(SAMPLES[1], "hinge", return_statistics=True)
    assert of_generator[-3:] == (None, None, None)


@pytest.mark.parametrize(
    ("loss", "output", "count"),
    [
        ("kl", "log_ratio", 1),  # exp(F) of fake: 30
        ("kl", "f_gan", 1),
        ("pearson", "log_ratio", 3),  # exp(F) of real: 25; exp(2F) of fake: 30, 15
        ("reverse_kl", "f_gan", 1),  # exp(−F) of real: −25
        ("squared_hellinger", "f_gan", 2),
        ("squared_hellinger", "log_ratio", 0),  # exp(±½F)
        ("gan", "f_gan", 0),
    ],
)
def test_logits_at_the_bound_are_counted(loss: str, output: str, count: int) -> None:
    real, fake = torch.tensor([25.0, -25.0, 1.0]), torch.tensor([30.0, 15.0, -90.0])
    _, statistics = discriminator_loss(real, fake, loss, output=output, return_statistics=True)
    assert statistics.at_bound.item() == count


def test_accuracy_is_taken_at_the_level_of_the_loss() -> None:
    real, fake = torch.tensor([0.8, 1.2]), torch.tensor([0.4, 0.6])
    expected = {"kl": (0.5, 1.0), "gan": (1.0, 0.0), "least_squares": (1.0, 0.5)}
    for loss, (of_real, of_fake) in expected.items():
        _, statistics = discriminator_loss(real, fake, loss, return_statistics=True)
        assert statistics.real_accuracy.item() == of_real
        assert statistics.fake_accuracy.item() == of_fake
    _, statistics = discriminator_loss(
        torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 4.0]), "relativistic",
        return_statistics=True,
    )  # fmt: skip
    assert statistics.real_accuracy.item() == statistics.fake_accuracy.item()
    assert statistics.real_accuracy.item() == pytest.approx(1 / 3)


def test_weights_of_huge_logits_keep_their_ratio() -> None:
    log_z, size = weight_moments(torch.tensor([1e4, 1e4 + math.log(2)], dtype=torch.float64))
    assert log_z.item() == pytest.approx(1e4 + math.log(1.5), abs=1e-9)
    assert size.item() == pytest.approx(9 / 5)
    _, statistics = generator_loss(torch.tensor([1e4, -1e4]), return_statistics=True)
    assert statistics.mean_weight is not None
    assert statistics.mean_weight.isfinite()
    inf = torch.tensor([math.inf, math.inf, -math.inf])
    assert weight_moments(inf)[1].item() == 2


def test_moving_average_of_log_z() -> None:
    logits = torch.tensor([0.0, 1.0, 3.0])
    log_z = torch.tensor(0.7)
    batch = math.log((1 + math.e + math.e**3) / 3)
    updated = update_log_z(log_z, logits)
    assert updated.item() == pytest.approx(0.995 * 0.7 + 0.005 * batch)
    assert log_z.item() == pytest.approx(0.7)
    _, statistics = generator_loss(logits, "boundary_seeking", return_statistics=True)
    assert statistics.log_z is not None
    torch.testing.assert_close(update_log_z(log_z, statistics.log_z), updated)
    assert update_log_z(log_z, logits.requires_grad_(), rate=1.0).item() == pytest.approx(batch)
    with pytest.raises(ValueError, match=r"rate=2: expected a number between 0 and 1"):
        update_log_z(log_z, logits, rate=2)
    with pytest.raises(TypeError, match="log_z is a float: expected a 0-d tensor"):
        update_log_z(0.7, logits)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"log_z is a torch.int64: expected .* floating dtype"):
        update_log_z(torch.tensor(0), logits)
    with pytest.raises(ValueError, match=r"log_z has shape \[1\]"):
        update_log_z(log_z[None], logits)


def test_boundary_seeking_is_centred() -> None:
    fake = torch.tensor([1.0, 2.0, -1.0], requires_grad=True)
    log_z = torch.tensor(0.5, requires_grad=True)
    by_tensor = generator_loss(fake, "boundary_seeking", log_z=log_z)
    by_number = generator_loss(fake, "boundary_seeking", log_z=0.5)
    assert by_tensor.item() == by_number.item() == pytest.approx((0.25 + 2.25 + 2.25) / 3)
    (gradient,) = torch.autograd.grad(by_tensor, fake)
    torch.testing.assert_close(gradient, torch.tensor([1.0, 3.0, -3.0]) / 3)
    assert generator_loss(fake, "boundary_seeking").item() == pytest.approx(2)


# --- modules ---


def test_modules_are_the_functions() -> None:
    real, fake = SAMPLES
    module = DiscriminatorLoss("least_squares", a=-1.0, b=0.5, reduction="sum")
    expected = discriminator_loss(real, fake, "least_squares", a=-1.0, b=0.5, reduction="sum")
    assert torch.equal(module(real, fake), expected)
    weights = torch.rand(3, 4)
    assert torch.equal(
        module(real, fake, weights, weights),
        discriminator_loss(
            real, fake, "least_squares", a=-1.0, b=0.5, reduction="sum",
            real_weights=weights, fake_weights=weights,
        ),
    )  # fmt: skip
    assert repr(module) == (
        "DiscriminatorLoss('least_squares', output='f_gan', a=-1.0, b=0.5, reduction='sum')"
    )
    generator = GeneratorLoss(
        "boundary_seeking", divergence="kl", output="log_ratio", return_statistics=True
    )
    value, statistics = generator(fake, log_z=0.25)
    expected, others = generator_loss(
        fake,
        "boundary_seeking",
        divergence="kl",
        output="log_ratio",
        log_z=0.25,
        return_statistics=True,
    )
    assert torch.equal(value, expected)
    assert statistics == others
    assert "divergence='kl'" in repr(generator)
    assert not list(generator.parameters())


def test_modules_refuse_at_construction() -> None:
    with pytest.raises(ValueError, match="loss='hing'"):
        DiscriminatorLoss("hing")
    with pytest.raises(ValueError, match="reduction='average' is not known; known are 'mean'"):
        DiscriminatorLoss(reduction="average")
    with pytest.raises(ValueError, match="not defined for divergence='total_variation'"):
        GeneratorLoss("boundary_seeking", divergence="total_variation")
    with pytest.raises(ValueError, match="unknown implementation"):
        GeneratorLoss(impl="cuda")


# --- bad input ---


def test_options_that_the_loss_does_not_have() -> None:
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="reduction='average'"):
        generator_loss(x, reduction="average")
    with pytest.raises(ValueError, match="log_z: only loss='boundary_seeking'"):
        generator_loss(x, log_z=0.0)
    with pytest.raises(ValueError, match="real_logits: only loss='relativistic'"):
        generator_loss(x, real_logits=x)
    with pytest.raises(ValueError, match="real_logits is None: loss='relativistic'"):
        generator_loss(x, "relativistic")
    with pytest.raises(ValueError, match=r"log_z has shape \[3\]: expected a number or a 0-d"):
        generator_loss(x, "boundary_seeking", log_z=x)
    with pytest.raises(ValueError, match="real_weights: loss='relativistic' has one term for each"):
        discriminator_loss(x, x, "relativistic", real_weights=x)


def test_pairs_must_be_as_many() -> None:
    with pytest.raises(ValueError, match=r"3 real_logits and 4 fake_logits: expected as many"):
        discriminator_loss(torch.zeros(3), torch.zeros(4), "relativistic")
    with pytest.raises(ValueError, match=r"1 real_logits and 4 fake_logits"):
        generator_loss(torch.zeros(2, 2), "relativistic", real_logits=torch.zeros(1))
    value = discriminator_loss(torch.zeros(4, 1), torch.zeros(2, 2), "relativistic")
    assert value.item() == pytest.approx(math.log(2))


def test_weights_that_do_not_fit() -> None:
    x = torch.zeros(3)
    with pytest.raises(ValueError, match=r"fake_weights has shape \[2\]: expected .* shape \[3\]"):
        generator_loss(x, fake_weights=torch.zeros(2))
    with pytest.raises(TypeError, match=r"real_weights has dtype torch.int64: weights must be"):
        discriminator_loss(x, x, real_weights=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="fake_weights on meta"):
        generator_loss(x, fake_weights=torch.zeros(3, device="meta"))
    with pytest.raises(ValueError, match="log_z on meta"):
        generator_loss(x, "boundary_seeking", log_z=torch.zeros((), device="meta"))
