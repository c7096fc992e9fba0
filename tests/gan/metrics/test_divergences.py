import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.errors import UserError
from gan.metrics.divergences import (
    compare_with_optimum,
    divergences,
    make_boxes,
    modes,
    wasserstein_1,
)
from gan.toys import make_toy

NAMES = ["normal", "line", "ring", "grid", "spirals"]


def draw(name: str, count: int, seed: int = 0) -> torch.Tensor:
    return make_toy(name).sample(count, torch.Generator().manual_seed(seed))[0]


@pytest.mark.parametrize("name", NAMES)
def test_boxes_cover_all_of_space_once(name: str):
    boxes = make_boxes(make_toy(name))
    assert boxes.log_mass.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert torch.isfinite(boxes.log_mass).all()
    points = torch.cat([draw(name, 500), 1e9 * torch.randn(500, boxes.toy.dimensions).double()])
    assert boxes.counts(points).sum() == 1000
    assert len(boxes.log_mass) < 50_000


@pytest.mark.parametrize("name", NAMES)
def test_points_fall_into_boxes_as_often_as_their_mass_says(name: str):
    boxes, count = make_boxes(make_toy(name)), 200_000
    expected = boxes.log_mass.exp() * count
    often = expected > 20
    found = boxes.counts(draw(name, count))
    z = (found - expected)[often] / expected[often].sqrt()
    assert z.square().mean().item() == pytest.approx(1, abs=0.3)
    assert z.abs().max() < 6


def test_a_shifted_normal_has_the_divergences_of_theory():
    # KL(N(0,1) ‖ N(μ,1)) = μ²/2 either way, W₁ = μ.
    shift = 0.8
    samples = draw("normal", 400_000) + shift
    boxes = make_boxes(make_toy("normal"))
    found = divergences(samples, boxes)
    assert found.reverse_kl == pytest.approx(shift**2 / 2, rel=0.03)
    assert found.kl == pytest.approx(shift**2 / 2, rel=0.03)
    x = torch.linspace(-8, 9, 20001, dtype=torch.float64)
    p = torch.distributions.Normal(0.0, 1.0).log_prob(x).exp()
    q = torch.distributions.Normal(shift, 1.0).log_prob(x).exp()
    middle = (p + q) / 2
    integrand = torch.special.xlogy(p, p / middle) + torch.special.xlogy(q, q / middle)
    exact = torch.trapezoid(integrand, x).item() / 2
    assert found.jensen_shannon == pytest.approx(exact, rel=0.03)
    assert wasserstein_1(samples, draw("normal", 400_000, 1)) == pytest.approx(shift, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_the_density_itself_is_near_zero_and_the_nearer_the_more_points(name: str):
    boxes = make_boxes(make_toy(name))
    few, many = (divergences(draw(name, count), boxes) for count in (2000, 50_000))
    for measure in ("jensen_shannon", "kl", "reverse_kl"):
        assert 0 <= getattr(many, measure) < 0.35 * getattr(few, measure)
    # The module's rule of thumb for the strays of N points.
    occupied = int((boxes.counts(draw(name, 50_000)) > 0).sum())
    assert 0.8 < many.reverse_kl / (occupied / 100_000) < 1.6
    assert many.jensen_shannon == pytest.approx(many.reverse_kl / 4, rel=0.25)
    assert many.kl > many.reverse_kl


def test_a_lost_mode_has_the_divergences_of_theory():
    # Q is P without one of K equal modes: JS and reverse KL do not depend on the modes' shape.
    toy = make_toy("ring")
    points, groups = toy.sample(200_000, torch.Generator().manual_seed(0))
    found = divergences(points[groups != 3], make_boxes(toy))
    p, q = 1 / 8, 1 / 7
    assert found.reverse_kl == pytest.approx(math.log(8 / 7), abs=0.005)
    exact = 0.5 * p * math.log(2) + 3.5 * (
        p * math.log(2 * p / (p + q)) + q * math.log(2 * q / (p + q))
    )
    assert found.jensen_shannon == pytest.approx(exact, abs=0.003)
    # Missed is what one sample in N + 1 stands for: 1/8 of all mass, log N each.
    assert found.kl == pytest.approx(math.log(7 / 8) * 7 / 8 + math.log(175_000) / 8, abs=0.03)


def test_samples_far_from_everything_give_finite_numbers():
    toy = make_toy("ring")
    found = divergences(torch.full((100, 2), 1e4), make_boxes(toy))
    assert found.jensen_shannon == pytest.approx(math.log(2), abs=1e-9)
    assert found.kl == pytest.approx(math.log(101), rel=1e-9)
    assert math.isfinite(found.reverse_kl)
    assert found.reverse_kl > 100
    middle = divergences(torch.zeros(100, 2), make_boxes(toy))
    # d²/2σ² = 100²/2, less what lies in a box.
    assert middle.reverse_kl == pytest.approx(5000, rel=0.03)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=12),
    st.lists(st.floats(-50, 50), min_size=1, max_size=12),
)
def test_wasserstein_in_one_dimension_is_the_cost_of_the_best_transport(
    a: list[float], b: list[float]
):
    # With both repeated to the same count, sorted pairs are the best transport.
    x, y = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    pairs = x.repeat(len(y)).sort().values - y.repeat(len(x)).sort().values
    found = wasserstein_1(x[:, None], y[:, None])
    assert found == pytest.approx(pairs.abs().mean().item(), abs=1e-9)
    assert wasserstein_1(y[:, None], x[:, None]) == pytest.approx(found, abs=1e-9)


def test_the_sliced_distance_of_a_shift_is_two_over_pi_of_it():
    points = draw("grid", 1000)
    shift = torch.tensor([3.0, -4.0], dtype=torch.float64)
    found = wasserstein_1(points, points + shift)
    assert found == pytest.approx(5 * 2 / math.pi, rel=1e-3)
    # Unequal counts take the other way to the same number.
    assert wasserstein_1(points.repeat(2, 1), points + shift) == pytest.approx(found, rel=1e-9)
    assert wasserstein_1(points, points) == 0


def test_modes_hit_and_good_samples():
    toy = make_toy("grid")
    points, groups = toy.sample(50_000, torch.Generator().manual_seed(0))
    found = modes(points, toy, 0.01)
    assert (found.hit, len(found.shares)) == (25, 25)
    assert found.good_share == pytest.approx(1 - math.exp(-4.5), abs=0.002)
    three = modes(points[groups < 3], toy, 0.01)
    assert three.hit == 3
    assert sum(three.shares[3:]) == 0
    between = modes(torch.full((10, 2), 0.35), toy, 0.01)
    assert (between.hit, between.good_share) == (0, 0.0)
    mixed = torch.cat([toy.means[:1].repeat(1, 1), toy.means[1:2].repeat(199, 1)])
    assert modes(mixed, toy, 0.01).hit == 1  # one in 200 is less than 1 %
    assert modes(mixed, toy, 0.005).hit == 2


def test_the_modes_of_a_line_and_the_arms_of_spirals():
    line = modes(draw("line", 50_000), make_toy("line"), 0.01)
    assert line.good_share == pytest.approx(math.erf(3 / math.sqrt(2)), abs=0.001)
    spirals = modes(draw("spirals", 10_000), make_toy("spirals"), 0.01)
    assert len(spirals.shares) == 2
    assert min(spirals.shares) > 0.45


def test_the_best_discriminator_reaches_the_bound():
    # P = N(0, 1), Q = N(1, 1): D* = σ(log p − log q) = σ(½ − x).
    boxes = make_boxes(make_toy("normal"))
    real, fake = draw("normal", 200_000), draw("normal", 200_000, 1) + 1
    best = compare_with_optimum(lambda x: 0.5 - x[:, 0], real, fake, boxes)
    assert best.gap == pytest.approx(0, abs=0.01)
    assert best.deviation < 0.02
    assert best.bound == pytest.approx(
        2 * divergences(fake, boxes).jensen_shannon - math.log(4), abs=1e-12
    )
    blind = compare_with_optimum(lambda x: torch.zeros(len(x)), real, fake, boxes)
    assert blind.value == pytest.approx(-math.log(4))
    assert blind.gap > 0.15
    assert blind.deviation > 0.1


def test_at_equilibrium_one_half_is_best():
    boxes = make_boxes(make_toy("ring"))
    real, fake = draw("ring", 100_000), draw("ring", 100_000, 1)
    found = compare_with_optimum(lambda x: torch.zeros(len(x)), real, fake, boxes)
    assert found.gap == pytest.approx(0, abs=0.01)
    assert found.deviation < 0.05


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(3, 1), "samples have 1 columns, points of ring 2"),
        (torch.zeros(0, 2), "samples are 0: expected at least 1"),
        (torch.tensor([[math.nan, 0.0]]), "not finite"),
        (torch.zeros(3, 2, dtype=torch.int64), "expected floating point"),
    ],
)
def test_what_cannot_be_measured_is_refused(points: torch.Tensor, message: str):
    with pytest.raises(UserError, match=message):
        divergences(points, make_boxes(make_toy("ring")))
    with pytest.raises(UserError, match=message):
        modes(points, make_toy("ring"), 0.01)
