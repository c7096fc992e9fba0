"""The table: every adversarial loss as scalar terms of a logit, in plain PyTorch. The definition.

`F` is the discriminator's logit, `P` the data, `Q` the generator, `r = p/q`, `sp` softplus.
An f-divergence gives the discriminator the bound

    D_f(P‖Q) = E_Q[f(r)] ≥ E_P[T] − E_Q[f*(T)],   T = ν(F),

to maximise, where ν, the output activation, maps a logit into the domain of f*. A row holds ν(F)
and the composition f*(ν(F)), never f* by itself: only the composition is stable.

The terms take floating-point tensors of any shape and work elementwise in the dtype they are
given; they are differentiable to any order.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter

import torch.nn.functional as F
from torch import Tensor

Term = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class OutputActivation:
    """One choice of ν for one divergence.

    Attributes:
        name: "nowozin" for the activations of the f-GAN paper.
        formula: ν(F) and f*(ν(F)), as text.
        source: paper and table.
        value: F ↦ ν(F).
        conjugate: F ↦ f*(ν(F)).
        threshold: the logit at which ν(F) = f'(1); above it a sample is taken for real.
    """

    name: str
    formula: str
    source: str
    value: Term
    conjugate: Term
    threshold: float


@dataclass(frozen=True)
class Divergence:
    """An f-divergence D_f(P‖Q) = E_Q[f(p/q)].

    Attributes:
        name: as `divergence=` takes it.
        formula: f(u), as text.
        source: paper and table.
        level: f'(1), the value of T where p = q.
        outputs: its output activations by name.
    """

    name: str
    formula: str
    source: str
    level: float
    outputs: Mapping[str, OutputActivation]


@dataclass(frozen=True)
class DiscriminatorLoss:
    """What a discriminator minimises: E_Q[fake(F)] − E_P[real(F)].

    Attributes:
        name: as `loss=` takes it.
        formula: the loss, as text.
        source: paper and equation.
        real: the term whose mean over real samples is maximised.
        fake: the term whose mean over generated samples is minimised.
        threshold: the logit above which a sample is taken for real.
    """

    name: str
    formula: str
    source: str
    real: Term
    fake: Term
    threshold: float


@dataclass(frozen=True)
class GeneratorLoss:
    """What a generator minimises: −E_Q[gain(F)], where gain follows from the divergence's ν.

    Attributes:
        name: as `loss=` takes it.
        formula: the loss, as text.
        source: paper and equation.
        gain: output activation ↦ the term whose mean over generated samples is maximised.
    """

    name: str
    formula: str
    source: str
    gain: Callable[[OutputActivation], Term]


def softplus(x: Tensor) -> Tensor:
    """log(1 + eˣ), exact in float64 too."""
    # torch replaces sp(x) by x above its threshold, 20 by default: wrong by 2e-9 there, which
    # float64 sees. Above 40 the difference is below the spacing of float64.
    return F.softplus(x, threshold=40.0)


DIVERGENCES: dict[str, Divergence] = {
    "gan": Divergence(
        name="gan",
        formula="f(u) = u log u − (u+1) log(u+1)",
        source="Goodfellow et al. 2014, eq. 1; Nowozin et al. 2016, tables 1 and 6",
        level=-math.log(2),
        outputs={
            "nowozin": OutputActivation(
                name="nowozin",
                formula="ν(F) = −sp(−F), f*(ν(F)) = sp(F)",
                source="Nowozin et al. 2016, table 2",
                value=F.logsigmoid,
                conjugate=softplus,
                threshold=0.0,
            ),
        },
    ),
}

GENERATOR_LOSSES: dict[str, GeneratorLoss] = {
    "saturating": GeneratorLoss(
        name="saturating",
        formula="−E_Q[f*(ν(F))]",
        source="Goodfellow et al. 2014, eq. 1; Nowozin et al. 2016, eq. 4",
        gain=attrgetter("conjugate"),
    ),
    "non_saturating": GeneratorLoss(
        name="non_saturating",
        formula="−E_Q[ν(F)]",
        source="Goodfellow et al. 2014, section 3; Nowozin et al. 2016, section 3.2",
        gain=attrgetter("value"),
    ),
}


def _bound(divergence: Divergence, output: OutputActivation) -> DiscriminatorLoss:
    """The discriminator's side of an f-divergence: minus the variational bound."""
    return DiscriminatorLoss(
        name=divergence.name,
        formula="E_Q[f*(ν(F))] − E_P[ν(F)]",
        source="Nowozin et al. 2016, eq. 4",
        real=output.value,
        fake=output.conjugate,
        threshold=output.threshold,
    )


DISCRIMINATOR_LOSSES: dict[tuple[str, str], DiscriminatorLoss] = {
    (divergence.name, output.name): _bound(divergence, output)
    for divergence in DIVERGENCES.values()
    for output in divergence.outputs.values()
}
"""By loss and output activation."""

_GAINS: dict[tuple[str, str, str], Term] = {
    (loss.name, divergence.name, output.name): loss.gain(output)
    for loss in GENERATOR_LOSSES.values()
    for divergence in DIVERGENCES.values()
    for output in divergence.outputs.values()
}


def discriminator_row(loss: str, output: str) -> DiscriminatorLoss:
    """The discriminator's row of the table.

    Raises:
        ValueError: no such loss, or it has no such output activation.
    """
    row = DISCRIMINATOR_LOSSES.get((loss, output))
    if row is None:
        losses = [name for name, _ in DISCRIMINATOR_LOSSES]
        _check(losses, loss, "loss", "discriminator losses")
        outputs = [name for of, name in DISCRIMINATOR_LOSSES if of == loss]
        raise _unknown(outputs, output, "output", f"output activations of {loss!r}")
    return row


def generator_gain(loss: str, divergence: str, output: str) -> Term:
    """F ↦ the term whose mean over generated samples the generator maximises.

    Raises:
        ValueError: no such loss or divergence, or it has no such output activation.
    """
    gain = _GAINS.get((loss, divergence, output))
    if gain is None:
        _check(GENERATOR_LOSSES, loss, "loss", "generator losses")
        _check(DIVERGENCES, divergence, "divergence", "divergences")
        outputs = DIVERGENCES[divergence].outputs
        raise _unknown(outputs, output, "output", f"output activations of {divergence!r}")
    return gain


def _check(known: Iterable[str], name: str, argument: str, what: str) -> None:
    if name not in known:
        raise _unknown(known, name, argument, what)


def _unknown(known: Iterable[str], name: str, argument: str, what: str) -> ValueError:
    names = sorted(set(known))
    message = f"{argument}={name!r} is not known; known {what}: {', '.join(names)}"
    nearest = get_close_matches(str(name), names, n=1)
    return ValueError(f"{message}. Did you mean {nearest[0]!r}?" if nearest else message)
