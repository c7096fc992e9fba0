"""What the files of all judges have in common, and how one that holds no networks is read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from gan.errors import StateError
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
        build: raises KeyError, TypeError or ValueError where the content is not what it should be.

    Raises:
        StateError: the file is missing, damaged, another sort of judge, or of other data.
    """
    path = Path(path)
    description, tensors = read_tensors(path, kind=KIND, version=FORMAT_VERSION, device="cpu")
    try:
        kind = description["architecture"]["kind"]
        if kind != architecture:
            refuse(path, KIND, f"found the kind {kind!r}, expected {architecture!r} for {of}")
        content = build(description, tensors)
        found = description["data_checksum"]
    except (KeyError, TypeError, ValueError) as error:
        refuse(path, KIND, f"the file is damaged or foreign: {error}")
    check_data(path, of, found, data_checksum)
    return content


def check_data(path: Path, of: str, found: str, data_checksum: str) -> None:
    """Raise StateError unless the judge at `path` is `of` data with `data_checksum`."""
    if found != data_checksum:
        raise StateError(
            f"{path} is of {of} with the checksum {found}, but the prepared data has "
            f"{data_checksum}: run judge again"
        )


def checksum(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what a judge's file holds: judges that agree on it see the same."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
