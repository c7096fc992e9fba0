"""The judge of points: of a toy the density itself, of others points that were held out.

Nothing is fitted, for nothing need be: the features of a point are its coordinates. The file holds
the density, or the points, so that an evaluation asks it and nothing else.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan.config import JudgeConfig
from gan.data.meaning import columns_of, toy_of
from gan.data.prepared import Prepared
from gan.errors import shown
from gan.judges.file import FORMAT_VERSION, KIND, checksum, read_judge, tensor_of, whole
from gan.metrics.records import DensityReport, HeldOutReport
from gan.tensor_file import write_tensors
from gan.toys import Toy

ARCHITECTURE = "density"
MOST_DIMENSIONS = 2  # of a toy
FARTHEST = 1e6  # a mean from 0; densities of what is larger, or narrower, are no numbers
HELD_OUT = "held_out"
# Of the held-out points, a random part of more.
MAX_HELD_OUT = 50_000


@dataclass(frozen=True)
class HeldOut:
    """Points that no generator has seen.

    Attributes:
        points: fp32 `[N, D]`.
        checksum: of what the file holds.
    """

    points: Tensor
    checksum: str


def make(
    prepared: Prepared, config: JudgeConfig, path: Path, device: torch.device
) -> dict[str, Any]:
    """Write what points are judged by to `path`, and report on it.

    Raises:
        DataError: `prepared` holds no points, or is of no toy that is known.
    """
    if prepared.manifest.toy is None:
        return asdict(save_held_out_judge(prepared, path))
    return asdict(save_toy_judge(prepared, path))


def load(path: Path, prepared: Prepared, device: torch.device) -> Toy | HeldOut:
    """What `make` wrote of `prepared`; raises as `load_toy_judge`."""
    if prepared.manifest.toy is None:
        return load_held_out_judge(path, prepared.manifest.checksum)
    return load_toy_judge(path, prepared.manifest.checksum)


def save_toy_judge(prepared: Prepared, path: str | os.PathLike[str]) -> DensityReport:
    """Write the density of prepared points to `path` (safetensors), and report on it.

    Returns:
        `test_log_likelihood` is the mean of log p over the test split,
        `expected_log_likelihood` over the training split: of points of the density both estimate
        minus its entropy.

    Raises:
        DataError: the points are of no toy that is known.
    """
    toy = toy_of(prepared)
    tensors = {"means": toy.means, "groups": toy.groups}
    description = {
        "architecture": {"kind": ARCHITECTURE, "features": toy.dimensions},
        "toy": toy.name,
        "deviation": toy.deviation,
        "modes": toy.modes,
        "data_checksum": prepared.manifest.checksum,
    }
    write_tensors(path, tensors, kind=KIND, version=FORMAT_VERSION, description=description)
    of_test, of_train = (
        toy.log_density(torch.from_numpy(prepared.points(split))).mean().item()
        for split in ("test", "train")
    )
    return DensityReport(
        kind=ARCHITECTURE,
        toy=toy.name,
        features=toy.dimensions,
        components=len(toy.means),
        test_log_likelihood=of_test,
        expected_log_likelihood=of_train,
        checksum=checksum(description, tensors),
    )


def load_toy_judge(path: str | os.PathLike[str], data_checksum: str) -> Toy:
    """Load what `save_toy_judge` wrote.

    Args:
        path: the file.
        data_checksum: of the prepared points that samples are compared with.

    Raises:
        StateError: the file is missing, damaged, no judge of points, or of other data.
    """
    return read_judge(path, ARCHITECTURE, "points", data_checksum, _toy)


def save_held_out_judge(prepared: Prepared, path: str | os.PathLike[str]) -> HeldOutReport:
    """Write held-out points, at most `MAX_HELD_OUT`, to `path` (safetensors), and report.

    Raises:
        DataError: they are not points of a table.
    """
    columns_of(prepared)  # there are some
    points = prepared.points("test")
    chosen = np.random.default_rng(0).permutation(len(points))[:MAX_HELD_OUT]
    tensors = {"points": torch.from_numpy(np.array(points[np.sort(chosen)]))}
    description = {
        "architecture": {"kind": HELD_OUT, "features": points.shape[1]},
        "data_checksum": prepared.manifest.checksum,
    }
    write_tensors(path, tensors, kind=KIND, version=FORMAT_VERSION, description=description)
    return HeldOutReport(
        kind=HELD_OUT,
        features=points.shape[1],
        points=len(tensors["points"]),
        checksum=checksum(description, tensors),
    )


def load_held_out_judge(path: str | os.PathLike[str], data_checksum: str) -> HeldOut:
    """Load what `save_held_out_judge` wrote; arguments and what is raised as `load_toy_judge`."""
    return read_judge(path, HELD_OUT, "points", data_checksum, _held_out)


def _held_out(description: dict[str, Any], tensors: dict[str, Tensor]) -> HeldOut:
    points = tensor_of(tensors, "points", torch.float32, 2)
    width = whole(description["architecture"], "features", 1)
    if points.shape[1] != width or not len(points):
        raise ValueError(f"points are {list(points.shape)}: expected [N, {width}], N at least 1")
    if not torch.isfinite(points).all():
        raise ValueError("points hold NaN or infinity: expected finite numbers")
    # As it was written: what the file adds says nothing of the points.
    ours = {key: description[key] for key in ("architecture", "data_checksum")}
    return HeldOut(points, checksum(ours, tensors))


def _toy(description: dict[str, Any], tensors: dict[str, Tensor]) -> Toy:
    means = tensor_of(tensors, "means", torch.float64, 2)
    groups = tensor_of(tensors, "groups", torch.int64, 1)
    components, dimensions = means.shape
    if not 1 <= dimensions <= MOST_DIMENSIONS or len(groups) != components or not components:
        raise ValueError(
            f"means are {list(means.shape)} and groups {list(groups.shape)}: expected [K, D] and "
            f"[K], D 1 to {MOST_DIMENSIONS}"
        )
    if not (means.abs() <= FARTHEST).all():
        raise ValueError(f"means are not within ±{FARTHEST:g}")
    if groups.min() < 0 or groups.max() >= components:
        raise ValueError(f"groups are not 0 to {components - 1}")
    name, deviation, of_modes = (description[key] for key in ("toy", "deviation", "modes"))
    if not isinstance(name, str) or not isinstance(of_modes, bool):
        raise ValueError(
            f"toy is {shown(name)} and modes {shown(of_modes)}: expected a name, a bool"
        )
    if type(deviation) not in (int, float) or not 1 / FARTHEST <= deviation <= FARTHEST:
        raise ValueError(
            f"deviation is {shown(deviation)}: expected {1 / FARTHEST:g} to {FARTHEST:g}"
        )
    return Toy(name, means, float(deviation), groups, of_modes)
