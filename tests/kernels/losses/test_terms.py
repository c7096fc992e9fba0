import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.losses.terms import (
    DISCRIMINATOR_LOSSES,
    DIVERGENCES,
    GENERATOR_LOSSES,
    discriminator_row,
    generator_gain,
    softplus,
)

LOGITS = torch.linspace(-30, 30, 241, dtype=torch.float64)

# Written down from the papers, apart from the table: f and f*.
F_OF_U = {"gan": lambda u: u * torch.log(u) - (u + 1) * torch.log(u + 1)}
CONJUGATES = {"gan": lambda t: -torch.log(-torch.expm1(t))}


def rows() -> list[tuple[str, str]]:
    return [(name, output) for name, row in DIVERGENCES.items() for output in row.outputs]


def test_the_table_is_keyed_by_name() -> None:
    for table in (DIVERGENCES, GENERATOR_LOSSES):
        assert all(name == row.name for name, row in table.items())
    for name, output in rows():
        assert DIVERGENCES[name].outputs[output].name == output
        assert DISCRIMINATOR_LOSSES[name, output].name == name


@pytest.mark.parametrize(("name", "output"), rows())
def test_the_conjugate_is_that_of_the_activation(name: str, output: str) -> None:
    row = DIVERGENCES[name].outputs[output]
    expected = CONJUGATES[name](row.value(LOGITS))
    torch.testing.assert_close(row.conjugate(LOGITS), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "output"), rows())
def test_level_and_threshold_are_where_p_equals_q(name: str, output: str) -> None:
    one = torch.ones((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(F_OF_U[name](one), one)
    divergence = DIVERGENCES[name]
    assert divergence.level == pytest.approx(slope.item(), abs=1e-12)
    row = divergence.outputs[output]
    threshold = torch.tensor(row.threshold, dtype=torch.float64)
    assert row.value(threshold).item() == pytest.approx(divergence.level, abs=1e-12)


@pytest.mark.parametrize(("name", "output"), rows())
def test_maximising_the_bound_gives_the_divergence(name: str, output: str) -> None:
    generator = torch.Generator().manual_seed(5)
    p, q = torch.rand(2, 7, dtype=torch.float64, generator=generator).add(0.05)
    p, q = p / p.sum(), q / q.sum()
    row = discriminator_row(name, output)
    logits = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [logits],
        max_iter=200,
        tolerance_grad=1e-12,
        tolerance_change=1e-18,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        return (q * row.fake(logits)).sum() - (p * row.real(logits)).sum()

    def closure() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value.item()

    optimiser.step(closure)
    divergence = (q * F_OF_U[name](p / q)).sum().item()
    assert -loss().item() == pytest.approx(divergence, abs=1e-9)
    if name == "gan":
        torch.testing.assert_close(logits.detach(), torch.log(p / q), rtol=0, atol=1e-5)
        mean = (p + q) / 2
        jsd = ((p * (p / mean).log()).sum() + (q * (q / mean).log()).sum()) / 2
        assert divergence == pytest.approx(2 * jsd.item() - math.log(4), abs=1e-12)


@pytest.mark.parametrize(("name", "output"), rows())
@pytest.mark.parametrize("part", ["value", "conjugate"])
def test_derivatives_of_any_order(name: str, output: str, part: str) -> None:
    term = getattr(DIVERGENCES[name].outputs[output], part)
    x = torch.linspace(-5, 5, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(term, x)
    assert torch.autograd.gradgradcheck(term, x)


def test_softplus_is_exact_where_torchs_default_is_not() -> None:
    x = torch.tensor([-700.0, -50.0, -1.0, 0.0, 1.0, 20.5, 39.5, 41.0, 1e4], dtype=torch.float64)
    exact = [math.log1p(math.exp(-abs(v))) + max(v, 0) for v in x.tolist()]
    torch.testing.assert_close(softplus(x).tolist(), exact, rtol=4e-16, atol=0)
    assert F.softplus(x)[5].item() != exact[5]


def test_the_generators_gain_is_the_divergences_own_term() -> None:
    row = DIVERGENCES["gan"].outputs["nowozin"]
    assert generator_gain("saturating", "gan", "nowozin") is row.conjugate
    assert generator_gain("non_saturating", "gan", "nowozin") is row.value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gna", "nowozin"), r"loss='gna' is not known; known .*: gan. Did you mean 'gan'\?"),
        (("hinge of fate", "nowozin"), r"known discriminator losses: gan$"),
        (("gan", "nowozine"), r"output='nowozine' .* of 'gan': nowozin. Did you mean 'nowozin'\?"),
    ],
)
def test_unknown_discriminator_rows(arguments: tuple[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        discriminator_row(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("saturated", "gan", "nowozin"),
            r"loss='saturated' .*: non_saturating, saturating. Did you mean 'saturating'\?",
        ),
        (("saturating", "gann", "nowozin"), r"divergence='gann' .* Did you mean 'gan'\?"),
        (("saturating", "gan", "xyz"), "output='xyz' .* output activations of 'gan': nowozin$"),
    ],
)
def test_unknown_generator_rows(arguments: tuple[str, str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator_gain(*arguments)
