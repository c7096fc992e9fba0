import math

import pytest
import torch

from gan.errors import UserError
from gan.metrics.inception_score import inception_score


def test_certain_and_uniform_is_the_number_of_classes():
    assert inception_score(torch.eye(7).repeat(3, 1)) == pytest.approx((7, 0), abs=1e-9)


def test_one_class_or_no_certainty_is_one():
    assert inception_score(torch.eye(7)[[2] * 9])[0] == pytest.approx(1, abs=1e-9)
    assert inception_score(torch.full((9, 7), 1 / 7))[0] == pytest.approx(1, abs=1e-6)


def test_a_case_by_hand():
    # p(y) = (1/2, 1/2); each row gives log 2 − H(0.9) nats.
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    rows = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)
    assert inception_score(rows)[0] == pytest.approx(2 * math.exp(-entropy), abs=1e-12)


def test_splits_are_scored_apart():
    # The first half knows two classes, the second four.
    rows = torch.cat([torch.eye(4)[[0, 1, 0, 1]], torch.eye(4)])
    assert inception_score(rows, 2) == pytest.approx((3, 1), abs=1e-9)


@pytest.mark.parametrize(
    "rows", [torch.tensor([[0.5, 0.6]]), torch.tensor([[1.5, -0.5]])], ids=["sum", "sign"]
)
def test_rows_that_are_no_probabilities_are_refused(rows):
    with pytest.raises(UserError, match="sum to 1"):
        inception_score(rows)


def test_no_splits_are_refused():
    with pytest.raises(UserError, match="splits is 0"):
        inception_score(torch.eye(3), 0)


def test_it_agrees_with_torchmetrics():
    inception = pytest.importorskip("torchmetrics.image.inception")
    logits = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * 3
    # Theirs shuffles, so only a single split compares.
    theirs = inception.InceptionScore(feature=torch.nn.Identity(), splits=1)
    theirs.update(logits)
    assert inception_score(logits.softmax(1))[0] == pytest.approx(
        theirs.compute()[0].item(), rel=1e-5
    )
