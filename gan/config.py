"""The typed view of `params.yaml`: one class a section, every error at once.

The classes are plain values and know nothing of files. Types are strict: the text `"2e-4"` is
not a number. A default stands here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gan.errors import ConfigError

IMAGE_SIZES = (8, 16, 32, 64, 128)

Betas = Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)]
LearningRate = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """What every section shares: unknown keys are refused, types are strict, values are fixed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DataConfig(Section):
    """What the images are and how they become one array a split."""

    name: Literal["digits", "idx", "images"] = Field(
        "digits",
        description="digits: scikit-learn's handwritten digits; idx: a folder in the layout of "
        "MNIST; images: a folder or an archive (.zip, .tar) of image files",
    )
    path: str = Field("data/raw", min_length=1, description="folder or archive for idx and images")
    size: Literal[8, 16, 32, 64, 128] = Field(16, description="height and width in pixels")
    channels: Literal[1, 3] = Field(1, description="1: grey, 3: RGB")
    fit: Literal["auto", "pad", "resize"] = Field(
        "auto",
        description="pad: centre on black, no resampling; resize: centre crop to a square, then "
        "antialiased resize; auto: pad for idx, resize for the others",
    )
    test_fraction: float = Field(
        0.2, gt=0, lt=1, description="share held out where the source has no test split of its own"
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="what an image that cannot be read does"
    )

    @model_validator(mode="after")
    def _grey_sources(self) -> DataConfig:
        if self.name in {"digits", "idx"} and self.channels == 3:
            raise ValueError(f"data.channels is 3, but data.name {self.name} is grey: expected 1")
        return self


class JudgeConfig(Section):
    """The small network whose features every experiment on the same data is measured in."""

    width: int = Field(32, ge=4, le=512, description="channels of the first convolution")
    features: int = Field(64, ge=8, le=4096, description="size of the feature vector")
    images_seen: int = Field(
        15_000,
        ge=1,
        description="training images in all, however many times each; no more than the accuracy "
        "asks for: longer fits collapse each class to a point, where precision means little",
    )
    batch_size: int = Field(128, ge=2, le=65536)
    learning_rate: LearningRate = 1e-3
    seed: int = Field(0, ge=0, description="its own, so that `seed` does not change the judge")


class ModelConfig(Section):
    """Generator and discriminator."""

    name: Literal["dcgan"] = "dcgan"
    latent_size: int = Field(64, ge=1, le=65536)
    generator_width: int = Field(
        48, ge=4, le=1024, description="channels of the generator's last hidden layer"
    )
    discriminator_width: int = Field(
        64, ge=4, le=1024, description="channels of the discriminator's first layer"
    )
    discriminator_norm: Literal["batch", "none"] = Field(
        "none", description="normalisation in all but the discriminator's first layer"
    )


class PenaltiesConfig(Section):
    """What is added to the discriminator's loss."""

    r1: float = Field(
        0.1, ge=0, description="γ of γ/2·E‖∇F(x)‖² on real images x (Mescheder et al. 2018)"
    )
    every: int = Field(
        4,
        ge=1,
        le=1000,
        description="discriminator steps between two that pay for the penalty, scaled by as much",
    )


class ObjectiveConfig(Section):
    """What each player minimises."""

    discriminator: Literal["gan"] = "gan"
    generator: Literal["saturating", "non_saturating"] = "non_saturating"
    d_steps: int = Field(1, ge=1, le=100, description="discriminator steps a generator step")
    penalties: PenaltiesConfig = PenaltiesConfig()


class TrainConfig(Section):
    """How the two players are optimised."""

    steps: int = Field(4500, ge=1, description="generator steps")
    batch_size: int = Field(64, ge=2, le=65536)
    generator_learning_rate: LearningRate = 2e-4
    discriminator_learning_rate: LearningRate = 4e-4
    betas: Betas = Field([0.5, 0.999], description="Adam's")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16 is autocast")
    ema_half_life: float = Field(
        50_000, ge=0, description="of the averaged generator, in images; 0 turns it off"
    )
    ema_warmup: float = Field(
        0.05, ge=0, le=1, description="half-life is at most this share of the images seen so far"
    )
    record_every: int = Field(50, ge=1, description="steps that one row of the history averages")
    sample_every: int = Field(500, ge=1, description="steps between two grids of samples")
    sample_grid: int = Field(8, ge=1, le=32, description="rows and columns of such a grid")


class SampleConfig(Section):
    """What is drawn from the published generator."""

    count: int = Field(5000, ge=2)
    batch_size: int = Field(250, ge=1)
    grid: int = Field(10, ge=1, le=64, description="rows and columns of the grid")
    interpolations: int = Field(8, ge=1, le=64, description="rows of the interpolation")
    interpolation_steps: int = Field(12, ge=2, le=64, description="columns of the interpolation")


class EvaluateConfig(Section):
    """How samples are judged."""

    neighbours: int = Field(5, ge=1, le=100, description="k of precision and recall")
    precision_images: int = Field(
        10_000,
        ge=200,
        description="at most so many samples, and training images, for precision and recall",
    )
    kid_subsets: int = Field(100, ge=2)
    kid_subset_size: int = Field(200, ge=2)
    inception_splits: int = Field(10, ge=1)
    memorisation_images: int = Field(
        1000,
        ge=1,
        description="at most so many samples, and held-out images, for the memorisation check",
    )
    nearest: int = Field(10, ge=1, le=32, description="samples in the figure of nearest images")
    mode_share: float = Field(
        0.01, gt=0, lt=1, description="share of the samples from which a class counts as covered"
    )


class RuntimeConfig(Section):
    """Where and how the work runs. Nothing here changes a result, so nothing reruns for it."""

    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto: a GPU if there is one"
    )
    workers: int = Field(2, ge=0, le=256, description="processes that decode images; 0: none")
    progress_every: int = Field(20, ge=1, description="steps between two updates of the bar")
    checkpoint_seconds: float = Field(20.0, ge=0, description="between two checkpoints")


class Config(Section):
    """All of `params.yaml`."""

    seed: int = Field(0, ge=0, le=2**31 - 1)
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
        problems = []
        if self.objective.penalties.r1 > 0 and self.model.discriminator_norm == "batch":
            problems.append(
                f"objective.penalties.r1 is {self.objective.penalties.r1}, a penalty on each "
                "sample's own gradient, but model.discriminator_norm batch mixes the samples of "
                "a batch: expected r1 0 or discriminator_norm none"
            )
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


SectionType = TypeVar("SectionType", bound=Section)


def parse(section: type[SectionType], values: Mapping[str, Any], source: str) -> SectionType:
    """Check `values` and return them as `section`.

    Args:
        section: the class to return, `Config` for a whole file.
        values: what was read.
        source: where from, for the message.

    Raises:
        ConfigError: lists every error with its key, the value found and what was expected.
    """
    try:
        return section.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(_describe(error, section, source)) from None


def _describe(error: ValidationError, section: type[Section], source: str) -> str:
    errors = error.errors(include_url=False)
    lines = [f"{source}: {len(errors)} error{'s' if len(errors) > 1 else ''}"]
    for each in errors:
        key = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            known = ", ".join(_fields_at(section, each["loc"][:-1]))
            lines.append(f"  {key}: unknown key; expected one of: {known}")
        elif each["type"] == "value_error":
            # Rules across keys name their keys themselves.
            lines.append("  " + each["msg"].removeprefix("Value error, "))
        else:
            expected = each["msg"].removeprefix("Input should be ")
            lines.append(f"  {key}: found {each['input']!r}, expected {expected}")
    return "\n".join(lines)


def _fields_at(section: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)
