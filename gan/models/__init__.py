"""Generator and discriminator families, chosen by name.

A family is one module in this folder that defines `Generator(config, shape, alphabet)` and
`Discriminator(config, shape, alphabet)`; its file name is the name that `model.name` takes. `shape`
is that of one example: `(C, S, S)` of a square image, `(D,)` of a point, `(L,)` of a text.
`alphabet` says what symbols mean where examples are made of symbols, and is None where they are
numbers.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import cast

from gan.config import ModelConfig
from gan.models.base import Discriminator, Generator
from gan.symbols import Alphabet


def build_generator(
    config: ModelConfig, shape: Sequence[int], alphabet: Alphabet | None = None
) -> Generator:
    """A generator of `[B, *shape]`, or of logits of symbols, with freshly drawn weights.

    Args:
        config: of the networks.
        shape: of one example; of an image of symbols, that of the decoded image.
        alphabet: of examples that are made of symbols.

    Raises:
        ValueError: the family `config.name` has no network for examples of this shape, or none
            for this alphabet.
    """
    family = load_family(config.name)
    return cast(Generator, family.Generator(config, tuple(shape), alphabet))


def build_discriminator(
    config: ModelConfig, shape: Sequence[int], alphabet: Alphabet | None = None
) -> Discriminator:
    """A discriminator of `[B, *shape]` with freshly drawn weights; arguments as above.

    Images of symbols come to it as colours, texts as symbols; see `gan.models.base`.

    Raises:
        ValueError: the family `config.name` has no network for examples of this shape, or none
            for this alphabet.
    """
    family = load_family(config.name)
    return cast(Discriminator, family.Discriminator(config, tuple(shape), alphabet))


def load_family(name: str) -> ModuleType:
    """The module of the family that `model.name` names."""
    return importlib.import_module(f"{__name__}.{name}")
