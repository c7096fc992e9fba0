"""Has the generator learnt the training images by heart? Nearest neighbours in pixel space.

In pixels, not in features: the judge was fitted on the training images and places them otherwise
than images it has not seen, so that in its features every sample would lean towards them.

Two questions, and what an honest generator would give:

1. *Nearer than a held-out image is?* The distance of a sample to its nearest training image
   against the same distance of held-out images (Meehan et al. 2020, arXiv 2004.05675). Samples
   distributed as the data fall below the held-out median with share 0.5, below the held-out 5th
   percentile with share 0.05. A copy falls below both, but so do images that are merely plainer
   than real ones: a high share is a reason to look, not a proof.
2. *Is its nearest image of all one of the training set?* Among N training and M held-out images
   the nearest is a training image with probability N/(N + M), however plain or bad the sample,
   unless the training images themselves left a trace in the generator. This one is a test:
   `deviation` says how far the share strays when the N + M images are dealt to the splits by
   chance; an excess of several deviations is memorisation. It assumes splits that are alike, which
   a test split from another source (MNIST's has other writers) only nearly is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan.errors import UserError
from gan.pixels import Images

Rows = npt.NDArray[np.int64]

BLOCK_ELEMENTS = 1 << 24  # pixels or distances held at once, as fp32: 64 MiB
# The search is in fp32 by an expansion that rounds; the exact distances of a few more candidates
# than asked for decide.
EXTRA_CANDIDATES = 4


@dataclass(frozen=True)
class Nearest:
    """For each of n queries its k nearest images, nearest first."""

    # Root mean square difference of pixels in [0, 1], exact: 0 means a copy. float64 [n, k]
    distances: npt.NDArray[np.float64]
    indices: Rows  # [n, k]


@dataclass(frozen=True)
class TrainingShare:
    """Question 2 of the module."""

    share: float
    expected: float  # if the generator memorised nothing
    deviation: float  # of the share around that


def nearest_images(
    queries: Images,
    images: Images,
    k: int = 1,
    *,
    device: torch.device | str = "cpu",
    block_elements: int = BLOCK_ELEMENTS,
) -> Nearest:
    """The k images nearest to each query, in one pass over `images`.

    Args:
        queries: uint8 `[n, C, H, W]`.
        images: uint8 `[N, C, H, W]`, an array or a memory map of any length.
        k: how many, at most the number of images.
        device: where to compute.
        block_elements: bounds the memory of the search.

    Returns:
        Distances and indices; of equal distances the smaller index comes first.

    Raises:
        UserError: shapes or dtypes do not fit, or there are fewer than k images.
    """
    count = len(images)
    if (
        queries.dtype != np.uint8
        or images.dtype != np.uint8
        or queries.shape[1:] != images.shape[1:]
    ):
        raise UserError(
            f"samples are {queries.dtype} {list(queries.shape)}, images {images.dtype} "
            f"{list(images.shape)}: expected uint8 of the same [C, H, W]"
        )
    if not 1 <= k <= count or not len(queries):
        raise UserError(
            f"the {k} nearest of {count} images to {len(queries)} samples: expected at least one "
            "sample and as many images as neighbours"
        )
    pixels = int(np.prod(queries.shape[1:]))
    query = _flat(queries, device)  # [n, P]
    candidates = min(k + EXTRA_CANDIDATES, count)
    best = torch.full((len(queries), 0), torch.inf, device=device)
    best_at = torch.zeros((len(queries), 0), dtype=torch.int64, device=device)
    size = max(1, block_elements // max(pixels, len(queries)))
    for start in range(0, count, size):
        stop = min(start + size, count)
        block = _flat(images[start:stop], device)
        # |q|² is the same for all images and left out: only the order matters here.
        squared = torch.addmm(block.square().sum(1)[None], query, block.T, alpha=-2)
        here = torch.arange(start, stop, device=device).expand(len(queries), -1)
        best = torch.cat([best, squared], 1)
        best_at = torch.cat([best_at, here], 1)
        best, chosen = best.topk(min(candidates, best.shape[1]), dim=1, largest=False)
        best_at = best_at.gather(1, chosen)
    found = np.sort(best_at.cpu().numpy(), axis=1)  # [n, candidates]
    distances = np.empty(found.shape)
    for index, at in enumerate(found):
        difference = images[at].astype(np.int64) - queries[index]
        distances[index] = np.square(difference).reshape(len(at), -1).sum(1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    exact = np.sqrt(np.take_along_axis(distances, order, 1) / pixels) / 255
    return Nearest(exact, np.take_along_axis(found, order, 1))


def share_below(
    distances: npt.NDArray[np.float64], held_out: npt.NDArray[np.float64], quantile: float
) -> float:
    """Share of `distances` below the `quantile` of `held_out`; equal ones count half.

    Distances to the nearest training image, `[n]` and `[m]`: question 1 of the module, with an
    expected value of `quantile` for an honest generator.

    Raises:
        UserError: one of them is empty.
    """
    if not len(distances) or not len(held_out):
        raise UserError(f"{len(distances)} and {len(held_out)} distances: expected at least one")
    bound = np.quantile(held_out, quantile)
    return float(np.mean(distances < bound) + 0.5 * np.mean(distances == bound))


def training_share(
    of_training: Nearest, of_held_out: Nearest, training: int, held_out: int
) -> TrainingShare:
    """Share of samples whose nearest image is a training image rather than a held-out one.

    A sample as near to both counts half. With cᵢ the number of the n samples that have image i as
    their nearest, and N of all T = N + M images made training images by chance, the share has the
    mean N/T and the variance

        N/T · M/T · T/(T − 1) · (Σ cᵢ² − n²/T) / n²

    Args:
        of_training: the nearest training images of n samples.
        of_held_out: the nearest held-out images of the same samples.
        training: N, number of training images that were searched.
        held_out: M, number of held-out images that were searched.

    Raises:
        UserError: the two are of different numbers of samples.
    """
    n, total = len(of_training.distances), training + held_out
    if n != len(of_held_out.distances):
        raise UserError(
            f"nearest training images of {n} samples, held-out ones of "
            f"{len(of_held_out.distances)}: expected the same samples"
        )
    to_training, to_held_out = of_training.distances[:, 0], of_held_out.distances[:, 0]
    weight = np.where(to_training < to_held_out, 1.0, 0.0)
    weight[to_training == to_held_out] = 0.5
    hits = np.bincount(of_training.indices[:, 0], weight, training)
    hits_held_out = np.bincount(of_held_out.indices[:, 0], 1 - weight, held_out)
    squares = np.square(hits).sum() + np.square(hits_held_out).sum()
    chance = training / total * held_out / total * total / (total - 1)
    variance = chance * max(0.0, squares - n**2 / total) / n**2
    return TrainingShare(float(weight.mean()), training / total, float(np.sqrt(variance)))


def _flat(images: Images, device: torch.device | str) -> Tensor:
    """Pixels in [0, 1], fp32 `[n, C·H·W]`."""
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    return torch.from_numpy(flat).to(device).float().div_(255)
