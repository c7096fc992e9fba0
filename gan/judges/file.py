"""What the files of all judges have in common, and how one that holds no networks is read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from gan.errors import StateError, reading, shown
from gan.tensor_file import read_tensors, refuse

# One kind: what sort of judge it is, `architecture.kind` in the description says.
KIND = "judge"
# Raised when a file of the version before can no longer be read as it is.
FORMAT_VERSION = 1

Content = TypeVar("Content")


def read_judge(
    path: str | os.PathLike[str],
    architecture: str,
    of: str,
    data_checksum: str,
    build: Callable[[dict[str, Any], dict[str, Tensor]], Content],
) -> Content:
    """What `build` makes of the description and the tensors of the judge at `path`.

    Args:
        path: the file.
        architecture: the sort of judge that is expected.
        of: what it judges, for messages: `texts` for example.
        data_checksum: of the prepared data that samples are compared with.
        build: raises whatever it likes where the content is not what it should be.

    Raises:
        StateError: the file is missing, damaged, another sort of judge, or of other data.
    """
    path = Path(path)
    description, tensors = read_tensors(path, kind=KIND, version=FORMAT_VERSION, device="cpu")
    with reading(path, f"a judge of {of}", StateError):
        kind = description["architecture"]["kind"]
        if kind != architecture:
            found = shown(repr(kind))
            refuse(path, KIND, f"found the kind {found}, expected {architecture!r} for {of}")
        content = build(description, tensors)
        check_data(path, of, description["data_checksum"], data_checksum)
        return content


def tensor_of(tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype, ndim: int) -> Tensor:
    """The tensor `name` of a judge's file.

    Raises:
        ValueError: it is missing, of another dtype, or has another number of dimensions.
    """
    if name not in tensors:
        raise ValueError(f"the tensor {name} is missing")
    tensor = tensors[name]
    if tensor.dtype != dtype or tensor.ndim != ndim:
        raise ValueError(
            f"{name} is {tensor.dtype} {list(tensor.shape)}: expected {dtype} in {ndim} dimensions"
        )
    return tensor


def whole(description: Mapping[str, Any], key: str, least: int, most: int = 1 << 31) -> int:
    """The whole number `key` of a description.

    Raises:
        KeyError: it is missing.
        ValueError: it is none from `least` to `most`.
    """
    found = description[key]
    if type(found) is not int or not least <= found <= most:
        raise ValueError(f"{key} is {shown(found)}: expected a whole number {least} to {most}")
    return found


def check_data(path: Path, of: str, found: object, data_checksum: str) -> None:
    """Raise StateError unless the judge at `path` is `of` data with `data_checksum`."""
    if found != data_checksum:
        raise StateError(
            f"{shown(path)} is of {of} with the checksum {shown(found)}, but the prepared data has "
            f"{shown(data_checksum)}: run judge again"
        )


def checksum(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what a judge's file holds: judges that agree on it see the same."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
