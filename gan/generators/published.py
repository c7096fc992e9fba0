"""A generator as a file: safetensors with its configuration inside, loadable anywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from gan.config import ModelConfig, parse
from gan.errors import ConfigError
from gan.models import build_generator
from gan.models.base import Generator
from gan.symbols import Alphabet, alphabet_from_json
from gan.tensor_file import read_tensors, refuse, write_tensors

# Raised when a file of the version before can no longer be read as it is.
FORMAT_VERSION = 1
KIND = "generator"


def save_generator(
    generator: Generator, path: str | os.PathLike[str], *, provenance: dict[str, Any]
) -> None:
    """Write `generator` to `path`, whole or not at all. The same weights give the same bytes.

    Args:
        generator: any device; its parameters and buffers are written as they are.
        path: where to; by convention it ends in `.safetensors`.
        provenance: JSON values that say where the weights come from; given back in
            `generator.provenance` by `load_generator`.
    """
    write_tensors(
        path,
        generator.state_dict(),
        kind=KIND,
        version=FORMAT_VERSION,
        description={
            "model": generator.config.model_dump(),
            "shape": list(generator.shape),
            "provenance": provenance,
            # Not there where there is none: such files stay the same bytes as ever.
            **({} if generator.alphabet is None else {"alphabet": generator.alphabet.to_json()}),
        },
    )


def load_generator(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Generator:
    """Load a published generator.

    Returns:
        The generator in evaluation mode, its parameters frozen. `generator(latent)` takes
        `[B, latent_size]` and gives `[B, *generator.shape]`, images in [−1, 1], or, with
        `generator.alphabet`, logits of symbols; `generator.draw_latent` draws from its prior, and
        `gan.generators.sampling.generate` gives examples.

    Raises:
        StateError: the file is missing, damaged, not a generator of this project, of another
            version, or its tensors do not fit the configuration inside.
    """
    path = Path(path)
    description, tensors = read_tensors(path, kind=KIND, version=FORMAT_VERSION, device=device)
    try:
        model = parse(ModelConfig, description["model"], f"{path} (model)")
        with torch.device("meta"):
            generator = build_generator(model, _shape(description), _alphabet(description))
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        refuse(path, KIND, f"its configuration is not understood: {error}")
    expected = generator.state_dict()
    problems = [
        *(f"{name} is missing" for name in sorted(expected.keys() - tensors.keys())),
        *(f"{name} is not part of the model" for name in sorted(tensors.keys() - expected.keys())),
        *(
            f"{name} has shape {list(tensors[name].shape)}, expected {list(expected[name].shape)}"
            for name in sorted(tensors.keys() & expected.keys())
            if tensors[name].shape != expected[name].shape
        ),
    ]
    if problems:
        refuse(path, KIND, "its tensors do not fit its configuration: " + "; ".join(problems[:5]))
    generator.load_state_dict(tensors, assign=True)
    generator.provenance = description.get("provenance", {})
    return generator.eval().requires_grad_(False)


def _shape(description: dict[str, Any]) -> list[int]:
    """Of one example, out of a file's description."""
    if "shape" in description:
        shape: list[int] = description["shape"]
        return shape
    # Before there were generators of anything but images.
    return [description["channels"], description["size"], description["size"]]


def _alphabet(description: dict[str, Any]) -> Alphabet | None:
    """Of a generator of symbols, out of a file's description."""
    if "alphabet" not in description:
        return None
    return alphabet_from_json(description["alphabet"])
