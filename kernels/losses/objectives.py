"""From a loss's name to the terms that a player minimises."""

import math
from typing import NamedTuple

from .curves import IDENTITY, RELU, SOFTPLUS, SQUARE
from .definitions import DIVERGENCES, Affine, OutputActivation, Term
from .names import (
    ALIASES,
    DEFAULT_OUTPUT,
    DiscriminatorLossName,
    discriminator_name,
    generator_name,
    output_name,
)
from .refusals import no_discriminator, no_generator


class Objective(NamedTuple):
    """What one player minimises: E_P[real(F)] + E_Q[fake(F)], or E[pair(F(x) − F(G(z)))].

    Attributes:
        fake: the term of a generated sample; with `paired` of the difference of a pair.
        real: the term of a real sample, None for a player who does not look at them.
        paired: real and generated samples come in pairs, and `fake` is the term of their
            difference F(x) − F(G(z)).
        threshold: the logit (the difference, with `paired`) above which a sample is taken for
            real.
        log_weight: F ↦ log w of a generated sample, None where no weight is defined.
    """

    fake: Term
    real: Term | None = None
    paired: bool = False
    threshold: float = 0.0
    log_weight: Affine | None = None


FROM_DIVERGENCE = ("saturating", "non_saturating", "boundary_seeking")


def _bound(output: OutputActivation) -> Objective:
    """The discriminator's side of an f-divergence: minus the variational bound."""
    log_weight = output.log_weight if isinstance(output.log_weight, Affine) else None
    return Objective(
        fake=output.conjugate,
        real=output.value.negated(),
        threshold=output.threshold,
        log_weight=log_weight,
    )


def _least_squares(a: float, b: float) -> Objective:
    # A sample is taken for real when its logit is nearer to the real samples' target.
    return Objective(
        fake=Term(SQUARE, shift=-a, scale=0.5),
        real=Term(SQUARE, shift=-b, scale=0.5),
        threshold=(a + b) / 2,
    )


DISCRIMINATORS: dict[tuple[str, str], Objective] = {
    **{
        (divergence.name, output.name): _bound(output)
        for divergence in DIVERGENCES.values()
        for output in divergence.outputs.values()
    },
    ("least_squares", DEFAULT_OUTPUT): _least_squares(0.0, 1.0),
    ("hinge", DEFAULT_OUTPUT): Objective(
        fake=Term(RELU, shift=1.0), real=Term(RELU, rate=-1.0, shift=1.0)
    ),
    # A critic is defined up to a constant; its accuracy at 0 says where that constant is.
    ("wasserstein", DEFAULT_OUTPUT): Objective(
        fake=Term(IDENTITY), real=Term(IDENTITY, scale=-1.0)
    ),
    ("relativistic", DEFAULT_OUTPUT): Objective(fake=Term(SOFTPLUS, rate=-1.0), paired=True),
}
"""By loss and output activation."""


def _generators() -> dict[tuple[str, str, str], Objective]:
    """Those that follow from a divergence, by loss, divergence and output activation."""
    table = {}
    for name, divergence in DIVERGENCES.items():
        for output in divergence.outputs.values():
            log_weight = output.log_weight if isinstance(output.log_weight, Affine) else None
            terms = {
                "saturating": output.conjugate.negated(),
                "non_saturating": output.value.negated(),
            }
            if log_weight is not None:
                terms["boundary_seeking"] = Term(SQUARE, log_weight.rate, log_weight.shift)
            for loss, term in terms.items():
                table[loss, name, output.name] = Objective(
                    fake=term, threshold=output.threshold, log_weight=log_weight
                )
    return table


_OTHER_GENERATORS: dict[str, Objective] = {
    "least_squares": Objective(fake=Term(SQUARE, shift=-1.0, scale=0.5)),
    "hinge": Objective(fake=Term(IDENTITY, scale=-1.0)),
    "wasserstein": Objective(fake=Term(IDENTITY, scale=-1.0)),
    "relativistic": Objective(fake=Term(SOFTPLUS), paired=True),
}

GENERATORS: dict[tuple[str, str, str], Objective] = {
    **_generators(),
    **{
        (loss, *discriminator): objective
        for loss, objective in _OTHER_GENERATORS.items()
        for discriminator in DISCRIMINATORS
    },
}
"""By loss, and the discriminator's loss and output activation."""


def discriminator_objective(
    loss: str,
    output: str = DEFAULT_OUTPUT,
    a: float = 0.0,
    b: float = 1.0,
    real_label: float = 1.0,
    fake_label: float = 0.0,
) -> Objective:
    """What the discriminator minimises, for a name or another word for it (`names.ALIASES`).

    Raises:
        ValueError: no such loss, it has no such output activation, `a` or `b` is given to another
            loss than least_squares, `a` is not below `b`, labels are given to a loss that has none,
            or they are not in order between 0 and 1.
    """
    objective = DISCRIMINATORS.get((loss, output))
    if objective is None:
        given, loss, output = loss, discriminator_name(loss), output_name(output)
        objective = DISCRIMINATORS.get((loss, output))
        if objective is None:
            raise no_discriminator(given, output)
    if a != 0.0 or b != 1.0:
        if loss != "least_squares":
            raise ValueError(
                f"a={a!r}, b={b!r}: only loss='least_squares' has targets, not loss={loss!r}"
            )
        if not a < b:
            # Logits that fall with p/q would turn the accuracies, and every sign, around.
            raise ValueError(
                f"a={a!r}, b={b!r}: expected the target of generated samples, a, below that of "
                "real ones, b"
            )
        objective = _least_squares(a, b)
    if real_label != 1.0 or fake_label != 0.0:
        objective = _smoothed(objective, loss, real_label, fake_label)
    return objective


# The cross-entropy of σ(F), or of σ(F(x) − F(G(z))), with a label, up to a constant.
LOGISTIC: tuple[DiscriminatorLossName, ...] = ("gan", "jensen_shannon", "relativistic")


def _smoothed(objective: Objective, loss: str, real_label: float, fake_label: float) -> Objective:
    """The objective with other labels than 1 and 0: Szegedy et al. 2016; Salimans et al. 2016, 3.4.

    The cross-entropy t·sp(−x) + (1 − t)·sp(x) of a logit x with a label t is sp(−x) + (1 − t)·x,
    and sp(x) − t·x: what there was, and a multiple of what the curve is taken of.
    """
    if loss not in LOGISTIC:
        advice = "; its targets are a and b" if loss == "least_squares" else ""
        raise ValueError(
            f"{_labels(real_label, fake_label)}: only the losses that are a cross-entropy with "
            f"labels have them, {', '.join(LOGISTIC)}, not loss={loss!r}{advice}"
        )
    if not 0.0 <= fake_label < real_label <= 1.0:
        raise ValueError(
            f"{_labels(real_label, fake_label)}: expected 0 ≤ fake_label < real_label ≤ 1"
        )
    if objective.paired:
        if fake_label != 0.0:
            raise ValueError(
                f"{_labels(real_label, fake_label)}: loss={loss!r} has one term for each pair, "
                "and one label, real_label"
            )
        fake = objective.fake._replace(linear=real_label - 1.0)  # x = −(F(x) − F(G(z)))
        return objective._replace(fake=fake)
    assert objective.real is not None
    # Where p = q, D = (real_label + fake_label)/2. D no longer estimates p/(p + q), nor F log p/q.
    either = (real_label + fake_label) / 2.0
    return objective._replace(
        real=objective.real._replace(linear=1.0 - real_label),
        fake=objective.fake._replace(linear=-fake_label),
        threshold=math.log(either / (1.0 - either)),
        log_weight=None,
    )


def _labels(real_label: float, fake_label: float) -> str:
    # Written when it is needed: torch.compile can hold a number open, and not print it.
    return f"real_label={real_label!r}, fake_label={fake_label!r}"


def generator_objective(
    loss: str, divergence: str = "gan", output: str = DEFAULT_OUTPUT, c: float = 1.0
) -> Objective:
    """What the generator minimises, for names or other words for them (`names.ALIASES`).

    Raises:
        ValueError: no such loss or divergence, the divergence has no such output activation, the
            loss is not defined for them, or `c` is given to another loss than least_squares.
    """
    objective = GENERATORS.get((loss, divergence, output))
    if objective is None:
        given, loss, output = loss, generator_name(loss), output_name(output)
        named, divergence = divergence, discriminator_name(divergence)
        objective = GENERATORS.get((loss, divergence, output))
        if objective is None:
            if loss in _OTHER_GENERATORS:
                raise no_discriminator(named, output, "divergence")
            raise no_generator(given, loss, named, divergence, output)
        alone = ALIASES[given].divergence if given in ALIASES else None
        if alone not in (None, divergence):
            raise ValueError(
                f"loss={given!r} is {loss!r} of {alone!r}, not of divergence={named!r}: expected "
                f"loss={loss!r}"
            )
    if c != 1.0:
        if loss != "least_squares":
            raise ValueError(f"c={c!r}: only loss='least_squares' has a target, not loss={loss!r}")
        return Objective(fake=Term(SQUARE, shift=-c, scale=0.5))
    return objective
