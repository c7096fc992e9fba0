"""Generator and discriminator families, chosen by name.

A family is one module in this folder that defines `Generator(config, shape)` and
`Discriminator(config, shape)`; its file name is the name that `model.name` takes. `shape` is that
of one example: `(C, S, S)` of a square image, `(D,)` of a point.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import cast

from gan.config import ModelConfig
from gan.models.base import Discriminator, Generator


def build_generator(config: ModelConfig, shape: Sequence[int]) -> Generator:
    """A generator of `[B, *shape]` with freshly drawn weights.

    Raises:
        ValueError: the family `config.name` has no network for examples of this shape.
    """
    return cast(Generator, load_family(config.name).Generator(config, tuple(shape)))


def build_discriminator(config: ModelConfig, shape: Sequence[int]) -> Discriminator:
    """A discriminator of `[B, *shape]` with freshly drawn weights.

    Raises:
        ValueError: the family `config.name` has no network for examples of this shape.
    """
    return cast(Discriminator, load_family(config.name).Discriminator(config, tuple(shape)))


def load_family(name: str) -> ModuleType:
    """The module of the family that `model.name` names."""
    return importlib.import_module(f"{__name__}.{name}")
