"""Samples against data: features once, then every metric over them, and the protocol beside them.

Most of these metrics depend on how many images they see, some strongly. So each is given

- as a value, with all the samples that its theory allows;
- as a **floor**: the same of the test split against the training split, real against real;
- **at the floor's count**: the same of as many samples as the floor has images, averaged over
  disjoint chunks of samples. This one compares with the floor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from tqdm import tqdm

from gan.config import EvaluateConfig
from gan.data.limits import in_words
from gan.data.prepared import Prepared
from gan.evaluation.features import Classes, Measured, measure
from gan.evaluation.found import Evaluation, Table
from gan.evaluation.neural_divergences import with_floor
from gan.judges.images import Judge, doubt_about_classes
from gan.metrics.as_json import as_json
from gan.metrics.classes import entropy, kl_divergence, modes_covered
from gan.metrics.frechet_distance import distance_at_count, distance_at_infinity, frechet_distance
from gan.metrics.inception_score import inception_score
from gan.metrics.kernel_distance import kernel_distance
from gan.metrics.memorisation import Nearest, nearest_images, share_below, training_share
from gan.metrics.moments import moments
from gan.metrics.precision_recall import PrecisionRecall, precision_recall
from gan.metrics.records import (
    ClassMetrics,
    Frechet,
    ImageMemorisation,
    ImageMetrics,
    ImageProtocol,
    Inception,
    Matched,
    Scattered,
)
from gan.pixels import Images

# Raised when a name or the meaning of a value changes.
FORMAT_VERSION = 1

MAX_CHUNKS = 10
NEAREST_SHOWN = 3

_log = logging.getLogger(__name__)


def evaluate(
    samples: Images,
    prepared: Prepared,
    judge: Judge,
    config: EvaluateConfig,
    *,
    seed: int,
    progress: bool = True,
) -> Evaluation:
    """Judge `samples` against the training split of `prepared`.

    Runs where the judge is, if that is a CUDA device, else on the CPU. The same input gives the
    same result on the same machine. A metric that so few images do not allow is left out, and
    `left_out` says why.

    Args:
        samples: uint8 `[N, C, H, W]`, drawn independently of each other.
        prepared: the data that the generator was trained on.
        judge: fitted on the same data.
        config: counts and neighbours.
        seed: of the subsets that are drawn.
        progress: show a progress bar.

    Raises:
        UserError: the judge was fitted on other data, shapes do not fit, or there are no images.
    """
    measured = measure(samples, prepared, judge, config, seed, progress)
    classes = measured.classes
    # Each by the first of its keys.
    parts: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        ("fd", lambda: {"fd": _frechet(measured)}),
        ("kid", lambda: {"kid": _kernel(measured)}),
        ("precision", lambda: _balls(measured)),
        ("memorisation", lambda: {"memorisation": _memorisation(measured)}),
    ]
    poor, missing = None, dict(measured.left_out)
    if classes is None:
        missing.pop("inception_score", None)
    else:
        parts += [
            ("inception_score", lambda: {"inception_score": _inception(classes, config)}),
            ("classes", lambda: {"classes": _class_metrics(classes, config)}),
        ]
        poor = doubt_about_classes(classes.test_probabilities, classes.test_labels)
    if config.neural_steps > 0:
        parts.append(("neural_divergences", lambda: {"neural_divergences": _neural(measured)}))
    found: dict[str, Any] = {}
    possible = [part for part in parts if part[0] not in missing]
    with tqdm(possible, desc="metrics", unit="metric", disable=not progress) as bar:
        for name, compute in bar:
            bar.set_postfix_str(name)
            found |= compute()
    for line in in_words(missing):
        _log.warning("%s", line)
    if poor is not None:
        _log.warning("%s", poor)
    metrics = ImageMetrics(
        **found,
        protocol=_protocol(measured, judge),
        left_out=missing or None,
        poor_judge=poor,
    )
    shown = samples[: config.nearest]
    nearest = nearest_images(
        shown,
        measured.train_images,
        min(NEAREST_SHOWN, len(measured.train_images)),
        device=measured.device,
    )
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "nearest.indices": nearest.indices,
        "nearest.distances": nearest.distances,
    }
    tables: dict[str, Table] = {}
    if classes is not None:
        shares = {"samples": classes.sample_shares, "training": classes.train_shares}
        arrays |= {f"shares.{name}": values.numpy() for name, values in shares.items()}
        tables["classes"] = {
            "class": prepared.label_names,
            **{name: values.tolist() for name, values in shares.items()},
        }
    return Evaluation(as_json(metrics), _summary(metrics), arrays, tables)


def _summary(metrics: ImageMetrics) -> str:
    fd, classes = metrics.fd, metrics.classes
    parts = [
        "no Fréchet distance"
        if fd is None
        else f"Fréchet distance {fd.value:.2f} (real against real {fd.floor:.2f})"
    ]
    for name, row in (("precision", metrics.precision), ("recall", metrics.recall)):
        parts.append(f"no {name}" if row is None else f"{name} {row.value:.3f}")
    if classes is not None:
        parts.append(
            f"{classes.covered} of {classes.count} classes "
            f"({classes.smallest_share:.1%} to {classes.largest_share:.1%})"
        )
    return ", ".join(parts)


def _frechet(measured: Measured) -> Frechet:
    reference, count = measured.train_moments, measured.floor_count
    floor = distance_at_count(measured.test_features, reference, count)
    matched = distance_at_count(measured.sample_features, reference, count)
    return Frechet(
        value=frechet_distance(reference, moments(measured.sample_features)),
        infinity=None
        if "fd.infinity" in measured.left_out
        else distance_at_infinity(
            measured.sample_features, reference, measured.seed_of("fd infinity")
        ),
        floor=floor.mean,
        at_floor_count=matched.mean,
        at_floor_count_deviation=matched.deviation,
        ratio_to_floor=matched.mean / floor.mean if floor.mean > 0 else None,
    )


def _kernel(measured: Measured) -> Scattered:
    size = _kid_subset_size(measured)

    def distance(features: Tensor, stream: str) -> tuple[float, float]:
        return kernel_distance(
            features,
            measured.train_features,
            subsets=measured.config.kid_subsets,
            subset_size=size,
            seed=measured.seed_of(stream),
            scale=measured.train_moments,
        )

    value, deviation = distance(measured.sample_features, "kid")
    floor, floor_deviation = distance(measured.test_features, "kid floor")
    return Scattered(
        value=value,
        deviation=deviation,
        floor=floor,
        floor_deviation=floor_deviation,
    )


def _kid_subset_size(measured: Measured) -> int:
    """KID is unbiased at any size: a small split makes it noisier, not wrong."""
    return min(measured.config.kid_subset_size, measured.floor_count, len(measured.train_features))


def _balls(measured: Measured) -> dict[str, Matched]:
    k, count = measured.config.neighbours, measured.balls_count
    reference = measured.train_features[:count]
    value = precision_recall(reference, measured.sample_features[:count], k)
    small = min(measured.floor_count, count)
    floor = precision_recall(reference, measured.test_features[:small], k)
    chunks = [
        precision_recall(reference, chunk, k) for chunk in _chunks(measured.sample_features, small)
    ]

    def row(name: str) -> Matched:
        def get(each: PrecisionRecall) -> float:
            return float(getattr(each, name))

        return Matched(
            value=get(value),
            floor=get(floor),
            at_floor_count=float(np.mean([get(each) for each in chunks])),
        )

    return {name: row(name) for name in ("precision", "recall", "density", "coverage")}


def _chunks(rows: Tensor, size: int) -> list[Tensor]:
    """The first disjoint chunks of exactly `size` rows."""
    count = min(MAX_CHUNKS, len(rows) // size)
    return [rows[index * size : (index + 1) * size] for index in range(count)]


def _inception(classes: Classes, config: EvaluateConfig) -> Inception:
    value, deviation = inception_score(classes.sample_probabilities, config.inception_splits)
    # Parts of the same size on both sides, as far as the test split reaches.
    size = len(classes.sample_probabilities) // config.inception_splits
    of_test, _ = inception_score(
        classes.test_probabilities, max(1, len(classes.test_probabilities) // size)
    )
    return Inception(value=value, deviation=deviation, floor=of_test)


def _class_metrics(classes: Classes, config: EvaluateConfig) -> ClassMetrics:
    shares = classes.sample_shares
    return ClassMetrics(
        count=len(shares),
        covered=modes_covered(shares, config.mode_share),
        smallest_share=shares.min().item(),
        largest_share=shares.max().item(),
        entropy=entropy(shares),
        entropy_of_training=entropy(classes.train_shares),
        kl_to_training=kl_divergence(shares, classes.train_shares),
        share=dict(zip(classes.names, shares.tolist(), strict=True)),
    )


def _neural(measured: Measured) -> dict[str, Scattered]:
    config = measured.config
    return with_floor(
        measured.samples,
        measured.test_images,
        measured.train_images,
        steps=config.neural_steps,
        seeds=config.neural_seeds,
        seed=measured.seed_of("neural divergences"),
        device=measured.device,
        progress=False,
    )


def _memorisation(measured: Measured) -> ImageMemorisation:
    rng = np.random.default_rng(measured.seed_of("held-out images"))
    samples = measured.samples[: measured.config.memorisation_images]
    chosen = rng.permutation(len(measured.test_images))[: measured.config.memorisation_images]
    held_out = measured.test_images[np.sort(chosen)]
    # One pass over the training split for both.
    both = nearest_images(
        np.concatenate([samples, held_out]), measured.train_images, device=measured.device
    )
    of_samples, of_held_out = both.distances[: len(samples), 0], both.distances[len(samples) :, 0]
    share = training_share(
        Nearest(both.distances[: len(samples)], both.indices[: len(samples)]),
        nearest_images(samples, measured.test_images, device=measured.device),
        len(measured.train_images),
        len(measured.test_images),
    )
    return ImageMemorisation(
        distance=float(np.median(of_samples)),
        distance_of_held_out=float(np.median(of_held_out)),
        share_below_held_out_median=share_below(of_samples, of_held_out, 0.5),
        share_below_held_out_5th_percentile=share_below(of_samples, of_held_out, 0.05),
        share_nearer_to_training=share.share,
        share_nearer_to_training_expected=share.expected,
        share_nearer_to_training_deviation=share.deviation,
        copies=float(np.mean(of_samples == 0)),
        copies_in_held_out=float(np.mean(of_held_out == 0)),
    )


def _protocol(measured: Measured, judge: Judge) -> ImageProtocol:
    config = measured.config
    return ImageProtocol(
        format=FORMAT_VERSION,
        seed=measured.seed,
        samples=len(measured.samples),
        training_images=len(measured.train_images),
        test_images=len(measured.test_images),
        floor_count=measured.floor_count,
        precision_count=measured.balls_count,
        precision_floor_count=min(measured.floor_count, measured.balls_count),
        neighbours=config.neighbours,
        kid_subsets=config.kid_subsets,
        kid_subset_size=_kid_subset_size(measured),
        inception_splits=config.inception_splits if judge.classes else None,
        mode_share=config.mode_share if judge.classes else None,
        memorisation_samples=min(config.memorisation_images, len(measured.samples)),
        memorisation_held_out=min(config.memorisation_images, len(measured.test_images)),
        features=judge.architecture.features,
        extractor=f"judge, {judge.architecture.kind}",
        extractor_checksum=judge.checksum,
        data_checksum=judge.data_checksum,
    )
