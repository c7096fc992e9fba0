import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.errors import UserError
from gan.metrics.kernel_distance import kernel_distance, squared_mmd
from gan.metrics.moments import moments


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_case_by_hand():
    # d = 1, k(x, y) = (xy + 1)³. Pairs: k(0, 1) = 1; k(1, 2) = 27;
    # across: k(0, 1) = 1, k(0, 2) = 1, k(1, 1) = 8, k(1, 2) = 27, of mean 37/4.
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    assert squared_mmd(x, y) == pytest.approx(1 + 27 - 2 * 37 / 4, abs=1e-12)


def test_its_mean_is_zero_for_one_distribution_and_not_for_two():
    rng = torch.Generator().manual_seed(0)
    same, apart = [], []
    for _ in range(400):
        x, y = torch.randn(2, 20, 3, generator=rng).unbind(0)
        same.append(squared_mmd(x, y))
        apart.append(squared_mmd(x, y + 1))
    same, apart = torch.tensor(same), torch.tensor(apart)
    error = same.std() / len(same) ** 0.5
    assert abs(same.mean()) < 3 * error
    assert apart.mean() - same.mean() > 10 * error
    assert (same < 0).any()  # unbiased, so it must go below 0 as well


def test_all_rows_in_one_subset_are_the_plain_estimate_on_standardised_features():
    reference, samples = normal(30, 4) * 7 + 3, normal(30, 4, seed=1) * 5
    scale = moments(reference)
    by_hand = squared_mmd(
        (samples - scale.mean) / scale.deviation, (reference - scale.mean) / scale.deviation
    )
    for given_scale in (None, scale):
        mean, deviation = kernel_distance(
            samples, reference, subsets=2, subset_size=30, seed=0, scale=given_scale
        )
        assert mean == pytest.approx(by_hand, rel=1e-10)
        assert deviation == pytest.approx(0, abs=1e-10)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    factor=st.floats(0.01, 100),
    offset=st.floats(-100, 100),
)
def test_the_scale_and_origin_of_a_feature_do_not_matter(seed, factor, offset):
    reference, samples = normal(40, 3, seed=seed), normal(40, 3, seed=seed + 1) + 0.3
    options = {"subsets": 3, "subset_size": 20, "seed": seed}
    factors = torch.tensor([1.0, factor, 1.0])
    expected = kernel_distance(samples, reference, **options)
    found = kernel_distance(samples * factors + offset, reference * factors + offset, **options)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_a_constant_feature_is_no_division_by_zero():
    reference, samples = normal(30, 3), normal(30, 3, seed=1)
    reference[:, 0] = samples[:, 0] = 5
    mean, deviation = kernel_distance(samples, reference, subsets=5, subset_size=20, seed=0)
    assert abs(mean) < 1
    assert 0 < deviation < 1


def test_the_seed_decides():
    a, b = normal(60, 3), normal(60, 3, seed=1)
    first, again, other = (
        kernel_distance(a, b, subsets=4, subset_size=10, seed=seed) for seed in (5, 5, 6)
    )
    assert first == again != other


@pytest.mark.parametrize(("subsets", "size"), [(0, 5), (3, 1), (3, 61)])
def test_subsets_that_cannot_be_drawn_are_refused(subsets, size):
    with pytest.raises(UserError, match="at least"):
        kernel_distance(normal(60, 3), normal(80, 3), subsets=subsets, subset_size=size, seed=0)


def test_it_agrees_with_torchmetrics():
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = normal(25, 6), normal(25, 6, seed=1) + 0.5
    theirs = kid.KernelInceptionDistance(
        feature=torch.nn.Identity(), subsets=1, subset_size=25, normalize=True
    ).set_dtype(torch.float64)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    assert squared_mmd(x, y) == pytest.approx(theirs.compute()[0].item(), rel=1e-6)
