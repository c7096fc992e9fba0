"""Samples against data: features once, then every metric over them, and the protocol beside them.

Most of these metrics depend on how many images they see, some strongly. So each is given

- as a value, with all the samples that its theory allows;
- as a **floor**: the same of the test split against the training split, real against real;
- **at the floor's count**: the same of as many samples as the floor has images, averaged over
  disjoint chunks of samples. This one compares with the floor.

Memory: the samples and the test split as fp32 features, a part of the training split. The training
split itself passes as a stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from gan.config import EvaluateConfig
from gan.data.prepared import Prepared
from gan.errors import UserError
from gan.judge import Judge
from gan.metrics.classes import class_shares, entropy, kl_divergence, modes_covered
from gan.metrics.frechet_distance import (
    distance_at_count,
    distance_at_infinity,
    frechet_distance,
)
from gan.metrics.inception_score import inception_score
from gan.metrics.kernel_distance import kernel_distance
from gan.metrics.memorisation import Nearest, nearest_images, share_below, training_share
from gan.metrics.moments import Moments, MomentsStream, moments
from gan.metrics.precision_recall import PrecisionRecall, precision_recall
from gan.pixels import Images
from gan.runtime import stream_seed

# Raised when a name or the meaning of a value changes.
FORMAT_VERSION = 1

BLOCK = 8192  # images of a stream at once
MAX_CHUNKS = 10
MIN_IMAGES = 20  # FD∞ fits a line to subsets down to a tenth
NEAREST_SHOWN = 3
DIGITS = 6  # significant ones

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What was found."""

    # Nested dictionaries of numbers, text and None: JSON without NaN.
    metrics: Metrics
    # The training images nearest to the first samples, `[evaluate.nearest, NEAREST_SHOWN]`.
    nearest: Nearest
    # Share of each class among "samples" and "training" images; None without classes.
    class_shares: dict[str, list[float]] | None


@dataclass(frozen=True)
class _Classes:
    """What the judge says about classes, where there are any."""

    names: list[str]
    sample_probabilities: Tensor  # [N, K]
    test_probabilities: Tensor
    train_shares: Tensor  # [K], by the labels of the data

    @property
    def sample_shares(self) -> Tensor:
        return class_shares(self.sample_probabilities.argmax(1), len(self.names))


@dataclass(frozen=True)
class _Measured:
    """Everything that the metrics are computed from."""

    config: EvaluateConfig
    seed: int
    device: torch.device
    samples: Images
    train_images: npt.NDArray[np.uint8]
    test_images: npt.NDArray[np.uint8]
    sample_features: Tensor
    test_features: Tensor
    train_features: Tensor  # of a random part of the training split
    train_moments: Moments  # of all of it
    classes: _Classes | None

    def seed_of(self, stream: str) -> int:
        return stream_seed(self.seed, f"evaluate {stream}")

    @property
    def floor_count(self) -> int:
        """Images on either side of a comparison with the floor."""
        return min(len(self.test_features), len(self.sample_features))

    @property
    def balls_count(self) -> int:
        """Samples, and training images, of precision and its kin: the same number of both."""
        return min(
            self.config.precision_images, len(self.train_features), len(self.sample_features)
        )


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
    same result on the same machine.

    Args:
        samples: uint8 `[N, C, H, W]`, drawn independently of each other.
        prepared: the data that the generator was trained on.
        judge: fitted on the same data.
        config: counts and neighbours.
        seed: of the subsets that are drawn.
        progress: show a progress bar.

    Raises:
        UserError: the judge was fitted on other data, shapes do not fit, or there are too few
            images for what `config` asks.
    """
    measured = _measure(samples, prepared, judge, config, seed, progress)
    classes = measured.classes
    parts: list[tuple[str, Callable[[], Metrics]]] = [
        ("fd", partial(_frechet, measured)),
        ("kid", partial(_kernel, measured)),
        ("precision, recall, density, coverage", partial(_balls, measured)),
        ("memorisation", partial(_memorisation, measured)),
    ]
    if classes is not None:
        parts.append(("inception score", partial(_inception, classes, config)))
        parts.append(("classes", partial(_class_metrics, classes, config)))
    metrics: Metrics = {}
    with tqdm(parts, desc="metrics", unit="metric", disable=not progress) as bar:
        for name, compute in bar:
            bar.set_postfix_str(name)
            metrics.update(compute())
    metrics["protocol"] = _protocol(measured, judge)
    nearest = nearest_images(
        samples[: config.nearest],
        measured.train_images,
        min(NEAREST_SHOWN, len(measured.train_images)),
        device=measured.device,
    )
    shares = None
    if classes is not None:
        shares = {
            "samples": classes.sample_shares.tolist(),
            "training": classes.train_shares.tolist(),
        }
    return Evaluation(_presentable(metrics), nearest, shares)


def _measure(
    samples: Images,
    prepared: Prepared,
    judge: Judge,
    config: EvaluateConfig,
    seed: int,
    progress: bool,
) -> _Measured:
    if judge.data_checksum != prepared.manifest.checksum:
        raise UserError(
            f"the judge was fitted on data with the checksum {judge.data_checksum}, but the "
            f"prepared data has {prepared.manifest.checksum}: run judge again"
        )
    train, test = prepared.images("train"), prepared.images("test")
    for name, images in (("samples", samples), ("training images", train), ("test images", test)):
        if len(images) < max(MIN_IMAGES, config.neighbours + 1):
            raise UserError(
                f"there are {len(images)} {name}: an evaluation with evaluate.neighbours "
                f"{config.neighbours} needs at least {max(MIN_IMAGES, config.neighbours + 1)}"
            )
    # Metrics need float64, which Apple's devices lack.
    device = judge.device if judge.device.type == "cuda" else torch.device("cpu")
    rng = np.random.default_rng(stream_seed(seed, "evaluate training features"))
    kept = np.sort(rng.permutation(len(train))[: config.precision_images])
    total = len(samples) + len(test) + len(train)
    with tqdm(total=total, desc="features", unit="img", disable=not progress) as bar:
        sample_features, sample_probabilities = _see(judge, samples, bar)
        test_features, test_probabilities = _see(judge, test, bar)
        stream, parts = MomentsStream(), []
        for start in range(0, len(train), BLOCK):
            block = judge.features(train[start : start + BLOCK])
            stream.add(block.to(device))
            first, last = np.searchsorted(kept, [start, start + len(block)])
            parts.append(block[torch.from_numpy(kept[first:last] - start)])
            bar.update(len(block))
    labels = prepared.labels("train")
    classes = None
    if sample_probabilities is not None and test_probabilities is not None and labels is not None:
        classes = _Classes(
            names=judge.label_names or [str(index) for index in range(judge.classes)],
            sample_probabilities=sample_probabilities,
            test_probabilities=test_probabilities,
            train_shares=class_shares(torch.from_numpy(labels), judge.classes),
        )
    # In random order, so that any first n of them are a random part too.
    train_features = torch.cat(parts)[torch.from_numpy(rng.permutation(len(kept)))]
    rng = np.random.default_rng(stream_seed(seed, "evaluate test features"))
    return _Measured(
        config=config,
        seed=seed,
        device=device,
        samples=samples,
        train_images=train,
        test_images=test,
        sample_features=sample_features.to(device),
        test_features=test_features[torch.from_numpy(rng.permutation(len(test)))].to(device),
        train_features=train_features.to(device),
        train_moments=stream.finish(),
        classes=classes,
    )


def _see(judge: Judge, images: Images, bar: Any) -> tuple[Tensor, Tensor | None]:
    features = torch.empty(len(images), judge.architecture.features)
    probabilities = torch.empty(len(images), judge.classes) if judge.classes else None
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK]
        rows = slice(start, start + len(block))
        if probabilities is None:
            features[rows] = judge.features(block)
        else:
            features[rows], probabilities[rows] = judge.features_and_probabilities(block)
        bar.update(len(block))
    return features, probabilities


def _frechet(measured: _Measured) -> Metrics:
    reference, count = measured.train_moments, measured.floor_count
    floor = distance_at_count(measured.test_features, reference, count)
    matched = distance_at_count(measured.sample_features, reference, count)
    return {
        "fd": {
            "value": frechet_distance(reference, moments(measured.sample_features)),
            "infinity": distance_at_infinity(
                measured.sample_features, reference, measured.seed_of("fd infinity")
            ),
            "floor": floor.mean,
            "at_floor_count": matched.mean,
            "at_floor_count_deviation": matched.deviation,
            "ratio_to_floor": matched.mean / floor.mean if floor.mean > 0 else None,
        }
    }


def _kernel(measured: _Measured) -> Metrics:
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
    return {
        "kid": {
            "value": value,
            "deviation": deviation,
            "floor": floor,
            "floor_deviation": floor_deviation,
        }
    }


def _kid_subset_size(measured: _Measured) -> int:
    """KID is unbiased at any size: a small split makes it noisier, not wrong."""
    return min(measured.config.kid_subset_size, measured.floor_count, len(measured.train_features))


def _balls(measured: _Measured) -> Metrics:
    k, count = measured.config.neighbours, measured.balls_count
    reference = measured.train_features[:count]
    value = precision_recall(reference, measured.sample_features[:count], k)
    small = min(measured.floor_count, count)
    floor = precision_recall(reference, measured.test_features[:small], k)
    chunks = [
        precision_recall(reference, chunk, k) for chunk in _chunks(measured.sample_features, small)
    ]

    def row(name: str) -> Metrics:
        def get(each: PrecisionRecall) -> float:
            return float(getattr(each, name))

        return {
            "value": get(value),
            "floor": get(floor),
            "at_floor_count": float(np.mean([get(each) for each in chunks])),
        }

    return {name: row(name) for name in ("precision", "recall", "density", "coverage")}


def _chunks(rows: Tensor, size: int) -> list[Tensor]:
    """The first disjoint chunks of exactly `size` rows."""
    count = min(MAX_CHUNKS, len(rows) // size)
    return [rows[index * size : (index + 1) * size] for index in range(count)]


def _inception(classes: _Classes, config: EvaluateConfig) -> Metrics:
    value, deviation = inception_score(classes.sample_probabilities, config.inception_splits)
    # Parts of the same size on both sides, as far as the test split reaches.
    size = len(classes.sample_probabilities) // config.inception_splits
    of_test, _ = inception_score(
        classes.test_probabilities, max(1, len(classes.test_probabilities) // size)
    )
    return {"inception_score": {"value": value, "deviation": deviation, "floor": of_test}}


def _class_metrics(classes: _Classes, config: EvaluateConfig) -> Metrics:
    shares = classes.sample_shares
    return {
        "classes": {
            "count": len(shares),
            "covered": modes_covered(shares, config.mode_share),
            "smallest_share": shares.min().item(),
            "largest_share": shares.max().item(),
            "entropy": entropy(shares),
            "entropy_of_training": entropy(classes.train_shares),
            "kl_to_training": kl_divergence(shares, classes.train_shares),
            "share": dict(zip(classes.names, shares.tolist(), strict=True)),
        }
    }


def _memorisation(measured: _Measured) -> Metrics:
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
    return {
        "memorisation": {
            "distance": float(np.median(of_samples)),
            "distance_of_held_out": float(np.median(of_held_out)),
            "share_below_held_out_median": share_below(of_samples, of_held_out, 0.5),
            "share_below_held_out_5th_percentile": share_below(of_samples, of_held_out, 0.05),
            "share_nearer_to_training": share.share,
            "share_nearer_to_training_expected": share.expected,
            "share_nearer_to_training_deviation": share.deviation,
            "copies": float(np.mean(of_samples == 0)),
            "copies_in_held_out": float(np.mean(of_held_out == 0)),
        }
    }


def _protocol(measured: _Measured, judge: Judge) -> Metrics:
    config = measured.config
    return {
        "format": FORMAT_VERSION,
        "seed": measured.seed,
        "samples": len(measured.samples),
        "training_images": len(measured.train_images),
        "test_images": len(measured.test_images),
        "floor_count": measured.floor_count,
        "precision_count": measured.balls_count,
        "precision_floor_count": min(measured.floor_count, measured.balls_count),
        "neighbours": config.neighbours,
        "kid_subsets": config.kid_subsets,
        "kid_subset_size": _kid_subset_size(measured),
        "inception_splits": config.inception_splits if judge.classes else None,
        "mode_share": config.mode_share if judge.classes else None,
        "memorisation_samples": min(config.memorisation_images, len(measured.samples)),
        "memorisation_held_out": min(config.memorisation_images, len(measured.test_images)),
        "features": judge.architecture.features,
        "extractor": f"judge, {judge.architecture.kind}",
        "extractor_checksum": judge.checksum,
        "data_checksum": judge.data_checksum,
    }


def _presentable(values: Metrics) -> Metrics:
    """The same with floats of a few digits, and None for what JSON cannot hold (NaN, infinity).

    Digits beyond these are rounding, which differs between libraries and machines: a file that is
    the same when the result is the same is worth more.
    """
    clean: Metrics = {}
    for key, value in values.items():
        if isinstance(value, dict):
            clean[key] = _presentable(value)
        elif isinstance(value, float):
            clean[key] = float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
        else:
            clean[key] = value
    return clean
