from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.datasets import load_sample_images

from gan.errors import DataError
from gan.preparation.quantise import SAMPLE_IMAGES, SAMPLE_PIXELS, PaletteSample, quantised
from gan.preparation.sources import Batch, Failure, Source
from gan.symbols import Colours


def palette(images: np.ndarray, count: int, *, batch: int = 7) -> Colours:
    sample = PaletteSample()
    for start in range(0, len(images), batch):
        sample.add(images[start : start + batch])
    return sample.palette(count)


def of_colours(*colours: tuple[int, ...]) -> np.ndarray:
    """Images `[N, C, 2, 2]`, each of one colour."""
    return np.tile(np.array(colours, np.uint8)[:, :, None, None], (1, 1, 2, 2))


def error(images: np.ndarray, alphabet: Colours) -> float:
    decoded = alphabet.decode(alphabet.encode(images))
    return float(np.square(decoded.astype(float) - images).mean())


class TestPalette:
    def test_few_colours_are_kept_as_they_are_and_sorted_by_luma(self) -> None:
        # Lumas: blue 0.114 · 255, red 0.299 · 255, green 0.587 · 255.
        images = of_colours((0, 255, 0), (255, 0, 0), (0, 0, 255), (0, 0, 255))
        expected = ((0, 0, 255), (255, 0, 0), (0, 255, 0))
        assert palette(images, 3).values == expected
        assert palette(images, 16).values == expected

    def test_of_two_groups_the_weighted_means(self) -> None:
        # (3·10 + 20) / 4 = 12.5, rounded up; (200 + 210) / 2.
        images = of_colours((10,), (10,), (10,), (20,), (200,), (210,))
        assert palette(images, 2).values == ((13,), (205,))

    def test_grey_images_have_grey_palettes(self) -> None:
        images = np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8), dtype=np.uint8)
        alphabet = palette(images, 5)
        assert (alphabet.size, alphabet.channels) == (5, 1)
        assert list(alphabet.values) == sorted(alphabet.values)
        # Uniform levels: five means a fifth apart.
        np.testing.assert_allclose(np.diff(np.array(alphabet.values)[:, 0]), 51, atol=8)

    @pytest.mark.parametrize("seed", range(4))
    def test_clusters_are_found(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        centres = rng.integers(20, 236, (16, 3))
        chosen = rng.integers(0, 16, (100, 8, 8))
        pixels = centres[chosen] + rng.integers(-2, 3, (100, 8, 8, 3))
        images = np.moveaxis(pixels, -1, 1).astype(np.uint8)
        alphabet = palette(images, 16)
        assert alphabet.size == 16
        # A discrete uniform over −2 … 2 has the variance 2.
        assert error(images, alphabet) < 2.5

    def test_photographs_keep_more_than_by_median_cut_and_as_much_as_by_another_k_means(
        self,
    ) -> None:
        photographs = load_sample_images().images
        squares = np.stack(
            [
                photograph[top : top + 32, left : left + 32]
                for photograph in photographs
                for top in range(0, photograph.shape[0] - 31, 32)
                for left in range(0, photograph.shape[1] - 31, 32)
            ]
        )  # [N, 32, 32, 3]
        images = np.moveaxis(squares, -1, 1)
        cut = Image.fromarray(squares.reshape(-1, 32, 3)).quantize(
            16, method=Image.Quantize.MEDIANCUT
        )
        boxes = np.array(cut.getpalette())[: 3 * 16].reshape(-1, 3)
        fit = KMeans(16, n_init=1, random_state=0).fit(squares.reshape(-1, 3)[::10])
        of_cut, of_fit = (
            error(images, Colours(tuple(map(tuple, colours.tolist()))))
            for colours in (boxes, fit.cluster_centers_.round().astype(int))
        )
        ours = error(images, palette(images, 16, batch=len(images)))
        assert ours < 0.6 * of_cut
        assert ours <= 1.02 * of_fit  # on a sample of the pixels

    def test_all_but_one_pair_of_colours(self) -> None:
        # Four colours for five: only the nearest two, 100 and 110, can be one.
        images = of_colours((0,), (50,), (100,), (110,), (200,))
        assert palette(images, 4).values == ((0,), (50,), (105,), (200,))

    @settings(max_examples=30, deadline=None)
    @given(
        stnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.just(3), st.just(4), st.just(4))),
        st.integers(2, 30),
    )
    def test_no_more_than_asked_for_and_no_worse_than_the_mean(
        self, images: np.ndarray, count: int
    ) -> None:
        distinct = len(np.unique(np.moveaxis(images, 1, -1).reshape(-1, 3), axis=0))
        if distinct < 2:
            return
        alphabet = palette(images, count)
        assert 2 <= alphabet.size <= min(count, distinct)
        spread = (images - images.mean((0, 2, 3), keepdims=True)) ** 2
        assert error(images, alphabet) <= spread.mean() + 0.25

    def test_the_batches_do_not_matter(self) -> None:
        images = np.random.default_rng(2).integers(0, 256, (90, 3, 8, 8), dtype=np.uint8)
        assert palette(images, 8, batch=1) == palette(images, 8, batch=90)

    def test_the_sample_is_bounded_and_of_all_images(self) -> None:
        sample = PaletteSample()
        for number in range(3 * SAMPLE_IMAGES):
            level = 80 * (number // SAMPLE_IMAGES) + 10
            sample.add(np.full((1, 1, 64, 64), level, np.uint8))
        assert len(sample._kept) == SAMPLE_IMAGES
        assert max(len(pixels) for *_, pixels in sample._kept) == SAMPLE_PIXELS
        levels = np.array([pixels[0, 0] for *_, pixels in sample._kept])
        # A third each: deviation √(512·2/9) ≈ 11 of 171.
        assert min((levels == level).sum() for level in (10, 90, 170)) > 120
        assert sample.palette(3).values == ((10,), (90,), (170,))

    def test_one_colour_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"data.palette is 4, but all pixels .* \[1, 2, 3\]"):
            palette(of_colours((1, 2, 3), (1, 2, 3)), 4)

    def test_no_image_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"data.palette is 4, but no image for training"):
            PaletteSample().palette(4)


def test_a_source_becomes_symbols() -> None:
    closed = []

    def batches() -> Generator[Batch, None, None]:
        try:
            images = of_colours((0,), (200,))
            yield Batch(images, np.array([True, False]), np.array([1, 0]), (Failure("a", "b"),))
        finally:
            closed.append(True)

    source = Source((1, 2, 2), ("x", "y"), 3, batches())
    result = quantised(source, Colours.levels(2))
    assert (result.kind, result.shape, result.total) == ("symbol_images", (2, 2), 3)
    assert result.label_names == ("x", "y")
    assert result.alphabet == Colours.levels(2)
    (batch,) = result.batches
    assert batch.examples.tolist() == [[[0, 0], [0, 0]], [[1, 1], [1, 1]]]
    assert batch.in_test.tolist() == [True, False]
    assert batch.failures == (Failure("a", "b"),)
    assert closed == [True]
