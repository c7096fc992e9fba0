"""From a loss's name to the terms that a player minimises, and what is said of unknown ones."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from .curves import IDENTITY, RELU, SOFTPLUS, SQUARE
from .definitions import (
    DISCRIMINATOR_LOSSES,
    DIVERGENCES,
    GENERATOR_LOSSES,
    Affine,
    OutputActivation,
    Term,
)


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

_DEFAULT_OUTPUT = "nowozin"


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
    ("least_squares", _DEFAULT_OUTPUT): _least_squares(0.0, 1.0),
    ("hinge", _DEFAULT_OUTPUT): Objective(
        fake=Term(RELU, shift=1.0), real=Term(RELU, rate=-1.0, shift=1.0)
    ),
    # A critic is defined up to a constant; its accuracy at 0 says where that constant is.
    ("wasserstein", _DEFAULT_OUTPUT): Objective(
        fake=Term(IDENTITY), real=Term(IDENTITY, scale=-1.0)
    ),
    ("relativistic", _DEFAULT_OUTPUT): Objective(fake=Term(SOFTPLUS, rate=-1.0), paired=True),
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
    loss: str, output: str = _DEFAULT_OUTPUT, a: float = 0.0, b: float = 1.0
) -> Objective:
    """What the discriminator minimises.

    Raises:
        ValueError: no such loss, it has no such output activation, `a` or `b` is given to another
            loss than least_squares, or `a` is not below `b`.
    """
    objective = DISCRIMINATORS.get((loss, output))
    if objective is None:
        raise _no_discriminator(loss, output)
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
        return _least_squares(a, b)
    return objective


def generator_objective(
    loss: str, divergence: str = "gan", output: str = _DEFAULT_OUTPUT, c: float = 1.0
) -> Objective:
    """What the generator minimises.

    Raises:
        ValueError: no such loss or divergence, the divergence has no such output activation, the
            loss is not defined for them, or `c` is given to another loss than least_squares.
    """
    objective = GENERATORS.get((loss, divergence, output))
    if objective is None:
        if loss in _OTHER_GENERATORS:
            raise _no_discriminator(divergence, output, "divergence")
        raise _no_generator(loss, divergence, output)
    if c != 1.0:
        if loss != "least_squares":
            raise ValueError(f"c={c!r}: only loss='least_squares' has a target, not loss={loss!r}")
        return Objective(fake=Term(SQUARE, shift=-c, scale=0.5))
    return objective


def _no_discriminator(loss: str, output: str, argument: str = "loss") -> ValueError:
    if loss not in DISCRIMINATOR_LOSSES:
        return _unknown(DISCRIMINATOR_LOSSES, loss, argument, "discriminator losses")
    if loss not in DIVERGENCES:
        return ValueError(
            f"output={output!r}: {argument}={loss!r} is no f-divergence and has no output "
            f"activation; leave output={_DEFAULT_OUTPUT!r}, the default"
        )
    outputs = DIVERGENCES[loss].outputs
    if loss == "total_variation" and output == "log_ratio":
        return ValueError(
            "output='log_ratio' is not defined for 'total_variation': its weight w = ∂f*/∂T is the "
            "constant 1 and cannot equal exp(F); output='nowozin' is possible, and every other "
            "divergence has 'log_ratio'"
        )
    return _unknown(outputs, output, "output", f"output activations of {loss!r}")


def _no_generator(loss: str, divergence: str, output: str) -> ValueError:
    if loss not in GENERATOR_LOSSES:
        return _unknown(GENERATOR_LOSSES, loss, "loss", "generator losses")
    if divergence not in DIVERGENCES:
        if divergence in DISCRIMINATOR_LOSSES:
            others = ", ".join(sorted(_OTHER_GENERATORS))
            return ValueError(
                f"divergence={divergence!r}: loss={loss!r} follows from an f-divergence, one of "
                f"{', '.join(sorted(DIVERGENCES))}, and {divergence!r} is none. Generator losses "
                f"that need none: {others}"
            )
        return _unknown(DIVERGENCES, divergence, "divergence", "divergences")
    outputs = DIVERGENCES[divergence].outputs
    if output not in outputs:
        return _no_discriminator(divergence, output, "divergence")
    return ValueError(
        f"loss={loss!r} is not defined for divergence={divergence!r}: "
        f"{outputs[output].log_weight}. 'saturating' and 'non_saturating' are possible"
    )


def _unknown(known: Iterable[str], name: str, argument: str, what: str) -> ValueError:
    names = sorted(set(known))
    message = f"{argument}={name!r} is not known; known {what}: {', '.join(names)}"
    nearest = get_close_matches(str(name), names, n=1)
    return ValueError(f"{message}. Did you mean {nearest[0]!r}?" if nearest else message)
