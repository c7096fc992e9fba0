"""Images of few colours: grey levels or a palette, as symbols.

A palette is found by k-means in RGB, on a sample of the training images of bounded size. All of it
is arithmetic of integers, or of floats in a fixed order, so that the same images give the same
palette on every machine and with any number of threads; library implementations of k-means do not
promise that. Compared with median cut, colours lie where the pixels are rather than in the middle
of boxes.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Generator
from typing import Any

import numpy as np
import numpy.typing as npt

from gan.errors import DataError
from gan.pixels import Images
from gan.preparation.sources import Batch, Source
from gan.preparation.split import hash_fraction
from gan.symbols import Colours, nearest

# The sample is at most the product: half a million pixels.
SAMPLE_IMAGES = 512
SAMPLE_PIXELS = 1024
# The colours hardly move after some ten.
ITERATIONS = 20
# Colours that are given up for others, at most; in photographs some five of 64 help.
MOVES = 16

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
    pixels = image.reshape(len(image), -1).T
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

    Lloyd's algorithm from a split along the variance, and again with one centre moved elsewhere as
    long as that helps: Lloyd's alone never leaves two centres in one cluster of colours for another
    that has none. Two of the `k` that are rounded to the same levels are one.
    """
    centres, members, costs = _lloyd(colours, counts, _split(colours, counts, k))
    for _ in range(MOVES if k > 2 else 0):
        moved = _move_one(colours, counts, centres, members, costs)
        found = _lloyd(colours, counts, moved)
        if found[2].sum() >= costs.sum():
            break
        centres, members, costs = found
    return np.unique(centres, axis=0)


def _lloyd(
    colours: _Colours, counts: _Counts, centres: _Colours
) -> tuple[_Colours, npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Centres `[k, C]` moved to means, which is nearest to each colour `[U]`, and its cost `[U]`.

    The cost of a colour is its squared distance to the centre times the number of its pixels.
    """
    pixels, k = colours.astype(np.uint8), len(centres)
    for iteration in range(ITERATIONS + 1):
        members = nearest(pixels, centres.astype(np.uint8))
        costs = counts * np.square(colours - centres[members]).sum(1)
        if iteration == ITERATIONS:
            break
        moved = _means(colours, counts, members, k)
        # A centre that lost all its colours takes up the one that costs most where it is.
        empty = np.flatnonzero(np.bincount(members, minlength=k) == 0)
        moved[empty] = colours[np.argsort(-costs, kind="stable")[: len(empty)]]
        if (moved == centres).all():
            break
        centres = moved
    return centres, members, costs


def _move_one(
    colours: _Colours,
    counts: _Counts,
    centres: _Colours,
    members: npt.NDArray[Any],
    costs: npt.NDArray[np.int64],
) -> _Colours:
    """Centres `[k, C]` of which two have become one, and of the others the costliest, two."""
    k = len(centres)
    weights = np.bincount(members, counts, minlength=k)  # [k], pixels
    # What a pair costs more as one, at its mean (Ward 1963): w·v / (w + v) · ‖c − d‖².
    squares = np.square(centres[:, None] - centres).sum(2)
    shared = weights * weights[:, None] / np.maximum(weights + weights[:, None], 1)
    merged = np.where(np.tri(k, dtype=bool), np.inf, shared * squares)
    kept, free = np.unravel_index(merged.argmin(), merged.shape)  # kept < free
    cost = np.bincount(members, costs, minlength=k)
    cost[[kept, free]] = 0
    cost[np.bincount(members, minlength=k) < 2] = 0  # one colour, or none, is not two
    largest = cost.argmax()
    if not cost[largest]:
        return centres  # nothing else can be told apart better
    inside = members == largest
    moved: _Colours = centres.copy()
    either = (members == kept) | (members == free)
    moved[kept] = _means(colours[either], counts[either], np.zeros(either.sum(), np.int64), 1)[0]
    moved[[largest, free]] = _split(colours[inside], counts[inside], 2)
    return moved


def _means(colours: _Colours, counts: _Counts, members: npt.NDArray[Any], k: int) -> _Colours:
    """The mean of the pixels of each of `k` groups, `[k, C]`, to the nearest level; 0 if empty."""
    # Sums of integers below 2⁵³ are exact.
    weights = np.bincount(members, counts, minlength=k).astype(np.int64)
    sums = np.stack(
        [np.bincount(members, counts * channel, minlength=k) for channel in colours.T], 1
    ).astype(np.int64)
    return (2 * sums + weights[:, None]) // np.maximum(2 * weights[:, None], 1)


def _split(colours: _Colours, counts: _Counts, k: int) -> _Colours:
    """`k` centres, `[k, C]`: the group that costs most is split at its mean, again and again.

    Along the channel in which its squared deviations add up to most.
    """
    members = np.zeros(len(colours), np.int64)
    costs = np.zeros((k, colours.shape[1]))
    costs[0] = _deviations(colours, counts)
    for group in range(1, k):
        largest, channel = np.unravel_index(costs.argmax(), costs.shape)
        inside = np.flatnonzero(members == largest)
        values, weights = colours[inside, channel], counts[inside]
        above = inside[values * weights.sum() > (values * weights).sum()]
        members[above] = group
        for each in (int(largest), group):
            costs[each] = _deviations(colours[members == each], counts[members == each])
    return _means(colours, counts, members, k)


def _deviations(colours: _Colours, counts: _Counts) -> npt.NDArray[np.float64]:
    """The sum over pixels of the squared deviation from their mean, per channel `[C]`."""
    first = (counts[:, None] * colours).sum(0)
    second = (counts[:, None] * np.square(colours)).sum(0)
    # Exact until here, and never of the sign of a rounding error: all in integers but the quotient.
    total = int(counts.sum())
    return np.array(
        [(int(s) * total - int(f) ** 2) / total for f, s in zip(first, second, strict=True)]
    )
