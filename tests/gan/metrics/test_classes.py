import math

import pytest
import torch

from gan.errors import UserError
from gan.metrics.classes import class_shares, entropy, kl_divergence, modes_covered


def shares(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_shares_count_classes_without_samples_too():
    assert class_shares(torch.tensor([0, 2, 2, 3]), 5).tolist() == [0.25, 0, 0.5, 0.25, 0]


def test_modes_from_the_smallest_share_on():
    assert modes_covered(shares(0.5, 0.01, 0.009, 0.481, 0), 0.01) == 3


def test_entropy_and_divergence_by_hand():
    assert entropy(shares(0.25, 0.25, 0.25, 0.25)) == pytest.approx(math.log(4))
    assert entropy(shares(1, 0, 0)) == 0
    assert math.copysign(1, entropy(shares(1, 0, 0))) == 1
    divergence = kl_divergence(shares(0.5, 0.5, 0), shares(0.25, 0.5, 0.25))
    assert divergence == pytest.approx(0.5 * math.log(2))
    assert kl_divergence(shares(0.3, 0.7), shares(0.3, 0.7)) == 0
    assert kl_divergence(shares(0.5, 0.5), shares(1, 0)) == math.inf


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0, 5]), torch.tensor([-1, 0]), torch.tensor([]).long(), torch.tensor([0.5])],
    ids=["above", "below", "none", "float"],
)
def test_labels_that_make_no_sense_are_refused(labels):
    with pytest.raises(UserError, match="expected"):
        class_shares(labels, 5)


def test_different_numbers_of_classes_are_refused():
    with pytest.raises(UserError, match="same number of classes"):
        kl_divergence(shares(0.5, 0.5), shares(1))
