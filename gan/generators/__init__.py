"""Trained generators: as a file, and what comes out of them.

Public: `load_generator`, `save_generator`, `generate`, `predict`.
"""

from __future__ import annotations

from gan.generators.prediction import predict
from gan.generators.published import load_generator, save_generator
from gan.generators.sampling import generate

__all__ = ["generate", "load_generator", "predict", "save_generator"]
