"""Samples of points against points that were held out, where the density is not known.

Everything is measured between as many points on either side, and beside its **floor**: the mean,
over several draws, of the same measure for training points in place of the samples. Coordinates are
standardised, so that no unit of a column outweighs another.
"""

from __future__ import annotations

import logging
import statistics
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import torch

from gan.config import EvaluateConfig
from gan.data.limits import FEWEST_FOR_NEURAL
from gan.data.meaning import columns_of, in_units
from gan.data.prepared import Prepared
from gan.errors import UserError
from gan.evaluation.found import Evaluation, Table
from gan.evaluation.neural_divergences import with_floor
from gan.judges.points import HeldOut
from gan.metrics.as_json import as_json
from gan.metrics.divergences import wasserstein_1
from gan.metrics.precision_recall import precision_recall
from gan.metrics.records import Drawn, HeldOutPointMetrics, HeldOutPointProtocol
from gan.pixels import Points
from gan.runtime import stream_seed

# Raised when a name or the meaning of a value changes.
FORMAT_VERSION = 1
FLOOR_DRAWS = 5

_SUMMARISED = {
    "wasserstein_1": "Wasserstein distance", "precision": "precision", "recall": "recall",
}  # fmt: skip

_log = logging.getLogger(__name__)


def evaluate(
    samples: Points,
    prepared: Prepared,
    held_out: HeldOut,
    config: EvaluateConfig,
    *,
    seed: int,
) -> Evaluation:
    """Judge `samples` by points that were held out. The same input gives the same result.

    What so few points do not allow is left out, with a warning.

    Args:
        samples: fp32 `[N, D]`, drawn independently of each other.
        prepared: the data that the generator was trained on.
        held_out: of the same data.
        config: `neighbours`, `precision_images` and what concerns neural divergences are used.
        seed: of the training points that the floor is taken from.

    Raises:
        UserError: another shape or dtype, no samples, or values that are not finite.
    """
    columns = columns_of(prepared)
    if samples.ndim != 2 or samples.shape[1] != len(columns):
        raise UserError(
            f"samples are {samples.dtype} {list(samples.shape)}: expected floating point "
            f"[N, {len(columns)}]"
        )
    reference, training = held_out.points.numpy(), prepared.points("train")
    count = min(len(samples), len(reference), len(training), config.precision_images)
    if not count:
        raise UserError(
            f"there are {len(samples)} samples, {len(reference)} held-out points and "
            f"{len(training)} training points: expected some of each"
        )
    for measures, fewest in (
        ("precision, recall, density and coverage", config.neighbours + 1),
        ("neural divergences", FEWEST_FOR_NEURAL if config.neural_steps else 0),
    ):
        if count < fewest:
            _log.warning(
                "the evaluation leaves out %s: they take %d points, and there are %d samples, %d "
                "held-out points and %d training points",
                measures, fewest, len(samples), len(reference), len(training),
            )  # fmt: skip
    rng = np.random.default_rng(stream_seed(seed, "evaluate held-out points"))
    reference = _some(reference, count, rng)
    found = _measure(samples[:count], reference, config)
    floors = [_measure(_some(training, count, rng), reference, config) for _ in range(FLOOR_DRAWS)]
    rows = {
        name: Drawn(
            value=value,
            floor=statistics.fmean(floor[name] for floor in floors),
            floor_deviation=statistics.pstdev(floor[name] for floor in floors),
        )
        for name, value in found.items()
    }
    metrics = HeldOutPointMetrics(
        **rows,
        neural_divergences=with_floor(
            samples,
            reference,
            training,
            steps=config.neural_steps,
            seeds=config.neural_seeds,
            seed=stream_seed(seed, "neural divergences"),
            device=torch.device("cpu"),
            progress=False,
        )
        if config.neural_steps and count >= FEWEST_FOR_NEURAL
        else None,
        protocol=HeldOutPointProtocol(
            format=FORMAT_VERSION,
            seed=seed,
            samples=len(samples),
            columns=len(columns),
            floor_count=count,
            floor_draws=FLOOR_DRAWS,
            neighbours=config.neighbours,
            extractor="held-out points",
            extractor_checksum=held_out.checksum,
            data_checksum=prepared.manifest.checksum,
        ),
    )
    summary = ", ".join(
        f"{_SUMMARISED[name]} {row.value:.3f} (real against real {row.floor:.3f})"
        for name, row in rows.items()
        if name in _SUMMARISED
    )
    tables = {"columns": _columns(samples, prepared)}
    return Evaluation(as_json(metrics), summary, {}, tables)


def _columns(samples: Points, prepared: Prepared) -> Table:
    """Mean and deviation of each column in its own units, of the data and of the samples."""
    columns = columns_of(prepared)
    values = in_units(samples, columns)
    return {
        "column": [column.name for column in columns],
        "mean of data": [column.mean for column in columns],
        "mean of samples": values.mean(0).tolist(),
        "deviation of data": in_units(prepared.points("train"), columns).std(0).tolist(),
        "deviation of samples": values.std(0).tolist(),
    }


def _some(points: Points, count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    chosen = np.sort(rng.permutation(len(points))[:count])
    return np.asarray(points[chosen], np.float32)


def _measure(points: Points, reference: Points, config: EvaluateConfig) -> dict[str, float]:
    ours, theirs = torch.from_numpy(np.array(points)), torch.from_numpy(reference)
    found = {"wasserstein_1": wasserstein_1(ours, theirs)}
    if len(ours) > config.neighbours:
        found |= asdict(precision_recall(theirs, ours, config.neighbours))
    return found
