"""The sections of `params.yaml`: one class each, with the rules within it.

The classes are plain values and know nothing of files. Types are strict: the text `"2e-4"` is
not a number. A default and a description stand here and nowhere else.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from gan.config.parsing import Section
from gan.errors import shown

IMAGE_SIZES = (8, 16, 32, 64, 128)
# No run takes longer, in steps or in images: a year has 3·10⁷ seconds. What is above is a slip of
# the finger, and better said than begun.
MOST_STEPS = 10**9
MOST_IMAGES = 10**12
LARGEST_SEED = 2**31 - 1

Betas = Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Optimiser = Literal["adam", "adamw", "rmsprop"]
# Of names in zip files, most of them by Windows: of western and central Europe, Greece,
# Russia, Israel, the Arab world, Thailand, Japan, China, Korea and Taiwan.
CodePage = Literal[
    "", "utf-8", "cp437", "cp850", "cp852", "cp1252", "cp1250", "cp737", "cp866", "cp1251", "cp862",
    "cp1256", "cp874", "cp932", "gbk", "cp949", "big5",
]  # fmt: skip


class DataConfig(Section):
    """What the examples are and how they become one array a split."""

    name: Literal[
        "digits",
        "idx",
        "images",
        "cifar",
        "arrays",
        "parquet",
        "lmdb",
        "toy",
        "table",
        "text",
        "topics",
        "mnist",
        "fashion_mnist",
        "kmnist",
        "cifar10",
        "cifar100",
    ] = Field(
        "digits",
        description="digits: scikit-learn's handwritten digits; idx: a folder in the layout of "
        "MNIST; images: a folder or an archive (.zip, .tar) of image files; cifar: CIFAR-10 or "
        "CIFAR-100, binary or python version; arrays: .npy or .npz of images; parquet: image files "
        "as Hugging Face stores them; lmdb: image files as LSUN stores them; toy: points of a "
        "known density; table: your own points, .csv or .npy; text: a file of UTF-8, plain or "
        "gzip, or a folder of such; topics: the help texts that come with Python; mnist, "
        "fashion_mnist, kmnist, cifar10, cifar100: fetched once, outside the repository",
    )
    path: str = Field(
        "data/raw",
        min_length=1,
        description="folder, archive or file, of all but digits, toy, topics and what is fetched",
    )
    size: Literal[8, 16, 32, 64, 128] = Field(16, description="height and width in pixels")
    channels: Literal[1, 3] = Field(1, description="1: grey, 3: RGB")
    fit: Literal["auto", "pad", "resize"] = Field(
        "auto",
        description="pad: centre on black, no resampling; resize: centre crop to a square, then "
        "antialiased resize; auto: pad for idx, mnist and its relatives, resize for the others",
    )
    shards: str = Field(
        "",
        description="of images in many archives: their names in the folder data.path, "
        "train-{000..999}.tar for example; empty: data.path itself",
    )
    labels: str = Field(
        "",
        description="table of labels of images, by its name in data.path: CSV, or CelebA's "
        "list_attr_celeba.txt; empty: folders, dataset.json or .cls files tell them",
    )
    label_column: str = Field(
        "", description="its column that is the label; empty: the only one there is"
    )
    links: Literal["follow", "refuse"] = Field(
        "follow", description="what is done about links in a folder that lead out of it"
    )
    zip_names: CodePage = Field(
        "",
        description="code page of names in a zip of images that does not tell it; empty: refused",
    )
    max_pixels: int = Field(
        1 << 26,
        ge=128 * 128,
        le=1 << 32,
        description="of an image as it is decoded, JPEG at the fraction of its size that data.size "
        "needs; larger ones cannot be read",
    )
    levels: int = Field(
        0, ge=0, le=256, description="uniform grey levels as symbols; 0: images as they are"
    )
    palette: int = Field(
        0,
        ge=0,
        le=256,
        description="colours as symbols, chosen from the training images; 0: images as they are",
    )
    alphabet: int = Field(
        96,
        ge=2,
        le=65_536,
        description="characters of text with a symbol of their own, at most",
    )
    length: int = Field(32, ge=4, le=1024, description="characters of an example of text")
    windows: Literal["lines", "sliding"] = Field(
        "lines",
        description="examples of text; lines: one a line, cut or filled up; sliding: of running "
        "text, overlapping by half",
    )
    toy: Literal["normal", "line", "ring", "grid", "spirals"] = Field(
        "ring", description="which density, for toy; see gan.toys"
    )
    toy_points: int = Field(
        20_000, ge=100, le=10_000_000, description="points drawn from it, held-out ones included"
    )
    test_fraction: float = Field(
        0.2, gt=0, lt=1, description="share held out where the source has no test split of its own"
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="what an image that cannot be read does"
    )

    @field_validator("path")
    @classmethod
    def _path_can_be_one(cls, path: str) -> str:
        if "\0" in path:
            raise ValueError(f"data.path is {shown(path)}: no file has a NUL in its name")
        if path.startswith("~"):
            # DVC takes the text as it is, and looks for a folder of that name.
            try:
                home = f"{Path(path).expanduser()}"
            except RuntimeError:
                home = f"./{path}"
            raise ValueError(
                f"data.path is {shown(path)}, and nothing here unfolds a ~: expected {shown(home)}"
            )
        return path

    @model_validator(mode="after")
    def _shards_of_images(self) -> DataConfig:
        if self.shards and self.name != "images":
            raise ValueError(
                f"data.shards is {shown(self.shards)}, but data.name is {self.name}: expected it "
                "empty, or data.name images"
            )
        folder, _, last = self.path.rpartition("/")
        if re.search(r"\{\d+\.\.\d+\}", last):
            raise ValueError(
                f"data.path is {shown(self.path)}, which names many archives: expected data.path "
                f"{shown(folder) or '.'} and data.shards {shown(last)}"
            )
        return self

    @model_validator(mode="after")
    def _grey_sources(self) -> DataConfig:
        if self.name in {"digits", "idx", "mnist", "fashion_mnist", "kmnist"} and (
            self.channels == 3
        ):
            raise ValueError(f"data.channels is 3, but data.name {self.name} is grey: expected 1")
        return self

    @model_validator(mode="after")
    def _labels_of_images(self) -> DataConfig:
        for key in ("labels", "label_column", "zip_names"):
            if getattr(self, key) and self.name != "images":
                raise ValueError(
                    f"data.{key} is {shown(getattr(self, key))}, but data.name is {self.name}: "
                    "expected it empty, or data.name images"
                )
        if self.label_column and not self.labels:
            raise ValueError(
                f"data.label_column is {shown(self.label_column)}, but data.labels is empty: "
                "expected the name of a table in data.path"
            )
        return self

    @model_validator(mode="after")
    def _keys_of_files(self) -> DataConfig:
        if self.links != "follow":
            if self.name not in {"images", "text", "cifar"}:
                raise ValueError(
                    f"data.links is {self.links}, but data.name {self.name} does not look at "
                    "links: expected follow"
                )
            if self.shards:
                raise ValueError(
                    f"data.links is {self.links}, but data.shards {shown(self.shards)} are "
                    "archives, in which no links are followed: expected follow"
                )
        default = type(self).model_fields["max_pixels"].default
        if self.max_pixels != default and self.name not in {"images", "parquet", "lmdb", "arrays"}:
            raise ValueError(
                f"data.max_pixels is {self.max_pixels}, but data.name {self.name} decodes no files "
                f"of images: expected {default}"
            )
        return self

    @model_validator(mode="after")
    def _symbols(self) -> DataConfig:
        for key in ("levels", "palette"):
            count = getattr(self, key)
            if count == 1:
                raise ValueError(f"data.{key} is 1: expected 0, or 2 to 256")
            if count and self.kind not in {"images", "symbol_images"}:
                raise ValueError(
                    f"data.{key} is {count}, but data.name {self.name} has no images: expected 0"
                )
        if self.levels and self.palette:
            raise ValueError(
                f"data.levels is {self.levels} and data.palette {self.palette}: expected 0 for one"
            )
        if self.levels and self.channels == 3:
            raise ValueError(
                f"data.levels is {self.levels}, but data.channels is 3: levels are of grey images, "
                "expected data.palette for colours"
            )
        return self

    @property
    def kind(self) -> Literal["images", "points", "symbol_images", "text"]:
        """What the prepared examples are."""
        if self.name in {"toy", "table"}:
            return "points"
        if self.name in {"text", "topics"}:
            return "text"
        return "symbol_images" if self.levels or self.palette else "images"


class JudgeConfig(Section):
    """The small network whose features every experiment on the same data is measured in."""

    width: int = Field(32, ge=4, le=512, description="channels of the first convolution")
    features: int = Field(64, ge=8, le=4096, description="size of the feature vector")
    images_seen: int = Field(
        15_000,
        ge=1,
        le=MOST_IMAGES,
        description="training images in all, however many times each; no more than the accuracy "
        "asks for: longer fits collapse each class to a point, where precision means little",
    )
    batch_size: int = Field(128, ge=2, le=65536)
    learning_rate: LearningRate = 1e-3
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="its own, so that `seed` does not change the judge"
    )


class ModelConfig(Section):
    """Generator and discriminator."""

    name: Literal["dcgan", "resnet", "mlp", "text", "classifier"] = Field(
        "dcgan",
        description="dcgan and resnet: of images; mlp: of points; text: of texts; classifier: of "
        "labels, given images",
    )
    latent: Literal["normal", "uniform"] = Field(
        "normal", description="what latent vectors are drawn from: N(0, I), or uniform in [−1, 1]"
    )
    latent_size: int = Field(64, ge=1, le=65536)
    generator_width: int = Field(
        48,
        ge=4,
        le=1024,
        description="dcgan: channels of the generator's last hidden layer; the others: of all",
    )
    discriminator_width: int = Field(
        64,
        ge=4,
        le=1024,
        description="dcgan: channels of the discriminator's first layer; the others: of all",
    )
    depth: int = Field(
        3,
        ge=1,
        le=16,
        description="of either player; mlp: hidden layers; text: residual blocks of the generator, "
        "convolutions of the discriminator",
    )
    discriminator_norm: Literal["batch", "layer", "none"] = Field(
        "none", description="normalisation in all but the discriminator's first layer"
    )
    spectral_norm: bool = Field(
        False, description="spectral normalisation of all of the discriminator's weights"
    )


class PenaltiesConfig(Section):
    """What is added to the discriminator's loss."""

    gradient_penalty: float = Field(
        0.0,
        ge=0,
        description="λ of λ·E(‖∇F(x̂)‖ − 1)² between real and generated samples (Gulrajani et al. "
        "2017, eq. 3)",
    )
    r1: float = Field(
        0.1, ge=0, description="γ of γ/2·E‖∇F(x)‖² on real samples x (Mescheder et al. 2018, eq. 9)"
    )
    r2: float = Field(
        0.0, ge=0, description="γ of the same on generated samples (Mescheder et al. 2018, eq. 10)"
    )
    every: int = Field(
        4,
        ge=1,
        le=1000,
        description="discriminator steps between two that pay for the penalties, scaled by as much",
    )

    @property
    def any(self) -> bool:
        """Whether there is anything to pay."""
        return max(self.gradient_penalty, self.r1, self.r2) > 0


class LeastSquaresConfig(Section):
    """What logits are drawn to in the least-squares game (Mao et al. 2017, eq. 2)."""

    a: float = Field(0.0, description="generated ones, by the discriminator")
    b: float = Field(1.0, description="real ones, by the discriminator")
    c: float = Field(1.0, description="generated ones, by the generator")

    @model_validator(mode="after")
    def _targets_in_order(self) -> LeastSquaresConfig:
        if self.a >= self.b:
            raise ValueError(
                f"objective.least_squares.a is {self.a} and b {self.b}: the discriminator is to "
                "tell real from generated, expected a below b"
            )
        if self.c <= self.a:
            raise ValueError(
                f"objective.least_squares.c is {self.c} and a {self.a}: the generator would draw "
                "its samples to where the discriminator wants generated ones, expected c above a"
            )
        return self


class DiscreteConfig(Section):
    """How a generator of symbols learns.

    The formulas are in `gan.game.estimators` and `gan.game.relaxation`.
    """

    estimator: Literal["importance", "reinforce", "straight_through", "relaxed"] = Field(
        "importance",
        description="importance, reinforce: boundary seeking on samples (Hjelm et al. 2018, "
        "section 2.3); straight_through: any game on Gumbel-softmax samples (Jang et al. 2017); "
        "relaxed: any game on the probabilities themselves",
    )
    samples: int = Field(
        20, ge=1, le=1000, description="importance, reinforce: M, drawn for each latent vector"
    )
    normalisation: Literal["latent", "batch"] = Field(
        "latent",
        description="importance: weights add up to 1 over the samples of each latent vector, or "
        "are divided by their mean over the batch",
    )
    control_variate: bool = Field(
        False,
        description="importance: 1/M less of every weight in the gradient; the same mean, and less "
        "noise where weights are nearly alike",
    )
    baseline: Literal["moving_average", "learned", "leave_one_out", "none"] = Field(
        "moving_average",
        description="reinforce: what log w is compared with; a running log Z, a small network of "
        "the latent vector, the latent vector's other samples, or nothing",
    )
    baseline_rate: float = Field(0.005, gt=0, le=1, description="of the running log Z, a step")
    temperature: float = Field(
        1.0, gt=0, le=100, description="straight_through, relaxed: what logits are divided by"
    )

    @property
    def relaxes(self) -> bool:
        """Whether the generator's gradient goes through its samples, made continuous for that."""
        return self.estimator in ("straight_through", "relaxed")


class ObjectiveConfig(Section):
    """What each player minimises; the formulas are in `kernels.losses.definitions`."""

    discriminator: Literal[
        "gan",
        "jensen_shannon",
        "kl",
        "reverse_kl",
        "pearson",
        "squared_hellinger",
        "total_variation",
        "least_squares",
        "hinge",
        "wasserstein",
        "relativistic",
    ] = Field("gan", description="an f-divergence, by its variational bound, or another loss")
    generator: Literal[
        "saturating",
        "non_saturating",
        "boundary_seeking",
        "least_squares",
        "hinge",
        "wasserstein",
        "relativistic",
    ] = Field(
        "non_saturating",
        description="the first three are of f-divergences, the others answer the discriminator's "
        "loss of the same name",
    )
    output: Literal["nowozin", "log_ratio"] = Field(
        "nowozin", description="of an f-divergence: the activation that takes a logit to T"
    )
    least_squares: LeastSquaresConfig = LeastSquaresConfig()
    d_steps: int = Field(1, ge=1, le=100, description="discriminator steps a round")
    g_steps: int = Field(1, ge=1, le=100, description="generator steps a round")
    penalties: PenaltiesConfig = PenaltiesConfig()
    weight_clip: float = Field(
        0.0,
        ge=0,
        description="every parameter of the discriminator is kept within ± this (Arjovsky et al. "
        "2017, algorithm 1); 0: none",
    )
    centred: bool = Field(
        False, description="boundary_seeking: around a running log Z (Hjelm et al. 2018)"
    )
    log_z_rate: float = Field(0.005, gt=0, le=1, description="of the running log Z, a step")
    discrete: DiscreteConfig = DiscreteConfig()
    allow_unsound: bool = Field(
        False, description="play a combination that the literature shows to be wrong"
    )


class TrainConfig(Section):
    """How the two players are optimised."""

    steps: int = Field(
        4500,
        ge=1,
        le=MOST_STEPS,
        description="rounds: objective.d_steps of the discriminator, then objective.g_steps of the "
        "generator",
    )
    batch_size: int = Field(64, ge=2, le=65536)
    generator_optimiser: Optimiser = "adam"
    discriminator_optimiser: Optimiser = "adam"
    generator_learning_rate: LearningRate = 2e-4
    discriminator_learning_rate: LearningRate = 4e-4
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="of both learning rates; linear and cosine end at zero"
    )
    betas: Betas = Field([0.5, 0.999], description="of adam and adamw; rmsprop smooths by the last")
    weight_decay: float = Field(0.0, ge=0, le=1, description="of adamw")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16 is autocast")
    ema_half_life: float = Field(
        50_000, ge=0, description="of the averaged generator, in images; 0 turns it off"
    )
    ema_warmup: float = Field(
        0.05, ge=0, le=1, description="half-life is at most this share of the images seen so far"
    )
    # The measures of so many steps are in memory, and in every checkpoint.
    record_every: int = Field(
        50,
        ge=1,
        le=100_000,
        description="steps that one row of the history averages; one row at least, of a run with "
        "fewer",
    )
    sample_every: int = Field(
        500, ge=1, le=MOST_STEPS, description="steps between two grids of samples"
    )
    sample_grid: int = Field(8, ge=1, le=32, description="rows and columns of such a grid")


class SampleConfig(Section):
    """What is drawn from the published generator."""

    count: int = Field(5000, ge=2, le=MOST_STEPS)
    batch_size: int = Field(250, ge=1, le=65536)
    grid: int = Field(10, ge=1, le=64, description="rows and columns of the grid")
    interpolations: int = Field(8, ge=1, le=64, description="rows of the interpolation")
    interpolation_steps: int = Field(12, ge=2, le=64, description="columns of the interpolation")


class EvaluateConfig(Section):
    """How samples are judged."""

    neighbours: int = Field(5, ge=1, le=100, description="k of precision and recall")
    precision_images: int = Field(
        10_000,
        ge=200,
        le=MOST_STEPS,
        description="at most so many samples, and training images, for precision and recall",
    )
    kid_subsets: int = Field(100, ge=2, le=100_000)
    kid_subset_size: int = Field(200, ge=2, le=100_000)
    inception_splits: int = Field(10, ge=1, le=100_000)
    memorisation_images: int = Field(
        1000,
        ge=1,
        le=MOST_STEPS,
        description="at most so many samples, and held-out examples, for the memorisation check",
    )
    nearest: int = Field(10, ge=1, le=32, description="samples in the figure of nearest images")
    mode_share: float = Field(
        0.01, gt=0, lt=1, description="share of the samples from which a class counts as covered"
    )
    neural_steps: int = Field(
        0,
        ge=0,
        le=MOST_STEPS,
        description="of each fresh discriminator of the neural divergences; 0: none",
    )
    neural_seeds: int = Field(
        3, ge=1, le=100, description="fresh discriminators a neural divergence"
    )
    ngrams: int = Field(4, ge=1, le=6, description="longest n-grams that texts are compared by")


class RuntimeConfig(Section):
    """Where and how the work runs. Nothing here is meant to change a result: nothing reruns for it.

    Last bits differ between devices, and between compiled networks and others.
    """

    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto: a GPU if there is one"
    )
    graph: Literal["auto", "off"] = Field(
        "auto",
        description="auto: on a CUDA device training rounds are recorded as CUDA graphs and "
        "replayed, to the same bytes; off: they are played launch by launch",
    )
    compile: bool = Field(
        False,
        description="networks by torch.compile while training: minutes at the start of each run, "
        "and other last bits",
    )
    workers: int = Field(2, ge=0, le=256, description="processes that decode images; 0: none")
    progress_every: int = Field(
        20, ge=1, le=MOST_STEPS, description="steps between two updates of the bar"
    )
    checkpoint_seconds: float = Field(20.0, ge=0, description="between two checkpoints")
