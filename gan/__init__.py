"""Train, compare and trust generative adversarial networks.

`gan.load_generator(path)` gives a trained generator back in any program. The rest is imported from
its own module, `gan.training` or `gan.metrics.frechet_distance` for example: nothing heavy happens
on `import gan`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.generators.published import load_generator as load_generator

__all__ = ["load_generator"]


def __getattr__(name: str) -> Any:
    if name == "load_generator":
        from gan.generators.published import load_generator

        return load_generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
