"""Generator and discriminator families, chosen by name.

A family is one module in this folder that defines `Generator(config, channels, size)` and
`Discriminator(config, channels, size)`; its file name is the name that `model.name` takes.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import cast

from gan.config import ModelConfig
from gan.models.base import Discriminator, Generator


def build_generator(config: ModelConfig, channels: int, size: int) -> Generator:
    """A generator of `[B, channels, size, size]` images with freshly drawn weights."""
    return cast(Generator, _family(config.name).Generator(config, channels, size))


def build_discriminator(config: ModelConfig, channels: int, size: int) -> Discriminator:
    """A discriminator of `[B, channels, size, size]` images with freshly drawn weights."""
    return cast(Discriminator, _family(config.name).Discriminator(config, channels, size))


def _family(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
