"""The judge of a toy: the density itself.

Nothing is fitted, for nothing need be: the features of a point are its coordinates, and what is
likely is known. The file holds the density, so that an evaluation asks it and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch

from gan.data.prepared import Prepared
from gan.errors import StateError
from gan.tensor_file import read_tensors, refuse, write_tensors
from gan.toys import Toy, toy_of

# As the judge of images, so that either is told from the other by what is inside.
KIND = "judge"
FORMAT_VERSION = 1
ARCHITECTURE = "density"


def save_toy_judge(prepared: Prepared, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Write the density of prepared points to `path` (safetensors), and report on it.

    Returns:
        JSON values. `test_log_likelihood` is the mean of log p over the test split,
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
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].numpy().tobytes())
    of_test, of_train = (
        toy.log_density(torch.from_numpy(prepared.points(split))).mean().item()
        for split in ("test", "train")
    )
    return {
        "kind": ARCHITECTURE,
        "toy": toy.name,
        "features": toy.dimensions,
        "components": len(toy.means),
        "test_log_likelihood": of_test,
        "expected_log_likelihood": of_train,
        "checksum": digest.hexdigest(),
    }


def load_toy_judge(path: str | os.PathLike[str], data_checksum: str) -> Toy:
    """Load what `save_toy_judge` wrote.

    Args:
        path: the file.
        data_checksum: of the prepared points that samples are compared with.

    Raises:
        StateError: the file is missing, damaged, no judge of a toy, or of other data.
    """
    path = Path(path)
    description, tensors = read_tensors(path, kind=KIND, version=FORMAT_VERSION, device="cpu")
    try:
        kind = description["architecture"]["kind"]
        if kind != ARCHITECTURE:
            refuse(path, KIND, f"found the kind {kind!r}, expected {ARCHITECTURE!r} for points")
        toy = Toy(
            name=description["toy"],
            means=tensors["means"],
            deviation=float(description["deviation"]),
            groups=tensors["groups"],
            modes=bool(description["modes"]),
        )
        found = description["data_checksum"]
    except (KeyError, TypeError, ValueError) as error:
        refuse(path, KIND, f"the file is damaged or foreign: {error}")
    if found != data_checksum:
        raise StateError(
            f"{path} is the density of data with the checksum {found}, but the prepared data has "
            f"{data_checksum}: run judge again"
        )
    return toy
