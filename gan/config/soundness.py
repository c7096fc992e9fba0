"""Which games make sense: what is not defined at all, and what the literature shows to be wrong.

Plain rules over the configuration; each gives one line for a person, or nothing.
"""

from __future__ import annotations

from gan.config.sections import (
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    RuntimeConfig,
    TrainConfig,
)

# The networks for each sort of examples.
FAMILIES = {
    "points": ("mlp",),
    "images": ("dcgan", "resnet", "classifier"),
    "text": ("text",),
}
# The discriminator's losses that are variational bounds of an f-divergence.
DIVERGENCES = (
    "gan",
    "jensen_shannon",
    "kl",
    "reverse_kl",
    "pearson",
    "squared_hellinger",
    "total_variation",
)
# What a generator can minimise against any of them.
OF_DIVERGENCES = ("saturating", "non_saturating", "boundary_seeking")
# Both are −F (Lim & Ye 2017, Arjovsky et al. 2017): either answers either.
LINEAR = ("hinge", "wasserstein")


def mismatches(data: DataConfig, model: ModelConfig) -> list[str]:
    """Networks that are not for such data: one line a problem."""
    problems = []
    kind = "images" if data.kind == "symbol_images" else data.kind
    if model.name not in FAMILIES[kind]:
        problems.append(
            f"model.name is {model.name}, but data.name {data.name} has {kind}: expected "
            f"{' or '.join(FAMILIES[kind])}"
        )
    if model.name == "classifier":
        problems += [
            f"data.{key} is {value}, but model.name classifier takes images as they are, only "
            f"their labels are symbols: expected {key} 0"
            for key, value in (("levels", data.levels), ("palette", data.palette))
            if value
        ]
    return problems


def undefined(objective: ObjectiveConfig) -> list[str]:
    """What cannot be played, since a formula of it does not exist: one line a problem."""
    problems = []
    discriminator, generator = objective.discriminator, objective.generator
    is_divergence = discriminator in DIVERGENCES
    if generator in OF_DIVERGENCES and not is_divergence:
        problems.append(
            f"objective.generator is {generator}, which follows from an f-divergence, but "
            f"objective.discriminator {discriminator} is none: expected generator {discriminator}"
        )
    if objective.output == "log_ratio":
        if not is_divergence:
            problems.append(
                f"objective.output is log_ratio, an activation of f-divergences, but "
                f"objective.discriminator {discriminator} is none: expected output nowozin, which "
                "it does not use"
            )
        elif discriminator == "total_variation":
            problems.append(
                "objective.output is log_ratio, but the importance weight of "
                "objective.discriminator total_variation is 1 whatever the logit, so that no "
                "activation makes it exp(F): expected output nowozin"
            )
    if generator == "boundary_seeking":
        if discriminator == "total_variation":
            problems.append(
                "objective.generator is boundary_seeking, which moves samples to where the "
                "importance weight is 1, but that of objective.discriminator total_variation is 1 "
                "everywhere: expected another divergence"
            )
        elif discriminator == "pearson" and objective.output == "nowozin":
            problems.append(
                "objective.generator is boundary_seeking, which takes the logarithm of the "
                "importance weight, but with objective.output nowozin that of "
                "objective.discriminator pearson is F/2 + 1, negative below F = −2: expected "
                "output log_ratio"
            )
    elif objective.centred:
        problems.append(
            f"objective.centred is true, but objective.generator {generator} has no log Z to be "
            "centred around: expected generator boundary_seeking, or centred false"
        )
    return problems


def contradictions(objective: ObjectiveConfig, kind: str) -> list[str]:
    """What cannot be played on data of this kind: one line a problem.

    Args:
        objective: the game.
        kind: of what the generator gives: as `DataConfig.kind`, or `labels`.
    """
    discrete = objective.discrete
    if kind not in ("symbol_images", "text", "labels"):
        if discrete != type(discrete)():
            changed = ", ".join(
                f"{name} {value}"
                for name, value in discrete.model_dump().items()
                if value != getattr(type(discrete)(), name)
            )
            return [
                f"objective.discrete has {changed}, but the data are {kind}, not symbols: expected "
                "the defaults, or data.levels, data.palette, data.name text or topics, or "
                "model.name classifier"
            ]
        return []
    problems = _unused_discrete(objective)
    if not discrete.relaxes:
        problems += _undefined_discrete(objective)
    if kind == "text" and not discrete.relaxes:
        problems += _refused_penalties(
            objective,
            f"with objective.discrete.estimator {discrete.estimator} the input is symbols of text",
        )
    if kind == "labels":
        problems += _refused_penalties(objective, "with model.name classifier the input is labels")
    return problems


def uncompilable(objective: ObjectiveConfig, runtime: RuntimeConfig) -> list[str]:
    """What networks that are compiled cannot do: one line a problem."""
    if not runtime.compile:
        return []
    return [
        f"runtime.compile is true, but objective.penalties.{name} is {value}, whose gradient is "
        "that of a gradient, which torch.compile does not have: expected compile false, or "
        f"{name} 0"
        for name, value in _penalties(objective)
    ]


def _refused_penalties(objective: ObjectiveConfig, why: str) -> list[str]:
    """Penalties where there is no slope by the input: one line each."""
    return [
        f"objective.penalties.{name} is {value}, a penalty on the discriminator's slope by its "
        f"input, but {why}, by which there is no slope: expected {name} 0"
        for name, value in _penalties(objective)
    ]


def _penalties(objective: ObjectiveConfig) -> list[tuple[str, float]]:
    """The penalties that are paid, and their strength."""
    penalties = objective.penalties
    strengths = (
        ("gradient_penalty", penalties.gradient_penalty),
        ("r1", penalties.r1),
        ("r2", penalties.r2),
    )
    return [(name, value) for name, value in strengths if value > 0]


def _undefined_discrete(objective: ObjectiveConfig) -> list[str]:
    """What the estimators that weigh samples cannot do: one line a problem."""
    problems = []
    discrete = objective.discrete
    if objective.generator != "boundary_seeking":
        problems.append(
            f"objective.discrete.estimator is {discrete.estimator}, which weighs samples by the "
            f"discriminator's p/q, but objective.generator {objective.generator} needs a gradient "
            "by the samples, and symbols have none: expected generator boundary_seeking, or "
            "estimator straight_through or relaxed"
        )
    elif objective.centred:
        problems.append(
            "objective.centred is true, but on symbols log Z is the business of "
            "objective.discrete, where importance has no use for it and reinforce has a baseline: "
            "expected centred false"
        )
    if (
        discrete.estimator == "importance"
        and discrete.normalisation == "latent"
        and discrete.samples == 1
    ):
        problems.append(
            "objective.discrete.samples is 1, but the normalised weight of a single sample is 1 "
            "whatever the discriminator says of it: expected samples 2 or more, or normalisation "
            "batch"
        )
    if (
        discrete.estimator == "reinforce"
        and discrete.baseline == "leave_one_out"
        and discrete.samples == 1
    ):
        problems.append(
            "objective.discrete.samples is 1, but baseline leave_one_out compares a sample with "
            "the others of its latent vector: expected samples 2 or more, or another baseline"
        )
    return problems


def _unused_discrete(objective: ObjectiveConfig) -> list[str]:
    """What is asked of an estimator that does not have it: one line a problem."""
    discrete, defaults = objective.discrete, type(objective.discrete)()
    moving = discrete.estimator == "reinforce" and discrete.baseline == "moving_average"
    return [
        f"objective.discrete.{name} is {_as_yaml(getattr(discrete, name))}, but estimator "
        f"{discrete.estimator} has no use for it: expected {_as_yaml(getattr(defaults, name))}"
        ", the default" + (", or baseline moving_average" if name == "baseline_rate" else "")
        for name, has in (
            ("samples", not discrete.relaxes),
            ("normalisation", discrete.estimator == "importance"),
            ("control_variate", discrete.estimator == "importance"),
            ("baseline", discrete.estimator == "reinforce"),
            ("baseline_rate", moving),
            ("temperature", discrete.relaxes),
        )
        if not has and getattr(discrete, name) != getattr(defaults, name)
    ]


def unused(objective: ObjectiveConfig, train: TrainConfig) -> list[str]:
    """What is asked for in vain: one line a problem."""
    problems = []
    targets = objective.least_squares
    if targets != type(targets)() and "least_squares" not in (
        objective.discriminator,
        objective.generator,
    ):
        problems.append(
            f"objective.least_squares is a {targets.a}, b {targets.b}, c {targets.c}, but neither "
            "objective.discriminator nor objective.generator is least_squares: expected the "
            "defaults"
        )
    if train.weight_decay > 0 and "adamw" not in (
        train.generator_optimiser,
        train.discriminator_optimiser,
    ):
        problems.append(
            f"train.weight_decay is {train.weight_decay}, but neither optimiser is adamw: expected "
            "0, or adamw"
        )
    return problems


def unsound(objective: ObjectiveConfig, model: ModelConfig, train: TrainConfig) -> list[str]:
    """What can be played, but is known not to work or not to mean anything: one line a problem."""
    problems = []
    discriminator, generator = objective.discriminator, objective.generator
    penalties = objective.penalties
    if model.discriminator_norm == "batch":
        # Gulrajani et al. 2017, section 4, "no critic batch normalization".
        problems += [
            f"objective.penalties.{name} is {value}, a penalty on each sample's own gradient, but "
            "model.discriminator_norm batch mixes the samples of a batch: expected "
            f"{name} 0 or discriminator_norm none or layer"
            for name, value in _penalties(objective)
        ]
    # Dividing by a deviation of activations takes back what bounds on the weights' norm hold.
    bounded_by_norm = model.spectral_norm and model.discriminator_norm == "none"
    constrained = objective.weight_clip > 0 or penalties.gradient_penalty > 0 or bounded_by_norm
    if discriminator == "wasserstein" and not constrained:
        # Arjovsky et al. 2017, section 3: the supremum is over Lipschitz functions.
        problems.append(
            "objective.discriminator is wasserstein, whose loss has no lower bound unless the "
            "critic's slope is bounded: expected objective.weight_clip or "
            "objective.penalties.gradient_penalty above 0, or model.spectral_norm true with "
            "model.discriminator_norm none"
        )
    if (
        discriminator == "wasserstein"
        and objective.weight_clip > 0
        and train.discriminator_optimiser != "rmsprop"
        and train.betas[0] > 0
    ):
        # Arjovsky et al. 2017, section 4.3.
        problems.append(
            f"train.discriminator_optimiser is {train.discriminator_optimiser} with "
            f"train.betas[0] {train.betas[0]}, but a critic whose weights are clipped is unstable "
            "with momentum: expected rmsprop, or betas[0] 0"
        )
    if objective.weight_clip > 0 and model.spectral_norm:
        problems.append(
            f"objective.weight_clip is {objective.weight_clip}, but model.spectral_norm true "
            "divides every weight by its largest singular value, whatever its size: expected one "
            "of the two"
        )
    if (
        generator not in OF_DIVERGENCES
        and generator != discriminator
        and not (generator in LINEAR and discriminator in LINEAR)
    ):
        problems.append(
            f"objective.generator is {generator}, but objective.discriminator {discriminator} "
            "gives its logits another meaning, so that the two do not play one game: expected "
            + (
                f"generator {', '.join(OF_DIVERGENCES[:-1])} or {OF_DIVERGENCES[-1]}"
                if discriminator in DIVERGENCES
                else f"generator {discriminator}"
            )
        )
    return problems


def _as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
