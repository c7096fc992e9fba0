"""All sections together, and the rules across them."""

from __future__ import annotations

from pydantic import Field, model_validator

from gan.config.parsing import Section
from gan.config.sections import (
    LARGEST_SEED,
    DataConfig,
    EvaluateConfig,
    JudgeConfig,
    ModelConfig,
    ObjectiveConfig,
    RuntimeConfig,
    SampleConfig,
    TrainConfig,
)
from gan.config.soundness import (
    contradictions,
    mismatches,
    uncompilable,
    undefined,
    unsound,
    unused,
)


class Config(Section):
    """All of `params.yaml`."""

    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    data: DataConfig = DataConfig()
    judge: JudgeConfig = JudgeConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    train: TrainConfig = TrainConfig()
    sample: SampleConfig = SampleConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _sections_agree(self) -> Config:
        kind = "labels" if self.model.name == "classifier" else self.data.kind
        problems = mismatches(self.data, self.model) + contradictions(self.objective, kind)
        problems += undefined(self.objective) + unused(self.objective, self.train)
        problems += uncompilable(self.objective, self.runtime)
        if not self.objective.allow_unsound:
            problems += [
                f"{problem} (objective.allow_unsound true plays it all the same)"
                for problem in unsound(self.objective, self.model, self.train)
            ]
        if self.sample.grid**2 > self.sample.count:
            problems.append(
                f"sample.grid {self.sample.grid} needs {self.sample.grid**2} samples, "
                f"but sample.count is {self.sample.count}"
            )
        for key in ("kid_subset_size", "neighbours", "inception_splits", "nearest"):
            value = getattr(self.evaluate, key)
            if value >= self.sample.count:
                problems.append(
                    f"evaluate.{key} is {value}: expected less than sample.count "
                    f"({self.sample.count})"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self
