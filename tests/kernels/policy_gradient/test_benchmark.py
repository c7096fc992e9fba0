"""What the benchmark compares does the same."""

import pytest
import torch

from benchmarks.policy_gradient import CASES, SIDES, Case, work
from tests.kernels.policy_gradient import reference


@pytest.mark.parametrize("side", list(SIDES))
@pytest.mark.parametrize("case", [Case((9,), bernoulli=True), Case((7, 5))])
def test_sides_agree(side: str, case: Case) -> None:
    logits = torch.randn(3, *case.shape, requires_grad=True)
    symbols, log_probs = SIDES[side][case.bernoulli](logits, 6)
    assert symbols.dtype == torch.uint8
    assert symbols.shape == (6, 3, case.shape[0])
    exact = reference.log_prob(logits.detach(), symbols)
    torch.testing.assert_close(log_probs.double(), exact, rtol=1e-5, atol=1e-5)
    weights = torch.rand(6, 3)
    (gradient,) = torch.autograd.grad((weights * log_probs).sum(), logits)
    expected = reference.gradient(logits, symbols, weights)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-5)


def test_every_case_has_a_step() -> None:
    for case in CASES.values():
        chosen = work(case, "ours", 1, 1, torch.device("cpu"))
        chosen.draw()
        chosen.step()
