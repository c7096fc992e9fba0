"""Images of few colours: grey levels or a palette, as symbols.

A palette is found by scikit-learn's k-means in RGB, on the distinct colours of a sample of the
training images of bounded size, by one thread and from fixed starts: the same images give the same
palette on one machine, whatever number of threads it has. Another machine may add up in another
order, which the rounding to levels hides unless a centre lies between two. Compared with median
cut, colours lie where the pixels are rather than in the middle of boxes.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Generator

import numpy as np
import numpy.typing as npt
from einops import rearrange

from gan.errors import DataError, UserError
from gan.pixels import Images
from gan.preparation.sources import Batch, Source
from gan.preparation.split import hash_fraction
from gan.symbols import Colours

# The sample is at most the product: half a million pixels.
SAMPLE_IMAGES = 512
SAMPLE_PIXELS = 1024
# Of k-means, of which the best result counts: one alone loses up to 3 % on photographs.
STARTS = 3

# int64, exact: [U, C] distinct colours, and [U] how many pixels have each.
_Colours = npt.NDArray[np.int64]
_Counts = npt.NDArray[np.int64]


def quantised(source: Source, colours: Colours) -> Source:
    """`source`, of images, with every pixel replaced by the nearest of `colours`."""

    def batches() -> Generator[Batch, None, None]:
        with contextlib.closing(source.batches):
            for batch in source.batches:
                symbols = colours.encode(batch.examples.astype(np.uint8, copy=False))
                yield Batch(symbols, batch.in_test, batch.labels, batch.failures)

    return Source(
        shape=source.shape[1:],
        label_names=source.label_names,
        total=source.total,
        batches=batches(),
        kind="symbol_images",
        alphabet=colours,
        passed_over=source.passed_over,
    )


class PaletteSample:
    """A sample of a stream of images, of bounded size and random, but always the same.

    Of all images those with the least `hash_fraction` of their number are kept, and of each, pixels
    at even distances from a place that the hash determines.
    """

    def __init__(self) -> None:
        self._seen = 0
        # The largest fraction first: the next to go.
        self._kept: list[tuple[float, int, npt.NDArray[np.uint8]]] = []  # pixels [P, C]

    def add(self, images: npt.NDArray[np.generic]) -> None:
        """Go on with `images`, uint8 `[B, C, H, W]`."""
        for image in images.astype(np.uint8, copy=False):
            number, self._seen = self._seen, self._seen + 1
            fraction = hash_fraction(f"palette/{number:05d}")
            if len(self._kept) < SAMPLE_IMAGES:
                heapq.heappush(self._kept, (-fraction, number, _some_pixels(image, number)))
            elif fraction < -self._kept[0][0]:
                heapq.heapreplace(self._kept, (-fraction, number, _some_pixels(image, number)))

    def palette(self, count: int) -> Colours:
        """`count` colours for the images, or all that the sample has if these are fewer.

        Sorted by their luma (ITU-R 601), from dark to bright.

        Raises:
            DataError: the sample has less than two colours.
        """
        pixels = [kept for _, _, kept in self._kept]
        if not pixels:
            raise DataError(f"data.palette is {count}, but no image for training can be read")
        colours, counts = _distinct(np.concatenate(pixels))
        if len(colours) < 2:
            raise DataError(
                f"data.palette is {count}, but all pixels have the colour {colours[0].tolist()}: "
                "expected images of at least two"
            )
        found = colours if len(colours) <= count else _k_means(colours, counts, count)
        return Colours(tuple(sorted(map(tuple, found.tolist()), key=_luma)))


def _some_pixels(image: Images, number: int) -> npt.NDArray[np.uint8]:
    """At most `SAMPLE_PIXELS` pixels of an image `[C, H, W]`: `[P, C]`."""
    pixels = rearrange(image, "c h w -> (h w) c")
    step = -(-len(pixels) // SAMPLE_PIXELS)
    start = int(hash_fraction(f"palette/{number:05d}/pixels") * step)
    kept: npt.NDArray[np.uint8] = pixels[start::step].copy()
    return kept


def _luma(colour: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    red, green, blue = colour if len(colour) == 3 else colour * 3
    return 299 * red + 587 * green + 114 * blue, colour


def _distinct(pixels: npt.NDArray[np.uint8]) -> tuple[_Colours, _Counts]:
    """The colours of `pixels` `[P, C]`, sorted, and how often each is there."""
    shifts = 8 * np.arange(pixels.shape[1])[::-1]
    codes, counts = np.unique((pixels.astype(np.int64) << shifts).sum(1), return_counts=True)
    return (codes[:, None] >> shifts) & 255, counts.astype(np.int64)


def _k_means(colours: _Colours, counts: _Counts, k: int) -> _Colours:
    """At most `k` colours, `[≤ k, C]`, with little squared distance to all pixels.

    Two of the `k` that are rounded to the same levels are one.
    """
    try:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise UserError(
            f"data.palette is {k}: a palette is found by scikit-learn, but it is not installed: "
            "install the extra `pipeline` (pip install 'fusedgan[pipeline]')"
        ) from None
    with threadpool_limits(1):
        fit = KMeans(k, n_init=STARTS, random_state=0).fit(
            colours.astype(np.float64), sample_weight=counts
        )
    # Means of levels: halves, which are exact, go up.
    centres: _Colours = np.unique(np.floor(fit.cluster_centers_ + 0.5).astype(np.int64), axis=0)
    return centres
