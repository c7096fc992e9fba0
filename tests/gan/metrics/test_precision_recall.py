import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.errors import UserError
from gan.metrics.precision_recall import PrecisionRecall, precision_recall


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def line(*places: float) -> torch.Tensor:
    return torch.tensor(places, dtype=torch.float64)[:, None]


def test_a_case_by_hand_on_a_line():
    # k = 1. Real balls: [-1, 1], [0, 2], [1, 5], [3, 17].
    real = line(0, 1, 3, 10)
    # Sample balls: [-1.5, 2.5], [0.5, 4.5], [2.5, 97.5].
    fake = line(0.5, 2.5, 50)
    found = precision_recall(real, fake, 1)
    # 0.5 lies in the first and second ball, 2.5 in the third, 50 in none.
    assert found.precision == pytest.approx(2 / 3)
    assert found.density == pytest.approx((2 + 1 + 0) / 3)
    # Balls that hold a sample: those of 0 and 1 (0.5) and of 3 (2.5).
    assert found.coverage == pytest.approx(3 / 4)
    # 0 and 1 lie in the ball of 0.5, 3 in that of 2.5, 10 in that of 50.
    assert found.recall == pytest.approx(4 / 4)


def test_the_surface_of_a_ball_belongs_to_it():
    # Real balls: [-2, 2], [0, 4], [2, 8]. The sample at 2 lies in all three, twice on the surface.
    found = precision_recall(line(0, 2, 5), line(2, 2.25, 90), 1)
    assert found.density == pytest.approx((3 + 2 + 0) / 3)
    assert found.precision == pytest.approx(2 / 3)


@pytest.mark.parametrize("k", [1, 3])
def test_samples_that_copy_the_reference_are_perfect_at_any_rounding(k):
    real = normal(50, 7) * 1e3 + 1e6
    assert precision_recall(real, real.clone(), k) == PrecisionRecall(
        1.0, 1.0, pytest.approx((k + 1) / k), 1.0
    )


def test_identical_images_have_balls_of_no_size():
    real = line(0, 0, 0, 5, 5, 5)
    found = precision_recall(real, line(0, 0, 5, 7), 2)
    assert found == PrecisionRecall(3 / 4, 1.0, (3 + 3 + 3 + 0) / (2 * 4), 1.0)


def test_disjoint_sets_score_nothing():
    assert precision_recall(normal(30, 4), normal(30, 4) + 100, 3) == PrecisionRecall(0, 0, 0, 0)


def test_one_distribution_has_the_expected_density_and_coverage():
    k, count = 5, 2000
    found = precision_recall(normal(count, 2), normal(count, 2, seed=1), k)
    assert found.density == pytest.approx(1, abs=0.05)
    # Naeem et al., lemma 2: 1 − (N−1)…(N−k) / (2N−1)…(2N−k).
    steps = np.arange(1, k + 1)
    expected = 1 - np.prod((count - steps) / (2 * count - steps))
    assert found.coverage == pytest.approx(expected, abs=0.02)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 5),
    k=st.integers(1, 5),
    block=st.integers(1, 2000),
    offset=st.floats(-1e3, 1e3),
)
def test_it_ignores_rotation_translation_scale_order_and_blocks(seed, size, k, block, offset):
    real, fake = normal(30, size, seed=seed), normal(20, size, seed=seed + 1) + 0.5
    expected = precision_recall(real, fake, k)
    turn = torch.linalg.qr(normal(size, size, seed=seed + 2)).Q * 3
    found = precision_recall(
        (real @ turn + offset).flip(0), (fake @ turn + offset).flip(0), k, block_elements=block
    )
    assert found == expected


@pytest.mark.parametrize(("k", "message"), [(0, "neighbours is 0"), (20, "at least 21")])
def test_neighbours_that_are_not_there_are_refused(k, message):
    with pytest.raises(UserError, match=message):
        precision_recall(normal(30, 2), normal(20, 2), k)


@pytest.mark.parametrize(
    ("count", "samples", "width"), [(200, 200, 3), (150, 90, 64), (60, 200, 1)]
)
def test_it_agrees_with_prdc(count, samples, width):
    prdc = pytest.importorskip("prdc")
    real, fake = normal(count, width), normal(samples, width, seed=1) * 0.8 + 0.2
    theirs = prdc.compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    ours = precision_recall(real, fake, 5)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(ours, name) == pytest.approx(theirs[name], abs=1e-12)
