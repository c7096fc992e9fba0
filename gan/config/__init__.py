"""The typed view of `params.yaml`.

`sections` has a class a section, with every default; `soundness` the rules between them; `whole`
puts them together; `parsing` makes them from what was read, with every error at once.
"""

from __future__ import annotations

from gan.config.parsing import parse
from gan.config.sections import (
    IMAGE_SIZES,
    DataConfig,
    DiscreteConfig,
    EvaluateConfig,
    JudgeConfig,
    LeastSquaresConfig,
    ModelConfig,
    ObjectiveConfig,
    PenaltiesConfig,
    RuntimeConfig,
    SampleConfig,
    TrainConfig,
)
from gan.config.whole import Config

__all__ = [
    "IMAGE_SIZES",
    "Config",
    "DataConfig",
    "DiscreteConfig",
    "EvaluateConfig",
    "JudgeConfig",
    "LeastSquaresConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "PenaltiesConfig",
    "RuntimeConfig",
    "SampleConfig",
    "TrainConfig",
    "parse",
]
