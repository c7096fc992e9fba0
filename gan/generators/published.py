"""A generator as a file: safetensors with its configuration inside, loadable anywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from gan.config import ModelConfig, parse
from gan.errors import ConfigError, StateError, reading, shown
from gan.models import build_generator
from gan.models.base import Generator
from gan.symbols import Alphabet, alphabet_from_json
from gan.tensor_file import check_weights, in_one_line, read_tensors, refuse, write_tensors

# Raised when a file of the version before can no longer be read as it is.
FORMAT_VERSION = 1
KIND = "generator"
# Of an example in any dimension; far more than any network here is for.
MOST_SIDE = 1 << 16


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
        `[B, latent_size]` or `[B, latent_size, 1, 1]` and gives `[B, *generator.shape]`, images in
        [−1, 1], or, with `generator.alphabet`, logits of symbols; `generator.draw_latent` draws
        from its prior, and `gan.generators.sampling.generate` gives examples.

    Raises:
        StateError: the file is missing, damaged, not a generator of this project, of another
            version, has a configuration that `params.yaml` could not have, or its tensors do not
            fit that or are not finite.
    """
    path = Path(path)
    description, tensors = read_tensors(path, kind=KIND, version=FORMAT_VERSION, device=device)
    with reading(path, "a generator with a configuration that is understood", StateError):
        try:
            # By the same rules as what `params.yaml` asks for, before anything is built.
            model = parse(ModelConfig, description["model"], f"{shown(path)} (model)")
        except ConfigError as error:
            refuse(path, KIND, f"its configuration is not understood: {in_one_line(error)}")
        with torch.device("meta"):
            generator = build_generator(model, _shape(description), _alphabet(description))
        provenance = description.get("provenance", {})
        if not isinstance(provenance, dict):
            raise TypeError(f"the provenance is {type(provenance).__name__}, no object")
        check_weights(path, KIND, generator.state_dict(), tensors)
        generator.load_state_dict(tensors, assign=True)
    generator.provenance = provenance
    return generator.eval().requires_grad_(False)


def _shape(description: dict[str, Any]) -> list[int]:
    """Of one example, out of a file's description."""
    if "shape" in description:
        shape = description["shape"]
    else:
        # Before there were generators of anything but images.
        shape = [description["channels"], description["size"], description["size"]]
    if not isinstance(shape, list) or not all(
        type(side) is int and 1 <= side <= MOST_SIDE for side in shape
    ):
        raise ValueError(f"shape is {shown(shape)}, expected a list of numbers 1 to {MOST_SIDE}")
    return shape


def _alphabet(description: dict[str, Any]) -> Alphabet | None:
    """Of a generator of symbols, out of a file's description."""
    if "alphabet" not in description:
        return None
    return alphabet_from_json(description["alphabet"])
