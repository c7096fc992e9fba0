"""Tensors and their description in one safetensors file: loads anywhere and runs no code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from gan.errors import ConfigError, StateError, reading, shown
from gan.files import write_bytes
from gan.json_file import parse_json

# What weights may be kept as.
WEIGHT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
SHOWN_PROBLEMS = 5


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

    What the description says is for the caller to check, inside `gan.errors.reading`, and what the
    tensors are by `check_weights`, where they are weights.

    Raises:
        StateError: the file is missing, damaged, of another kind or of another version.
    """
    key = metadata_key(kind)
    with reading(path, f"a safetensors file of the kind {kind}", StateError):
        if not path.is_file():
            refuse(path, kind, "there is no such file")
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            if key not in metadata:
                refuse(path, kind, f"a safetensors file, but without the metadata key {key}")
            description = parse_json(metadata[key])
            if not isinstance(description, dict):
                raise TypeError(f"its description is {type(description).__name__}, no object")
            found = description["version"]
            if found != version:
                refuse(path, kind, f"its format version is {shown(found)}, expected {version}")
            return description, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def check_weights(
    path: Path, kind: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    """Raise StateError unless `found` can be the weights of a network; names those that cannot.

    Args:
        path: of the file, for the message.
        kind: what it is, for the message.
        expected: the state of the network, on the meta device for example.
        found: what the file holds: of the same names and shapes, whole numbers where these are
            expected and one floating type elsewhere, all finite, and no variance below zero.
    """
    problems = [
        *(f"{shown(name)} is missing" for name in sorted(expected.keys() - found.keys())),
        *(
            f"{shown(name)} is not part of the model"
            for name in sorted(found.keys() - expected.keys())
        ),
    ]
    floating = {each.dtype for each in found.values() if each.is_floating_point()}
    for name in sorted(found.keys() & expected.keys()):  # known ones: they need no escapes
        one, other = found[name], expected[name]
        if one.shape != other.shape:
            problems.append(f"{name} has shape {list(one.shape)}, expected {list(other.shape)}")
        elif other.is_floating_point():
            if one.dtype not in WEIGHT_DTYPES or len(floating) > 1:
                problems.append(f"{name} has dtype {one.dtype}, expected one floating type for all")
        elif one.dtype != other.dtype:
            problems.append(f"{name} has dtype {one.dtype}, expected {other.dtype}")
    if problems:
        reason = "; ".join(problems[:SHOWN_PROBLEMS])
        refuse(path, kind, f"its tensors do not fit its configuration: {reason}")
    for name in sorted(found):
        if not torch.isfinite(found[name]).all():
            problems.append(f"{name} holds NaN or infinity, expected finite numbers")
        elif name.endswith("running_var") and (found[name] < 0).any():
            problems.append(f"{name} holds a variance below zero")
    if problems:
        refuse(path, kind, "its weights are of no use: " + "; ".join(problems[:SHOWN_PROBLEMS]))


def in_one_line(error: ConfigError) -> str:
    """The errors of a configuration that stands in a file, of which they are one reason."""
    lines = str(error).splitlines()
    return "; ".join(shown(line.strip()) for line in lines[: 1 + SHOWN_PROBLEMS])


def refuse(path: Path, kind: str, reason: str) -> NoReturn:
    """Raise the StateError that says why the file at `path` is not used."""
    raise StateError(f"{shown(path)} is not a {kind} that can be loaded: {reason}")
