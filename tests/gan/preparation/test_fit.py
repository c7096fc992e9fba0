from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gan.preparation.fit import DoesNotFitError, Fit, fit_batch, fit_image


def grey(height: int, width: int, value: int = 255) -> Image.Image:
    return Image.fromarray(np.full((height, width), value, np.uint8))


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(28, 28, (2, 30), (2, 30)), (5, 6, (13, 18), (13, 19)), (31, 32, (0, 31), (0, 32))],
)
def test_pad_centres_on_black(
    height: int, width: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    expected = np.zeros((32, 32), np.uint8)
    expected[slice(*rows), slice(*columns)] = 255
    np.testing.assert_array_equal(fit_image(grey(height, width), 32, "pad"), expected)


def test_pad_refuses_what_is_larger() -> None:
    with pytest.raises(DoesNotFitError, match=r"33 x 5 .* data.size 32 .* data.fit to resize"):
        fit_image(grey(5, 33), 32, "pad")


@pytest.mark.parametrize(("height", "width", "top", "left"), [(8, 13, 0, 2), (12, 8, 2, 0)])
def test_crop_is_central_and_keeps_pixels(height: int, width: int, top: int, left: int) -> None:
    pixels = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    fitted = np.asarray(fit_image(Image.fromarray(pixels), 8, "resize"))
    np.testing.assert_array_equal(fitted, pixels[top : top + 8, left : left + 8])


def test_making_smaller_is_antialiased() -> None:
    # Lines one pixel wide: sampling without a filter would give 0 or 255.
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    fitted = np.asarray(fit_image(Image.fromarray(stripes), 16, "resize"))
    assert np.abs(fitted.astype(int) - 127).max() <= 3


def test_making_larger_stays_in_range_and_keeps_the_mean() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2, (8, 8)).astype(np.uint8) * 255
    fitted = np.asarray(fit_image(Image.fromarray(pixels), 32, "resize"))
    assert fitted.shape == (32, 32)
    assert abs(float(fitted.mean()) - float(pixels.mean())) < 8


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_a_batch_is_its_images(size: int, fit: Fit) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 8, 7), dtype=np.uint8)
    fitted = fit_batch(images, size, fit)
    assert fitted.dtype == np.uint8
    for image, one in zip(images, fitted, strict=True):
        np.testing.assert_array_equal(fit_image(Image.fromarray(image), size, fit), one)
