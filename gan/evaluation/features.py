"""Samples and data as a judge sees them: what every metric of images is computed from.

Memory: the samples and the test split as fp32 features, a part of the training split. The training
split itself passes as a stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from gan.config import EvaluateConfig
from gan.data.limits import left_out
from gan.data.prepared import Prepared
from gan.errors import UserError
from gan.judges.images import Judge
from gan.metrics.classes import class_shares
from gan.metrics.moments import Moments, MomentsStream
from gan.pixels import Images
from gan.runtime import stream_seed

BLOCK = 8192  # images of a stream at once


@dataclass(frozen=True)
class Classes:
    """What the judge says about classes, where there are any."""

    names: list[str]
    sample_probabilities: Tensor  # [N, K]
    test_probabilities: Tensor
    train_shares: Tensor  # [K], by the labels of the data
    test_labels: Tensor  # [N] int64

    @property
    def sample_shares(self) -> Tensor:
        """Share of each class among the samples, `[K]`."""
        return class_shares(self.sample_probabilities.argmax(1), len(self.names))


@dataclass(frozen=True)
class Measured:
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
    classes: Classes | None
    left_out: Mapping[str, str]  # metrics that so few images do not allow, and why not

    def seed_of(self, stream: str) -> int:
        """The seed of one stream of random numbers of the evaluation."""
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


def measure(
    samples: Images,
    prepared: Prepared,
    judge: Judge,
    config: EvaluateConfig,
    seed: int,
    progress: bool,
) -> Measured:
    """What `gan.evaluation.images` computes its metrics from; arguments and errors as there."""
    if judge.data_checksum != prepared.manifest.checksum:
        raise UserError(
            f"the judge was fitted on data with the checksum {judge.data_checksum}, but the "
            f"prepared data has {prepared.manifest.checksum}: run judge again"
        )
    train, test = prepared.images("train"), prepared.images("test")
    for name, images in (("samples", samples), ("training images", train), ("test images", test)):
        if not len(images):
            raise UserError(f"there are no {name}: an evaluation needs some")
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
    labels, test_labels = prepared.labels("train"), prepared.labels("test")
    classes = None
    if (
        sample_probabilities is not None
        and test_probabilities is not None
        and labels is not None
        and test_labels is not None
    ):
        classes = Classes(
            names=judge.label_names or [str(index) for index in range(judge.classes)],
            sample_probabilities=sample_probabilities,
            test_probabilities=test_probabilities,
            train_shares=class_shares(torch.from_numpy(labels), judge.classes),
            test_labels=torch.from_numpy(np.array(test_labels)),
        )
    # In random order, so that any first n of them are a random part too.
    train_features = torch.cat(parts)[torch.from_numpy(rng.permutation(len(kept)))]
    rng = np.random.default_rng(stream_seed(seed, "evaluate test features"))
    return Measured(
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
        left_out=left_out(config, "images", samples=len(samples), train=len(train), test=len(test)),
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
