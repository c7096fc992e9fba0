"""Train, compare and trust generative adversarial networks.

`gan.load_generator(path)` gives a trained generator back in any program, and `gan.generate` draws
from it. `dir(gan)` shows what else is here by name; the rest is in the packages, whose `__init__`
says what is public. Nothing heavy happens on `import gan`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` finds, for type checkers
    from gan.config import Config as Config
    from gan.data import open_prepared as open_prepared
    from gan.generators import generate as generate
    from gan.generators import load_generator as load_generator
    from gan.generators import predict as predict
    from gan.training import Trainer as Trainer

_HOMES = {
    "Config": "gan.config",
    "Trainer": "gan.training",
    "generate": "gan.generators",
    "load_generator": "gan.generators",
    "open_prepared": "gan.data",
    "predict": "gan.generators",
}

__all__ = ["Config", "Trainer", "generate", "load_generator", "open_prepared", "predict"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
