import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gan.preparation.decode import Form, decode
from gan.preparation.fit import DoesNotFitError
from gan.preparation.raster import as_examples


@given(
    height=st.integers(1, 20), width=st.integers(1, 20), found=st.sampled_from([1, 3]),
    channels=st.sampled_from([1, 3]), fit=st.sampled_from(["pad", "resize"]),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_the_same_pixels_as_of_image_files(
    height: int, width: int, found: int, channels: int, fit: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, height, width, found), np.uint8)
    size = 32 if fit == "pad" else 8
    examples = as_examples(images, size, channels, fit)
    assert examples.shape == (2, channels, size, size)
    for image, example in zip(images, examples, strict=True):
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if found == 1 else image).save(file, "PNG")
        assert np.array_equal(decode(file.getvalue(), Form(size, channels, fit)), example)


def test_too_large_to_pad() -> None:
    with pytest.raises(DoesNotFitError, match=r"9 x 8 is larger than data\.size 8"):
        as_examples(np.zeros((1, 8, 9, 3), np.uint8), 8, 3, "pad")
