import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.errors import UserError
from gan.metrics.memorisation import Nearest, nearest_images, share_below, training_share


def noise(count: int, seed: int = 0, shape: tuple[int, int, int] = (1, 4, 4)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def flat(level: int) -> np.ndarray:
    return np.full((1, 2, 2), level, np.uint8)


def test_distances_are_of_pixels_in_the_unit_interval():
    images = np.stack([flat(0), flat(255), flat(100)])
    found = nearest_images(np.stack([flat(0), flat(151)]), images, k=3)
    np.testing.assert_allclose(
        found.distances, np.array([[0, 100, 255], [51, 104, 151]]) / 255, rtol=1e-12
    )
    assert found.indices.tolist() == [[0, 2, 1], [2, 1, 0]]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 9), block=st.integers(1, 3000))
def test_it_finds_what_comparing_everything_finds(seed, k, block):
    queries, images = noise(5, seed, (3, 2, 2)), noise(9, seed + 1, (3, 2, 2))
    found = nearest_images(queries, images, k, block_elements=block)
    difference = queries[:, None].astype(float) - images[None]
    distances = np.sqrt(np.square(difference).mean((2, 3, 4))) / 255
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, np.take_along_axis(distances, order, 1))


def test_a_copy_is_at_distance_zero_exactly_and_the_first_of_several_is_named():
    images = noise(500, shape=(3, 32, 32))
    images[300] = images[17]
    found = nearest_images(images[[300, 4]], images, k=2)
    assert found.indices[0].tolist() == [17, 300]
    assert found.distances[0].tolist() == [0, 0]
    assert found.indices[1, 0] == 4
    assert found.distances[1, 0] == 0 < found.distances[1, 1]


@pytest.mark.parametrize(
    ("queries", "k"),
    [
        (noise(3, shape=(1, 4, 5)), 1),
        (noise(3).astype(np.float32), 1),
        (noise(0), 1),
        (noise(3), 7),
        (noise(3), 0),
    ],
    ids=["shape", "dtype", "none", "too many", "no neighbour"],
)
def test_searches_that_make_no_sense_are_refused(queries, k):
    with pytest.raises(UserError, match="expected"):
        nearest_images(queries, noise(6), k)


def test_share_below_a_quantile_by_hand():
    held_out = np.arange(11.0)  # median 5
    assert share_below(np.array([0.0, 4.0, 5.0, 9.0]), held_out, 0.5) == (2 + 0.5) / 4
    assert share_below(held_out, held_out, 0.5) == pytest.approx(0.5)
    with pytest.raises(UserError, match="at least one"):
        share_below(np.array([]), held_out, 0.5)


def nearest(distances: list[float], indices: list[int]) -> Nearest:
    return Nearest(np.array(distances)[:, None], np.array(indices)[:, None])


def test_training_share_by_hand():
    # Four samples; 3 training images, 2 held out. The third is as near to both.
    of_training = nearest([0.1, 0.2, 0.3, 0.9], [0, 0, 2, 1])
    of_held_out = nearest([0.5, 0.5, 0.3, 0.4], [1, 0, 1, 1])
    found = training_share(of_training, of_held_out, 3, 2)
    assert found.share == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert found.expected == pytest.approx(3 / 5)
    # Every way to deal three of the five images: the share is a sum over the images' hits.
    hits = np.array([2, 0, 0.5, 0, 1.5])
    dealt = [hits[[a, b, c]].sum() / 4 for a in range(5) for b in range(a) for c in range(b)]
    assert np.mean(dealt) == pytest.approx(found.expected)
    assert np.std(dealt) == pytest.approx(found.deviation)


def test_training_share_tells_copies_from_plain_images():
    training, held_out = noise(300, 1), noise(100, 2)

    def share(samples: np.ndarray):
        return training_share(
            nearest_images(samples, training), nearest_images(samples, held_out), 300, 100
        )

    honest = share(noise(400, 3))
    assert abs(honest.share - honest.expected) < 4 * honest.deviation
    # Grey images are nearer to everything than real ones are, and yet no copies.
    grey = (noise(400, 4) // 8 + 112).astype(np.uint8)
    plain = share(grey)
    assert abs(plain.share - plain.expected) < 4 * plain.deviation
    real_distance = nearest_images(held_out, training).distances[:, 0]
    assert share_below(nearest_images(grey, training).distances[:, 0], real_distance, 0.5) > 0.9
    disturbed = training[:200].astype(int) + np.random.default_rng(5).integers(
        -40, 40, (200, 1, 4, 4)
    )
    copies = share(disturbed.clip(0, 255).astype(np.uint8))
    assert copies.share - copies.expected > 4 * copies.deviation


def test_shares_of_different_samples_are_refused():
    with pytest.raises(UserError, match="same samples"):
        training_share(nearest([0.1], [0]), nearest([0.1, 0.2], [0, 1]), 3, 3)
