"""Arrays by name in one file, from one stage to another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gan.errors import StateError, reading
from gan.tensor_file import read_tensors, write_tensors

KIND = "arrays"
FORMAT_VERSION = 1


def write_arrays(arrays: Mapping[str, npt.NDArray[Any]], path: str | os.PathLike[str]) -> None:
    """Write `arrays` to `path` (safetensors), whole or not at all. The same give the same bytes."""
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
    write_tensors(path, tensors, kind=KIND, version=FORMAT_VERSION, description={})


def read_arrays(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """What `write_arrays` wrote.

    Raises:
        StateError: the file is missing, damaged, or holds something else.
    """
    path = Path(path)
    _, tensors = read_tensors(path, kind=KIND, version=FORMAT_VERSION, device="cpu")
    with reading(path, "a file of arrays", StateError):  # numpy does not have all that torch has
        return {name: values.numpy() for name, values in tensors.items()}
