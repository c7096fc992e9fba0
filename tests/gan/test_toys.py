import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.toys import make_toy

NAMES = ["normal", "line", "ring", "grid", "spirals"]


@pytest.mark.parametrize(
    ("name", "dimensions", "components", "groups"),
    [
        ("normal", 1, 1, None),
        ("line", 1, 5, 5),
        ("ring", 2, 8, 8),
        ("grid", 2, 25, 25),
        ("spirals", 2, 400, 2),
    ],
)
def test_what_they_are(name: str, dimensions: int, components: int, groups: int | None):
    toy = make_toy(name)
    assert toy.name == name
    assert toy.means.shape == (components, dimensions)
    assert (None if toy.group_names is None else len(toy.group_names)) == groups
    assert toy.modes == (name != "spirals")
    if name != "normal":
        spread = (toy.means.square().mean(0) - toy.means.mean(0) ** 2).sqrt()
        torch.testing.assert_close(
            spread, torch.ones(dimensions, dtype=torch.float64), atol=0.05, rtol=0
        )


def test_the_published_proportions():
    ring, grid = make_toy("ring"), make_toy("grid")
    torch.testing.assert_close(
        ring.means.norm(dim=1) / ring.deviation, torch.full((8,), 100.0, dtype=torch.float64)
    )
    spacing = torch.pdist(grid.means).min().item()
    assert spacing / grid.deviation == pytest.approx(40)
    line = make_toy("line")
    assert (line.means[1] - line.means[0]).item() / line.deviation == pytest.approx(20)


def test_the_density_of_the_normal_is_the_textbooks():
    x = torch.linspace(-4, 4, 9, dtype=torch.float64)[:, None]
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(x)[:, 0]
    torch.testing.assert_close(make_toy("normal").log_density(x), expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_density_against_torchs_mixture(name: str):
    toy = make_toy(name)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(len(toy.means), dtype=torch.float64)),
        torch.distributions.Independent(
            torch.distributions.Normal(toy.means, torch.full_like(toy.means, toy.deviation)), 1
        ),
    )
    points, _ = toy.sample(50, torch.Generator().manual_seed(0))
    points = torch.cat([points, torch.randn(50, toy.dimensions, dtype=torch.float64)])
    torch.testing.assert_close(toy.log_density(points), mixture.log_prob(points))


def test_the_density_is_finite_far_away_and_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch):
    toy = make_toy("ring")
    points = torch.tensor([[1e6, -1e6], [0.0, 0.0], [1.4, 0.1]], dtype=torch.float64)
    whole = toy.log_density(points)
    assert torch.isfinite(whole).all()
    # The nearest mode alone decides: −d²/2σ².
    nearest = (points[0] - toy.means).norm(dim=1).min().item()
    assert whole[0].item() == pytest.approx(-(nearest**2) / (2 * toy.deviation**2), rel=1e-6)
    monkeypatch.setattr("gan.toys.BLOCK_ELEMENTS", 8)
    assert torch.equal(toy.log_density(points), whole)
    assert toy.log_density(points[:0]).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_densitys_moments_and_their_groups(name: str):
    toy = make_toy(name)
    points, groups = toy.sample(40_000, torch.Generator().manual_seed(0))
    mean, variance = toy.means.mean(0), toy.means.var(0, correction=0) + toy.deviation**2
    torch.testing.assert_close(points.mean(0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(points.var(0), variance, atol=0.0, rtol=0.03)
    nearest = torch.cdist(points, toy.means).argmin(1)
    assert (toy.groups[nearest] == groups).double().mean() > 0.999
    again, _ = toy.sample(40_000, torch.Generator().manual_seed(0))
    assert torch.equal(points, again)
    assert not torch.equal(points, toy.sample(40_000, torch.Generator().manual_seed(1))[0])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(NAMES), st.lists(st.floats(-4, 4), min_size=1, max_size=6, unique=True))
def test_masses_of_intervals_are_those_of_the_cumulative_distribution(
    name: str, inner: list[float]
):
    toy = make_toy(name)
    edges = torch.tensor([-math.inf, *sorted(inner), math.inf], dtype=torch.float64)
    log_mass = toy.log_interval_mass(edges, 0)
    assert log_mass.shape == (len(toy.means), len(edges) - 1)
    torch.testing.assert_close(
        log_mass.logsumexp(1), torch.zeros(len(toy.means), dtype=torch.float64)
    )
    normal = torch.distributions.Normal(toy.means[:, :1], toy.deviation)
    zero = torch.zeros_like(toy.means[:, :1])
    below = torch.cat([zero, normal.cdf(edges[1:-1]), zero + 1], 1)
    torch.testing.assert_close(log_mass.exp(), below.diff(dim=1), atol=1e-12, rtol=1e-9)


def test_masses_far_out_keep_their_logarithm():
    toy = make_toy("normal")
    edges = torch.tensor([-41.0, -40.0, 40.0, 41.0], dtype=torch.float64)
    left, _, right = toy.log_interval_mass(edges, 0)[0]
    assert left.item() == pytest.approx(right.item(), rel=1e-12)
    # Mills: Φ(−40) = φ(40)/40 · (1 − 1/40² + 3/40⁴ − …)
    tail = -800 - 0.5 * math.log(2 * math.pi) - math.log(40) + math.log1p(-1 / 1600 + 3 / 2560000)
    assert left.item() == pytest.approx(tail, rel=1e-9)


def test_points_of_another_shape_and_unknown_toys_are_refused():
    with pytest.raises(ValueError, match=r"points are \[3, 1\], expected \[N, 2\] for ring"):
        make_toy("ring").log_density(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="no toy 'moon'; known: normal, line, ring"):
        make_toy("moon")
