"""Tensors and their description in one safetensors file: loads anywhere and runs no code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gan.errors import StateError
from gan.files import write_bytes


def metadata_key(kind: str) -> str:
    """The one metadata key that holds the description, as JSON.

    One, because safetensors writes several in an order that changes from save to save, and the
    same content must give the same bytes.
    """
    return f"fusedgan.{kind}"


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    *,
    kind: str,
    version: int,
    description: Mapping[str, Any],
) -> None:
    """Write `tensors` to `path`, whole or not at all. The same content gives the same bytes.

    Args:
        path: where to; by convention it ends in `.safetensors`.
        tensors: on any device and of any strides.
        kind: what it is, `generator` for example.
        version: of the description's format.
        description: JSON values.
    """
    # Plain strides in the file, whatever memory format the weights have while they are used.
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps({"version": version, **description}, sort_keys=True)
    write_bytes(path, save(plain, metadata={metadata_key(kind): text}))


def read_tensors(
    path: Path, *, kind: str, version: int, device: torch.device | str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors, on `device`, that `write_tensors` wrote.

    Raises:
        StateError: the file is missing, damaged, of another kind or of another version.
    """
    if not path.is_file():
        refuse(path, kind, "there is no such file")
    key = metadata_key(kind)
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            if key not in metadata:
                refuse(path, kind, f"a safetensors file, but without the metadata key {key}")
            description = json.loads(metadata[key])
            if description["version"] != version:
                refuse(
                    path,
                    kind,
                    f"its format version is {description['version']}, expected {version}",
                )
            return description, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError) as error:
        refuse(path, kind, f"the file is damaged or foreign: {error}")


def refuse(path: Path, kind: str, reason: str) -> NoReturn:
    """Raise the StateError that says why the file at `path` is not used."""
    raise StateError(f"{path} is not a {kind} that can be loaded: {reason}")
