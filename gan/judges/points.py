"""The judge of a toy: the density itself.

Nothing is fitted, for nothing need be: the features of a point are its coordinates, and what is
likely is known. The file holds the density, so that an evaluation asks it and nothing else.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan.config import JudgeConfig
from gan.data.meaning import toy_of
from gan.data.prepared import Prepared
from gan.errors import shown
from gan.judges.file import FORMAT_VERSION, KIND, checksum, read_judge, tensor_of
from gan.metrics.records import DensityReport
from gan.tensor_file import write_tensors
from gan.toys import Toy

ARCHITECTURE = "density"
MOST_DIMENSIONS = 2  # of a toy


def make(
    prepared: Prepared, config: JudgeConfig, path: Path, device: torch.device
) -> dict[str, Any]:
    """Write the density of `prepared` to `path`, and report on it; as `save_toy_judge`."""
    return asdict(save_toy_judge(prepared, path))


def load(path: Path, prepared: Prepared, device: torch.device) -> Toy:
    """The density at `path`, which `prepared` was drawn from; raises as `load_toy_judge`."""
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


def _toy(description: dict[str, Any], tensors: dict[str, Tensor]) -> Toy:
    means = tensor_of(tensors, "means", torch.float64, 2)
    groups = tensor_of(tensors, "groups", torch.int64, 1)
    components, dimensions = means.shape
    if not 1 <= dimensions <= MOST_DIMENSIONS or len(groups) != components or not components:
        raise ValueError(
            f"means are {list(means.shape)} and groups {list(groups.shape)}: expected [K, D] and "
            f"[K], D 1 to {MOST_DIMENSIONS}"
        )
    if not torch.isfinite(means).all():
        raise ValueError("means hold NaN or infinity: expected finite numbers")
    if groups.min() < 0 or groups.max() >= components:
        raise ValueError(f"groups are not 0 to {components - 1}")
    name, deviation, of_modes = (description[key] for key in ("toy", "deviation", "modes"))
    if not isinstance(name, str) or not isinstance(of_modes, bool):
        raise ValueError(
            f"toy is {shown(name)} and modes {shown(of_modes)}: expected a name, a bool"
        )
    if type(deviation) not in (int, float) or not 0 < deviation < math.inf:
        raise ValueError(f"deviation is {shown(deviation)}: expected a number above 0")
    return Toy(name, means, float(deviation), groups, of_modes)
