import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels.losses.definitions import DISCRIMINATOR_LOSSES, DIVERGENCES, GENERATOR_LOSSES, Affine
from kernels.losses.objectives import discriminator_objective, generator_objective

# Written down from the papers, apart from the table: f, f*, and w = ∂f*/∂T of log w by T.
F_OF_U: dict[str, Callable[[Tensor], Tensor]] = {
    "gan": lambda u: u * torch.log(u) - (u + 1) * torch.log(u + 1),
    "jensen_shannon": lambda u: u * torch.log(u) - (u + 1) * torch.log((u + 1) / 2),
    "kl": lambda u: u * torch.log(u),
    "reverse_kl": lambda u: -torch.log(u),
    "pearson": lambda u: (u - 1) ** 2,
    "squared_hellinger": lambda u: (torch.sqrt(u) - 1) ** 2,
    "total_variation": lambda u: (u - 1).abs() / 2,
}
CONJUGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "gan": lambda t: -torch.log(-torch.expm1(t)),
    "jensen_shannon": lambda t: -torch.log(2 - torch.exp(t)),
    "kl": lambda t: torch.exp(t - 1),
    "reverse_kl": lambda t: -1 - torch.log(-t),
    "pearson": lambda t: t**2 / 4 + t,
    "squared_hellinger": lambda t: t / (1 - t),
    "total_variation": lambda t: t,
}
OPTIMAL_T: dict[str, Callable[[Tensor], Tensor]] = {
    "gan": lambda r: torch.log(r / (1 + r)),
    "jensen_shannon": lambda r: torch.log(2 * r / (1 + r)),
    "kl": lambda r: 1 + torch.log(r),
    "reverse_kl": lambda r: -1 / r,
    "pearson": lambda r: 2 * (r - 1),
    "squared_hellinger": lambda r: 1 - r**-0.5,
}
ROWS = [(name, output) for name, row in DIVERGENCES.items() for output in row.outputs]
SMOOTH = [row for row in ROWS if row[0] != "total_variation"]
LOGITS = torch.linspace(-8, 8, 161, dtype=torch.float64)


def distributions(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.rand(2, 7, dtype=torch.float64, generator=generator).add(0.05)
    return p / p.sum(), q / q.sum()


def maximised(p: Tensor, q: Tensor, name: str, output: str) -> tuple[Tensor, float]:
    """The optimal logits, and the bound there."""
    objective = discriminator_objective(name, output)
    assert objective.real is not None
    real, fake = objective.real, objective.fake
    logits = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [logits],
        max_iter=400,
        tolerance_grad=1e-13,
        tolerance_change=1e-20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        return (q * fake(logits)).sum() + (p * real(logits)).sum()

    def closure() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value.item()

    optimiser.step(closure)
    return logits.detach(), -loss().item()


def test_the_tables_are_whole() -> None:
    assert set(DIVERGENCES) == set(F_OF_U)
    assert set(DISCRIMINATOR_LOSSES) == set(DIVERGENCES) | {
        "least_squares",
        "hinge",
        "wasserstein",
        "relativistic",
    }
    assert set(GENERATOR_LOSSES) == {
        "saturating",
        "non_saturating",
        "boundary_seeking",
        "least_squares",
        "hinge",
        "wasserstein",
        "relativistic",
    }
    for name, row in DIVERGENCES.items():
        assert row.name == name
        expected = {"f_gan"} if name == "total_variation" else {"f_gan", "log_ratio"}
        assert set(row.outputs) == expected
        assert all(output == activation.name for output, activation in row.outputs.items())


@pytest.mark.parametrize(("name", "output"), ROWS)
def test_the_conjugate_is_that_of_the_activation(name: str, output: str) -> None:
    row = DIVERGENCES[name].outputs[output]
    expected = CONJUGATES[name](row.value(LOGITS))
    torch.testing.assert_close(row.conjugate(LOGITS), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "output"), SMOOTH)
def test_level_and_threshold_are_where_p_equals_q(name: str, output: str) -> None:
    one = torch.ones((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(F_OF_U[name](one), one)
    divergence = DIVERGENCES[name]
    assert divergence.level == pytest.approx(slope.item(), abs=1e-12)
    row = divergence.outputs[output]
    threshold = torch.tensor(row.threshold, dtype=torch.float64)
    assert row.value(threshold).item() == pytest.approx(divergence.level, abs=1e-12)


@pytest.mark.parametrize(("name", "output"), SMOOTH)
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_maximising_the_bound_gives_the_divergence(name: str, output: str, seed: int) -> None:
    p, q = distributions(seed)
    logits, bound = maximised(p, q, name, output)
    ratio = p / q
    divergence = (q * F_OF_U[name](ratio)).sum().item()
    assert bound == pytest.approx(divergence, abs=1e-6)
    row = DIVERGENCES[name].outputs[output]
    torch.testing.assert_close(row.value(logits), OPTIMAL_T[name](ratio), rtol=1e-4, atol=1e-4)
    if output == "log_ratio":
        torch.testing.assert_close(logits, ratio.log(), rtol=0, atol=1e-4)
    if isinstance(row.log_weight, Affine):
        weight = (row.log_weight.rate * logits + row.log_weight.shift).exp()
        torch.testing.assert_close(weight, ratio, rtol=1e-4, atol=0)


def test_total_variation_is_approached_where_the_logits_are_large() -> None:
    p, q = distributions(3)
    objective = discriminator_objective("total_variation")
    assert objective.real is not None
    logits = 20 * torch.sign(p / q - 1)
    bound = -(q * objective.fake(logits)).sum() - (p * objective.real(logits)).sum()
    assert bound.item() == pytest.approx((p - q).abs().sum().item() / 2, abs=1e-6)


def test_gan_is_twice_the_jensen_shannon_divergence_less_log_4() -> None:
    p, q = distributions(1)
    mean = (p + q) / 2
    jsd = ((p * (p / mean).log()).sum() + (q * (q / mean).log()).sum()).item() / 2
    for name, expected in (("gan", 2 * jsd - math.log(4)), ("jensen_shannon", 2 * jsd)):
        logits, bound = maximised(p, q, name, "f_gan")
        assert bound == pytest.approx(expected, abs=1e-9)
        torch.testing.assert_close(logits.sigmoid(), p / (p + q), rtol=0, atol=1e-5)
    logits, bound = maximised(p, p, "gan", "f_gan")
    torch.testing.assert_close(logits.sigmoid(), torch.full_like(p, 0.5), rtol=0, atol=1e-6)
    assert bound == pytest.approx(-math.log(4), abs=1e-9)


def test_least_squares_is_pearsons_divergence_of_the_mixture() -> None:
    # Mao et al. 2017, section 3.2: with a=−1, b=1, c=0 the generator's loss at D*, taken over P
    # and Q, is ½ χ²(p+q‖2q).
    p, q = distributions(2)
    objective = discriminator_objective("least_squares", a=-1.0, b=1.0)
    assert objective.real is not None
    logits = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    loss = (p * objective.real(logits) + q * objective.fake(logits)).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    optimum = -gradient / (p + q)  # the loss is quadratic with the diagonal Hessian p + q
    torch.testing.assert_close(optimum, (p - q) / (p + q))
    term = generator_objective("least_squares", c=0.0).fake
    value = ((p + q) * term(optimum)).sum()
    pearson = ((2 * q - (p + q)) ** 2 / (p + q)).sum()  # χ² with the mixture in the denominator
    torch.testing.assert_close(2 * value, pearson)


@pytest.mark.parametrize(("name", "output"), ROWS)
def test_the_generators_terms_follow_from_the_divergence(name: str, output: str) -> None:
    row = DIVERGENCES[name].outputs[output]
    saturating = generator_objective("saturating", name, output).fake
    non_saturating = generator_objective("non_saturating", name, output).fake
    torch.testing.assert_close(saturating(LOGITS), -row.conjugate(LOGITS))
    torch.testing.assert_close(non_saturating(LOGITS), -row.value(LOGITS))
    if isinstance(row.log_weight, Affine):
        boundary = generator_objective("boundary_seeking", name, output).fake
        # w = ∂f*/∂T = (∂f*/∂F)/(∂ν/∂F)
        logits = LOGITS.clone().requires_grad_()
        (of_conjugate,) = torch.autograd.grad(row.conjugate(logits).sum(), logits)
        (of_value,) = torch.autograd.grad(row.value(logits).sum(), logits)
        log_weight = (of_conjugate / of_value).log()
        torch.testing.assert_close(boundary(LOGITS), log_weight.square(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "output"), ROWS)
@pytest.mark.parametrize("part", ["value", "conjugate"])
def test_activations_are_increasing_in_t(name: str, output: str, part: str) -> None:
    term = getattr(DIVERGENCES[name].outputs[output], part)
    values = term(LOGITS)
    if (name, output, part) == ("pearson", "f_gan", "conjugate"):
        values = values[LOGITS >= -2]  # f* of Pearson falls where the weight is negative
    assert (values.diff() > 0).all()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("least_squares", ([0.5, 4.5], [2.0, 0.5])),
        ("hinge", ([0.0, 3.0], [3.0, 0.0])),
        ("wasserstein", ([-2.0, 2.0], [2.0, -1.0])),
    ],
)
def test_other_losses_by_hand(loss: str, expected: tuple[list[float], list[float]]) -> None:
    objective = discriminator_objective(loss)
    assert objective.real is not None
    assert objective.real(torch.tensor([2.0, -2.0])).tolist() == expected[0]
    assert objective.fake(torch.tensor([2.0, -1.0])).tolist() == expected[1]
