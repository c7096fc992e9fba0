"""What stands in the metrics files, as typed records: the one home of their keys.

A record becomes JSON by `gan.metrics.as_json`. A field marked `LEFT_OUT` is left out of the file
where it is None; any other None stands there as `null`, since the measure exists and has no value.
Units: divergences, entropies and losses in nats, shares from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# Marks a field that is left out of a file where it is None: the measure does not exist there.
LEFT_OUT: Final = {"left out where it is None": True}


@dataclass(frozen=True)
class Scattered:
    """A value and its floor, both with a deviation: KID, neural divergences."""

    value: float
    deviation: float
    floor: float
    floor_deviation: float


@dataclass(frozen=True)
class Drawn:
    """A value, and the mean and deviation of its floor over several draws."""

    value: float
    floor: float
    floor_deviation: float


@dataclass(frozen=True)
class Floored:
    """A value and its floor."""

    value: float
    floor: float


# --- images --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frechet:
    """The Fréchet distance, see `gan.metrics.frechet_distance`."""

    value: float
    infinity: float | None
    floor: float
    at_floor_count: float
    at_floor_count_deviation: float
    ratio_to_floor: float | None


@dataclass(frozen=True)
class Matched:
    """A value, its floor, and the value of as many samples as the floor has images."""

    value: float
    floor: float
    at_floor_count: float


@dataclass(frozen=True)
class Inception:
    """The inception score, see `gan.metrics.inception_score`."""

    value: float
    deviation: float
    floor: float


@dataclass(frozen=True)
class ClassMetrics:
    """What the judge takes the samples for, see `gan.metrics.classes`."""

    count: int
    covered: int
    smallest_share: float
    largest_share: float
    entropy: float
    entropy_of_training: float
    kl_to_training: float
    share: Mapping[str, float]


@dataclass(frozen=True)
class ImageMemorisation:
    """Whether samples are copies, see `gan.metrics.memorisation`."""

    distance: float
    distance_of_held_out: float
    share_below_held_out_median: float
    share_below_held_out_5th_percentile: float
    share_nearer_to_training: float
    share_nearer_to_training_expected: float
    share_nearer_to_training_deviation: float
    copies: float
    copies_in_held_out: float


@dataclass(frozen=True)
class ImageProtocol:
    """How the numbers of images came about."""

    format: int
    seed: int
    samples: int
    training_images: int
    test_images: int
    floor_count: int
    precision_count: int
    precision_floor_count: int
    neighbours: int
    kid_subsets: int
    kid_subset_size: int
    inception_splits: int | None
    mode_share: float | None
    memorisation_samples: int
    memorisation_held_out: int
    features: int
    extractor: str
    extractor_checksum: str
    data_checksum: str


@dataclass(frozen=True)
class ImageMetrics:
    """`metrics/evaluate.json` of images."""

    memorisation: ImageMemorisation
    protocol: ImageProtocol
    fd: Frechet | None = field(default=None, metadata=LEFT_OUT)
    kid: Scattered | None = field(default=None, metadata=LEFT_OUT)
    precision: Matched | None = field(default=None, metadata=LEFT_OUT)
    recall: Matched | None = field(default=None, metadata=LEFT_OUT)
    density: Matched | None = field(default=None, metadata=LEFT_OUT)
    coverage: Matched | None = field(default=None, metadata=LEFT_OUT)
    inception_score: Inception | None = field(default=None, metadata=LEFT_OUT)
    classes: ClassMetrics | None = field(default=None, metadata=LEFT_OUT)
    neural_divergences: Mapping[str, Scattered] | None = field(default=None, metadata=LEFT_OUT)
    # Keys above to why they are not there, or null, see `gan.data.limits.left_out`.
    left_out: Mapping[str, str] | None = field(default=None, metadata=LEFT_OUT)
    # Why little can be read from what is measured in the judge's features.
    poor_judge: str | None = field(default=None, metadata=LEFT_OUT)


# --- points --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModeMetrics:
    """Modes hit by good samples, see `gan.metrics.divergences.modes`."""

    count: int
    hit: int
    smallest_share: float
    largest_share: float


@dataclass(frozen=True)
class PointProtocol:
    """How the numbers of points came about."""

    format: int
    seed: int
    samples: int
    toy: str
    boxes: int
    floor_draws: int
    mode_share: float
    extractor: str
    data_checksum: str


@dataclass(frozen=True)
class PointMetrics:
    """`metrics/evaluate.json` of points whose density is known."""

    jensen_shannon: Drawn
    kl: Drawn
    reverse_kl: Drawn
    wasserstein_1: Drawn
    good_share: Drawn
    protocol: PointProtocol
    modes: ModeMetrics | None = field(default=None, metadata=LEFT_OUT)
    neural_divergences: Mapping[str, Scattered] | None = field(default=None, metadata=LEFT_OUT)
    left_out: Mapping[str, str] | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class HeldOutPointProtocol:
    """How the numbers of points of no known density came about."""

    format: int
    seed: int
    samples: int
    columns: int
    floor_count: int
    floor_draws: int
    neighbours: int
    extractor: str
    extractor_checksum: str
    data_checksum: str


@dataclass(frozen=True)
class HeldOutPointMetrics:
    """`metrics/evaluate.json` of points of no known density."""

    wasserstein_1: Drawn
    protocol: HeldOutPointProtocol
    precision: Drawn | None = field(default=None, metadata=LEFT_OUT)
    recall: Drawn | None = field(default=None, metadata=LEFT_OUT)
    density: Drawn | None = field(default=None, metadata=LEFT_OUT)
    coverage: Drawn | None = field(default=None, metadata=LEFT_OUT)
    neural_divergences: Mapping[str, Scattered] | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class HeldOutReport:
    """`metrics/judge.json` of points of no known density."""

    kind: str
    features: int
    points: int
    checksum: str


@dataclass(frozen=True)
class DensityReport:
    """`metrics/judge.json` of points whose density is known."""

    kind: str
    toy: str
    features: int
    components: int
    test_log_likelihood: float
    expected_log_likelihood: float
    checksum: str


# --- texts ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class NgramMetrics:
    """The divergence of n-grams of one length; NaN where no text is as long."""

    value: float
    at_floor_count: float
    floor: float
    shuffled: float
    ratio_to_floor: float | None


@dataclass(frozen=True)
class KnownWords:
    """Share of the words that are known; NaN where there are no words."""

    value: float
    shuffled: float
    floor: float | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class WordMetrics:
    """Words of the samples that are words of real texts, and how many there are in a text."""

    in_held_out: KnownWords
    in_training: KnownWords
    in_either: KnownWords
    a_text: Floored


@dataclass(frozen=True)
class Copies:
    """Share of samples, and of held-out texts, that stand in training texts."""

    value: float
    held_out: float
    repeated: float | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class TextMemorisation:
    """Whether samples are copies, whole or in long runs."""

    copies: Copies
    long_runs: Copies


@dataclass(frozen=True)
class TextProtocol:
    """How the numbers of texts came about."""

    format: int
    seed: int
    samples: int
    training_texts: int
    test_texts: int
    judged_texts: int
    floor_count: int
    length: int
    alphabet: int
    longest_ngrams: int
    memorisation_samples: int
    memorisation_held_out: int
    memorisation_run: int
    extractor: str
    extractor_checksum: str
    data_checksum: str


@dataclass(frozen=True)
class TextMetrics:
    """`metrics/evaluate.json` of texts; n is the key of n-grams, `texts` that of whole ones."""

    jensen_shannon: Mapping[str, NgramMetrics]
    words: WordMetrics
    distinct: Mapping[str, Floored]
    memorisation: TextMemorisation
    protocol: TextProtocol


@dataclass(frozen=True)
class RealNgrams:
    """Divergences of real and of shuffled texts; NaN where no text is as long."""

    floor: float
    shuffled: float


@dataclass(frozen=True)
class WordCounts:
    """How many different words there are."""

    held_out: int
    training: int
    both: int


@dataclass(frozen=True)
class TextReport:
    """`metrics/judge.json` of texts."""

    kind: str
    alphabet: int
    length: int
    held_out_texts: int
    floor_texts: int
    words: WordCounts
    jensen_shannon: Mapping[str, RealNgrams]
    checksum: str


# --- labels --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ErrorRates:
    """Shares of wrong predictions."""

    value: float
    judge: float
    most_frequent_class: float


@dataclass(frozen=True)
class LabelProtocol:
    """How the numbers of a classifier came about."""

    format: int
    test_images: int
    classes: int
    judge_checksum: str
    data_checksum: str


@dataclass(frozen=True)
class LabelMetrics:
    """`metrics/evaluate.json` of a classifier."""

    error: ErrorRates
    log_loss: float
    entropy: float
    classes: Mapping[str, float | None]
    protocol: LabelProtocol
    poor_judge: str | None = field(default=None, metadata=LEFT_OUT)
