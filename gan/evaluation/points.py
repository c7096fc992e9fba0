"""Samples of a toy against its density: what the evaluation of points says.

Of points of no known density `gan.evaluation.held_out_points` says it.

Each measure stands beside its **floor**: the mean, over several draws, of the same measure for as
many points drawn from the density itself.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan.config import EvaluateConfig
from gan.data.limits import in_words, left_out
from gan.data.prepared import Prepared
from gan.errors import UserError
from gan.evaluation import held_out_points
from gan.evaluation.found import Evaluation, Table
from gan.evaluation.neural_divergences import with_floor
from gan.judges.points import HeldOut
from gan.metrics.as_json import as_json
from gan.metrics.divergences import Boxes, divergences, make_boxes, modes, wasserstein_1
from gan.metrics.records import Drawn, ModeMetrics, PointMetrics, PointProtocol, Scattered
from gan.pixels import Points
from gan.runtime import stream_seed
from gan.toys import Toy

# Raised when a name or the meaning of a value changes.
FORMAT_VERSION = 1
FLOOR_DRAWS = 5

_log = logging.getLogger(__name__)


def evaluate(
    samples: Points,
    prepared: Prepared,
    toy: Toy | HeldOut,
    config: EvaluateConfig,
    *,
    seed: int,
    progress: bool = True,
) -> Evaluation:
    """Judge `samples` by the density of `toy`. The same input gives the same result.

    Args:
        samples: fp32 `[N, D]`, drawn independently of each other.
        prepared: the data that the generator was trained on, for its checksum and names.
        toy: what they should be like: the density, or points that were held out.
        config: `mode_share` and what concerns neural divergences are used.
        seed: of the points that the floor and the Wasserstein distance are taken from.
        progress: there is no bar.

    Returns:
        With the metrics `modes` for toys of modes only.

    Raises:
        UserError: another shape or dtype, no samples, or values that are not finite.
    """
    if isinstance(toy, HeldOut):
        return held_out_points.evaluate(samples, prepared, toy, config, seed=seed)
    if samples.ndim != 2 or samples.shape[1] != toy.dimensions:
        raise UserError(
            f"samples are {samples.dtype} {list(samples.shape)}: expected floating point "
            f"[N, {toy.dimensions}] for {toy.name}"
        )
    boxes = make_boxes(toy)
    draws = [_draw(toy, len(samples), seed, f"draw {index}") for index in range(FLOOR_DRAWS + 1)]
    measure = _measure(boxes, draws[0], config)
    found = measure(torch.from_numpy(samples))
    floors = [measure(draw) for draw in draws[1:]]
    rows = {
        name: Drawn(
            value=found[name],
            floor=statistics.fmean(floor[name] for floor in floors),
            floor_deviation=statistics.pstdev(floor[name] for floor in floors),
        )
        for name in found
    }
    missing = left_out(
        config,
        "points",
        samples=len(samples),
        train=len(prepared.points("train")),
        test=len(prepared.points("test")),
    )
    for line in in_words(missing):
        _log.warning("%s", line)
    neural = config.neural_steps > 0 and "neural_divergences" not in missing
    metrics = PointMetrics(
        **rows,
        modes=_modes(samples, toy, config),
        neural_divergences=_neural(samples, draws, config, seed) if neural else None,
        left_out=missing or None,
        protocol=PointProtocol(
            format=FORMAT_VERSION,
            seed=seed,
            samples=len(samples),
            toy=toy.name,
            boxes=len(boxes.log_mass),
            floor_draws=FLOOR_DRAWS,
            mode_share=config.mode_share,
            extractor="the density itself",
            data_checksum=prepared.manifest.checksum,
        ),
    )
    shown: dict[str, npt.NDArray[np.generic]] = {}
    tables: dict[str, Table] = {}
    if prepared.label_names:
        shares = mode_shares(samples, toy)
        shown = {f"shares.{name}": np.array(values) for name, values in shares.items()}
        tables["classes"] = {"class": prepared.label_names, **shares}
    return Evaluation(as_json(metrics), _summary(metrics), shown, tables)


def _summary(metrics: PointMetrics) -> str:
    shannon, modes = metrics.jensen_shannon, metrics.modes
    parts = [
        f"Jensen–Shannon divergence {shannon.value:.3f} (real against real {shannon.floor:.3f})",
        f"{metrics.good_share.value:.1%} good samples",
    ]
    if modes is not None:
        parts.append(f"{modes.hit} of {modes.count} modes")
    return ", ".join(parts)


def _modes(samples: Points, toy: Toy, config: EvaluateConfig) -> ModeMetrics | None:
    """Of toys of modes, those that are hit."""
    if not toy.modes:
        return None
    where = modes(torch.from_numpy(samples), toy, config.mode_share)
    return ModeMetrics(
        count=len(where.shares),
        hit=where.hit,
        smallest_share=min(where.shares),
        largest_share=max(where.shares),
    )


def _neural(
    samples: Points, draws: Sequence[Tensor], config: EvaluateConfig, seed: int
) -> dict[str, Scattered]:
    held_out, training = (draw.float().numpy() for draw in draws[:2])
    return with_floor(
        samples,
        held_out,
        training,
        steps=config.neural_steps,
        seeds=config.neural_seeds,
        seed=stream_seed(seed, "neural divergences"),
        device=torch.device("cpu"),
        progress=False,
    )


def mode_shares(samples: Points, toy: Toy) -> dict[str, list[float]]:
    """Shares of the modes or arms among good "samples", and what they should be, as "data"."""
    of_data = torch.bincount(toy.groups).double() / len(toy.groups)
    return {
        "samples": modes(torch.from_numpy(samples), toy, 0.0).shares,
        "data": of_data.tolist(),
    }


def _draw(toy: Toy, count: int, seed: int, stream: str) -> Tensor:
    rng = torch.Generator().manual_seed(stream_seed(seed, f"evaluate toy {stream}"))
    return toy.sample(count, rng)[0]


def _measure(
    boxes: Boxes, reference: Tensor, config: EvaluateConfig
) -> Callable[[Tensor], dict[str, float]]:
    def measure(points: Tensor) -> dict[str, float]:
        found = divergences(points, boxes)
        return {
            "jensen_shannon": found.jensen_shannon,
            "kl": found.kl,
            "reverse_kl": found.reverse_kl,
            "wasserstein_1": wasserstein_1(points, reference),
            "good_share": modes(points, boxes.toy, config.mode_share).good_share,
        }

    return measure
