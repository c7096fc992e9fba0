import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.errors import UserError
from gan.metrics.frechet_distance import distance_at_count, distance_at_infinity, frechet_distance
from gan.metrics.moments import Moments, MomentsStream, moments


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(mean: list[float], covariance: list[list[float]]) -> Moments:
    return Moments(
        100,
        torch.tensor(mean, dtype=torch.float64),
        torch.tensor(covariance, dtype=torch.float64),
    )


def rotation(size: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(normal(size, size, seed=seed)).Q


def test_commuting_covariances_have_a_closed_form():
    # |μ₁ − μ₂|² + Σ (σ₁ − σ₂)²
    a = gaussian([0, 0, 0], [[1, 0, 0], [0, 4, 0], [0, 0, 9]])
    b = gaussian([1, 2, 2], [[4, 0, 0], [0, 4, 0], [0, 0, 1]])
    assert frechet_distance(a, b) == pytest.approx(9 + 1 + 0 + 4, abs=1e-12)


def test_two_by_two_covariances_that_do_not_commute():
    # tr (Σ₁Σ₂)^½ = (tr Σ₁Σ₂ + 2 √(det Σ₁ det Σ₂))^½ in two dimensions.
    first, second = [[2.0, 1.0], [1.0, 3.0]], [[1.0, -0.5], [-0.5, 2.0]]
    cross = math.sqrt((2 - 0.5 + -0.5 + 6) + 2 * math.sqrt(5 * 1.75))
    expected = 5 + 3 - 2 * cross
    found = frechet_distance(gaussian([0, 0], first), gaussian([0, 0], second))
    assert found == pytest.approx(expected, abs=1e-12)


def test_singular_covariances():
    # A line against a crossing line: nothing in common, so the traces remain.
    a = gaussian([0, 0], [[4, 0], [0, 0]])
    assert frechet_distance(a, gaussian([0, 0], [[0, 0], [0, 9]])) == pytest.approx(13, abs=1e-9)
    assert frechet_distance(a, gaussian([0, 0], [[9, 0], [0, 0]])) == pytest.approx(1, abs=1e-9)
    point = gaussian([0, 3], [[0, 0], [0, 0]])
    assert frechet_distance(a, point) == pytest.approx(13, abs=1e-9)
    # Fewer images than features.
    rows = normal(5, 30)
    assert frechet_distance(moments(rows), moments(rows)) == pytest.approx(0, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 6), offset=st.floats(-50, 50))
def test_it_ignores_rotation_translation_and_order_and_is_symmetric(seed, size, offset):
    a, b = normal(30, size, seed=seed), normal(40, size, seed=seed + 1) * 2 + 0.5
    expected = frechet_distance(moments(a), moments(b))
    turn = rotation(size, seed + 2)
    moved = frechet_distance(moments(a @ turn + offset), moments(b @ turn + offset))
    assert moved == pytest.approx(expected, rel=1e-8, abs=1e-8)
    assert frechet_distance(moments(b), moments(a)) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    shuffled = frechet_distance(moments(a.flip(0)), moments(b))
    assert shuffled == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 49), max_size=6, unique=True), offset=st.floats(-1e4, 1e4))
def test_moments_of_a_stream_do_not_depend_on_its_blocks(cuts, offset):
    rows = normal(50, 4) + offset
    stream = MomentsStream()
    for block in torch.tensor_split(rows, sorted(cuts)):
        stream.add(block)
    found = stream.finish()
    assert found.count == 50
    torch.testing.assert_close(found.mean, rows.mean(0), rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(found.covariance, rows.T.cov(), rtol=1e-9, atol=1e-9)


def test_moments_need_two_rows_of_one_width():
    with pytest.raises(UserError, match="moments need at least 2"):
        MomentsStream().finish()
    stream = MomentsStream()
    stream.add(normal(3, 4))
    with pytest.raises(UserError, match="same number"):
        stream.add(normal(3, 5))
    with pytest.raises(UserError, match="same number"):
        frechet_distance(moments(normal(9, 2)), moments(normal(9, 3)))


def test_distance_at_count_averages_disjoint_chunks():
    rows, reference = normal(25, 3), moments(normal(100, 3, seed=1))
    singles = torch.tensor(
        [frechet_distance(reference, moments(rows[i : i + 8])) for i in (0, 8, 16)]
    )
    found = distance_at_count(rows, reference, 8)
    assert (found.count, found.chunks) == (8, 3)
    assert found.mean == pytest.approx(singles.mean().item(), rel=1e-6)
    assert found.deviation == pytest.approx(singles.std(correction=0).item(), rel=1e-5)
    assert distance_at_count(rows, reference, 25).deviation == 0
    for count in (1, 26):
        with pytest.raises(UserError, match="at least"):
            distance_at_count(rows, reference, count)


def test_infinity_removes_the_bias_of_the_count():
    reference = moments(normal(200_000, 8))
    same, apart = normal(4000, 8, seed=1), normal(4000, 8, seed=2) + 0.25  # true FD: 0 and 0.5
    for samples, truth in ((same, 0.0), (apart, 0.5)):
        extrapolated = distance_at_infinity(samples, reference, seed=0)
        small = distance_at_count(samples, reference, 400).mean
        assert abs(extrapolated - truth) < 0.04
        assert small - truth > 0.05  # what it removes: the bias of 400 samples
    assert distance_at_infinity(same, reference, 3) == distance_at_infinity(same, reference, 3)
    assert distance_at_infinity(same, reference, 3) != distance_at_infinity(same, reference, 4)


class Features(torch.nn.Module):
    """What torchmetrics asks of an extractor: images in, features out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_it_agrees_with_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    real, fake = normal(200, 12), normal(150, 12, seed=1) * 1.5 + 1
    theirs = fid.FrechetInceptionDistance(
        feature=Features(12), normalize=True, input_img_size=(1, 3, 4)
    ).set_dtype(torch.float64)
    theirs.update(real.reshape(-1, 1, 3, 4), real=True)
    theirs.update(fake.reshape(-1, 1, 3, 4), real=False)
    # Theirs rounds "images" in [0, 1] to bytes only for its own Inception network.
    expected = theirs.compute().item()
    assert frechet_distance(moments(real), moments(fake)) == pytest.approx(expected, rel=1e-6)
