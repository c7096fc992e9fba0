import math

import numpy as np
import pytest
import torch

from gan.errors import UserError
from gan.evaluation.neural_divergences import DIVERGENCES, _fresh, neural_divergences, with_floor

CPU = torch.device("cpu")


def found(samples: np.ndarray, held_out: np.ndarray, **options: int) -> dict:
    settings = {"steps": 100, "seeds": 1, "seed": 0, **options}
    return neural_divergences(samples, held_out, **settings, device=CPU, progress=False)


def points(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, 2)) + np.array([shift, 0.0])).astype(np.float32)


def images(count: int, seed: int, light: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 100, (count, 1, 8, 8)).astype(np.uint8) + np.uint8(light)


def test_real_against_real_is_near_zero():
    for name, estimate in found(points(1000, 0), points(1000, 1)).items():
        assert abs(estimate.mean) < 0.08, name


def test_a_small_split_is_not_learned_by_heart():
    # 24 examples to train on and a network of thousands of weights: without a choice among the
    # steps the bounds would be far below zero.
    for name, estimate in found(images(64, 0), images(64, 1), steps=120).items():
        assert abs(estimate.mean) < 0.25, name


def test_distributions_apart_reach_the_largest_divergence():
    estimates = found(points(600, 0, shift=12.0), points(600, 1), steps=150)
    assert estimates["jensen_shannon"].mean == pytest.approx(math.log(2), abs=0.02)
    assert 4 < estimates["reverse_kl"].mean < 6.01  # of infinity, what the limit lets through
    assert estimates["wasserstein"].mean == pytest.approx(12, rel=0.25)


def test_a_shift_is_found_at_its_size():
    """Gaussians one apart: JS 0.112 (by quadrature), reverse KL ½, Wasserstein 1; lower bounds."""
    estimates = found(points(8000, 0, shift=1.0), points(8000, 1), steps=200)
    assert estimates["jensen_shannon"].mean == pytest.approx(0.1115, abs=0.02)
    assert estimates["reverse_kl"].mean == pytest.approx(0.5, abs=0.12)
    assert estimates["wasserstein"].mean == pytest.approx(1, abs=0.25)


def test_images_go_through_the_same_code():
    estimates = found(images(200, 0, light=150), images(200, 1), steps=60)
    assert set(estimates) == set(DIVERGENCES)
    assert estimates["jensen_shannon"].mean > 0.5


def test_the_same_seed_gives_the_same_and_another_another():
    one, two = points(200, 0), points(200, 1, shift=1.0)
    state = torch.random.get_rng_state()
    assert found(one, two, steps=10) == found(one, two, steps=10)
    assert torch.equal(state, torch.random.get_rng_state())
    assert found(one, two, steps=10) != found(one, two, steps=10, seed=1)
    assert found(one, two, steps=10)["wasserstein"].deviation == 0
    assert found(one, two, steps=10, seeds=2)["wasserstein"].deviation > 0


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 32, 32)])
def test_a_fresh_discriminator_says_nothing(shape: tuple[int, ...]):
    assert torch.equal(_fresh(shape, 0)(torch.randn(5, *shape)), torch.zeros(5))


def test_the_floor_is_of_training_data():
    table = with_floor(
        points(300, 0, shift=12.0), points(200, 1), points(400, 2),
        steps=60, seeds=1, seed=0, device=CPU, progress=False,
    )  # fmt: skip
    assert table["jensen_shannon"].value > 0.5
    assert abs(table["jensen_shannon"].floor) < 0.1


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match=r"samples are \[2\] and held-out data \[1, 8, 8\]"):
        found(points(50, 0), images(50, 0))
    with pytest.raises(UserError, match=r"15 samples and 50 held-out examples.* at least 16"):
        found(points(15, 0), points(50, 0))
