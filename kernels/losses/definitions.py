"""The table: every adversarial loss as scalar terms of a logit, in plain PyTorch. The definition.

`F` is the discriminator's logit, `P` the data, `Q` the generator, `r = p/q`, `sp` softplus.
An f-divergence gives the discriminator the bound

    D_f(P‖Q) = E_Q[f(r)] ≥ E_P[T] − E_Q[f*(T)],   T = ν(F),

to maximise, where ν, the output activation, maps a logit into the domain of f*. A row holds ν(F)
and the composition f*(ν(F)), never f* by itself: only the composition is stable.

Every term is an affine function of one of the few curves of `curves.py` of an affine function of
the logit, `scale·curve(rate·F + shift) + offset`: a row is data, which the PyTorch and the Triton
implementation both read. (Smoothed labels add a multiple of the curve's argument; no row has one.)
The terms work elementwise on floating-point tensors of any shape, in
the dtype they are given, and are differentiable to any order.

`python -m kernels.losses` prints the table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .curves import (
    EXPONENTIAL,
    IDENTITY,
    LOG_SIGMOID,
    PARABOLA,
    SOFTPLUS,
    TANH,
    Curve,
)


class Affine(NamedTuple):
    """F ↦ rate·F + shift."""

    rate: float = 1.0
    shift: float = 0.0

    def __call__(self, logits: Tensor) -> Tensor:
        """The value for each logit, in as few operations as it takes."""
        if self.rate == 1.0:
            return logits if self.shift == 0.0 else logits + self.shift
        if self.rate == -1.0:
            # torch.rsub and not `shift - logits`, which takes a way through Python.
            return -logits if self.shift == 0.0 else torch.rsub(logits, self.shift)
        scaled = logits * self.rate
        return scaled if self.shift == 0.0 else scaled + self.shift


class Term(NamedTuple):
    """F ↦ scale·curve(x) + linear·x + offset, x = rate·F + shift."""

    curve: Curve
    rate: float = 1.0
    shift: float = 0.0
    scale: float = 1.0
    offset: float = 0.0
    linear: float = 0.0

    def argument(self, logits: Tensor) -> Tensor:
        """rate·F + shift: what the curve is taken of."""
        return Affine(self.rate, self.shift)(logits)

    def __call__(self, logits: Tensor) -> Tensor:
        """The term of each logit."""
        return self.at(self.argument(logits))

    def at(self, argument: Tensor) -> Tensor:
        """The term, given what its curve is taken of."""
        value = self.finish(self.curve.value(argument))
        # Not 0·x: that is NaN for an infinite x.
        return torch.add(value, argument, alpha=self.linear) if self.linear != 0.0 else value

    def finish(self, value: Tensor) -> Tensor:
        """scale·value + offset, for a value of the curve or a mean of such."""
        if self.scale == -1.0:
            return -value if self.offset == 0.0 else self.offset - value
        if self.scale != 1.0:
            value = value * self.scale
        return value if self.offset == 0.0 else value + self.offset

    def negated(self) -> "Term":
        """F ↦ −(this term)."""
        # 0.0 − x and not −x: no −0.0, which would print its sign.
        return self._replace(scale=-self.scale, offset=0.0 - self.offset, linear=0.0 - self.linear)


@dataclass(frozen=True)
class OutputActivation:
    """One choice of ν for one divergence.

    Attributes:
        name: "f_gan" for the activations of the f-GAN paper, "log_ratio" for those of the BGAN
            paper, with which F estimates log p/q.
        source: paper and table.
        value: F ↦ ν(F).
        conjugate: F ↦ f*(ν(F)).
        log_weight: F ↦ log w, where w = (∂f*/∂T)(ν(F)) estimates p/q; or why there is none.
        threshold: the logit at which ν(F) = f'(1); above it a sample is taken for real.
    """

    name: str
    source: str
    value: Term
    conjugate: Term
    log_weight: Affine | str
    threshold: float = 0.0


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
class LossFormula:
    """A row of the table of one player's losses that do not follow from an f-divergence."""

    formula: str
    source: str


_LOG2 = math.log(2)
_F_GAN = "Nowozin et al. 2016, table 2"
_BGAN = "Hjelm et al. 2018, section 2"
_NEGATIVE = (
    "with output='f_gan' its weight w = F/2 + 1 can be negative and has no logarithm; "
    "output='log_ratio' has one"
)
_CONSTANT = "its weight w = ∂f*/∂T is the constant 1: there is no boundary to seek"
_F = Affine()


def _outputs(*activations: OutputActivation) -> dict[str, OutputActivation]:
    return {activation.name: activation for activation in activations}


def _divergences(*rows: Divergence) -> dict[str, Divergence]:
    return {row.name: row for row in rows}


DIVERGENCES: dict[str, Divergence] = _divergences(
    Divergence(
        "gan",
        "u log u − (u+1) log(u+1)",
        "Goodfellow et al. 2014, eq. 1; Nowozin et al. 2016, tables 1 and 6",
        -_LOG2,
        _outputs(
            OutputActivation("f_gan", _F_GAN, Term(LOG_SIGMOID), Term(SOFTPLUS), _F),
            OutputActivation("log_ratio", _BGAN, Term(LOG_SIGMOID), Term(SOFTPLUS), _F),
        ),
    ),
    Divergence(
        "jensen_shannon",
        "u log u − (u+1) log((u+1)/2)",
        "Nowozin et al. 2016, tables 1 and 6",
        0.0,
        _outputs(
            *(
                OutputActivation(
                    name,
                    source,
                    Term(LOG_SIGMOID, offset=_LOG2),
                    Term(SOFTPLUS, offset=-_LOG2),
                    _F,
                )
                for name, source in (("f_gan", _F_GAN), ("log_ratio", _BGAN))
            )
        ),
    ),
    Divergence(
        "kl",
        "u log u",
        "Nowozin et al. 2016, tables 1 and 6",
        1.0,
        _outputs(
            OutputActivation(
                "f_gan",
                _F_GAN,
                Term(IDENTITY),
                Term(EXPONENTIAL, shift=-1.0),
                Affine(shift=-1.0),
                threshold=1.0,
            ),
            OutputActivation("log_ratio", _BGAN, Term(IDENTITY, offset=1.0), Term(EXPONENTIAL), _F),
        ),
    ),
    Divergence(
        "reverse_kl",
        "−log u",
        "Nowozin et al. 2016, tables 1 and 6",
        -1.0,
        _outputs(
            *(
                OutputActivation(
                    name,
                    source,
                    Term(EXPONENTIAL, rate=-1.0, scale=-1.0),
                    Term(IDENTITY, offset=-1.0),
                    _F,
                )
                for name, source in (("f_gan", _F_GAN), ("log_ratio", _BGAN))
            )
        ),
    ),
    Divergence(
        "pearson",
        "(u−1)²",
        "Nowozin et al. 2016, tables 1 and 6",
        0.0,
        _outputs(
            OutputActivation("f_gan", _F_GAN, Term(IDENTITY), Term(PARABOLA), _NEGATIVE),
            OutputActivation(
                "log_ratio",
                _BGAN,
                Term(EXPONENTIAL, scale=2.0, offset=-2.0),
                Term(EXPONENTIAL, rate=2.0, offset=-1.0),
                _F,
            ),
        ),
    ),
    Divergence(
        "squared_hellinger",
        "(√u−1)²",
        "Nowozin et al. 2016, tables 1 and 6",
        0.0,
        _outputs(
            OutputActivation(
                "f_gan",
                _F_GAN,
                Term(EXPONENTIAL, rate=-1.0, scale=-1.0, offset=1.0),
                Term(EXPONENTIAL, offset=-1.0),
                Affine(rate=2.0),  # w = 1/(1−T)² with 1 − T = e^−F
            ),
            OutputActivation(
                "log_ratio",
                _BGAN,
                Term(EXPONENTIAL, rate=-0.5, scale=-1.0, offset=1.0),
                Term(EXPONENTIAL, rate=0.5, offset=-1.0),
                _F,
            ),
        ),
    ),
    Divergence(
        "total_variation",
        "½·|u−1|",
        "Nowozin et al. 2016, tables 1 and 6",
        0.0,
        _outputs(
            OutputActivation(
                "f_gan", _F_GAN, Term(TANH, scale=0.5), Term(TANH, scale=0.5), _CONSTANT
            ),
        ),
    ),
)

# The terms of those that follow from no f-divergence are in `objectives.py`: some have parameters.
DISCRIMINATOR_LOSSES: dict[str, LossFormula] = {
    **{
        name: LossFormula("E_Q[f*(ν(F))] − E_P[ν(F)]", "Nowozin et al. 2016, eq. 4")
        for name in DIVERGENCES
    },
    "least_squares": LossFormula("½ E_P[(F−b)²] + ½ E_Q[(F−a)²]", "Mao et al. 2017, eq. 2"),
    "hinge": LossFormula("E_P[relu(1−F)] + E_Q[relu(1+F)]", "Lim & Ye 2017, section 3"),
    "wasserstein": LossFormula("E_Q[F] − E_P[F]", "Arjovsky et al. 2017, eq. 2"),
    "relativistic": LossFormula(
        "E[sp(−(F(x) − F(G(z))))] over pairs",
        "Jolicoeur-Martineau 2019, section 4; Huang et al. 2024, eq. 2",
    ),
}
"""By name; the first ones are the divergences."""

GENERATOR_LOSSES: dict[str, LossFormula] = {
    "saturating": LossFormula(
        "−E_Q[f*(ν(F))]", "Goodfellow et al. 2014, eq. 1; Nowozin et al. 2016, eq. 4"
    ),
    "non_saturating": LossFormula(
        "−E_Q[ν(F)]", "Goodfellow et al. 2014, section 3; Nowozin et al. 2016, section 3.2"
    ),
    "boundary_seeking": LossFormula(
        "E_Q[(log w)²]; centred E_Q[(log w − log Z)²]", "Hjelm et al. 2018, section 3"
    ),
    "least_squares": LossFormula("½ E_Q[(F−c)²]", "Mao et al. 2017, eq. 2"),
    "hinge": LossFormula("−E_Q[F]", "Lim & Ye 2017, section 3"),
    "wasserstein": LossFormula("−E_Q[F]", "Arjovsky et al. 2017, theorem 3"),
    "relativistic": LossFormula(
        "E[sp(F(x) − F(G(z)))] over pairs",
        "Jolicoeur-Martineau 2019, section 4; Huang et al. 2024, eq. 2",
    ),
}
"""By name; the first three follow from the discriminator's divergence."""
