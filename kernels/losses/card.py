"""The table of `definitions.py` as text: what `python -m kernels.losses` prints and the docs quote.

The formulas of terms are written from the numbers that the losses are computed from.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from .curves import EXPONENT_BOUND
from .definitions import DISCRIMINATOR_LOSSES, DIVERGENCES, GENERATOR_LOSSES, Affine, Term
from .names import ALIASES, OUTPUT_ALIASES

_FRACTIONS = {0.5: "½", math.log(2): "log 2"}


class Table(NamedTuple):
    """A heading, the columns' names, and rows of cells."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def number(value: float) -> str:
    """A number as formulas have it: 2, ½, log 2."""
    sign = "−" if value < 0 else ""
    return sign + _FRACTIONS.get(abs(value), f"{abs(value):g}")


def affine(rate: float, shift: float) -> str:
    """rate·F + shift, without what is 1 or 0."""
    scaled = {1.0: "F", -1.0: "−F"}.get(rate, f"{number(rate)}F")
    return _plus(scaled, shift)


def term(each: Term) -> str:
    """A term of a loss, without what is 1 or 0."""
    value = each.curve.text.format(affine(each.rate, each.shift))
    scaled = {1.0: value, -1.0: f"−{value}"}.get(each.scale, f"{number(each.scale)} {value}")
    if each.offset > 0 > each.scale:
        return f"{number(each.offset)} {_minus(scaled)}"
    return _plus(scaled, each.offset)


def _minus(text: str) -> str:
    """A text that begins with a minus sign, as what is subtracted."""
    return f"− {text[1:]}"


def _plus(text: str, offset: float) -> str:
    if offset == 0:
        return text
    return f"{text} {'−' if offset < 0 else '+'} {number(abs(offset))}"


def tables() -> list[Table]:
    """All that there is to print."""
    divergences = [
        [f"`{name}`", row.formula, number(row.level), row.source]
        for name, row in DIVERGENCES.items()
    ]
    activations = [
        [
            f"`{name}`",
            f"`{output.name}`",
            term(output.value),
            term(output.conjugate),
            affine(*output.log_weight) if isinstance(output.log_weight, Affine) else "–",
            number(output.threshold),
            output.source,
        ]
        for name, row in DIVERGENCES.items()
        for output in row.outputs.values()
    ]
    discriminators = [
        [f"`{name}`", row.formula, row.source]
        for name, row in DISCRIMINATOR_LOSSES.items()
        if name not in DIVERGENCES
    ]
    generators = [[f"`{name}`", row.formula, row.source] for name, row in GENERATOR_LOSSES.items()]
    words = [
        [
            f"`{word}`",
            "–" if each.discriminator is None else f"`{each.discriminator}`",
            "–" if each.generator is None else f"`{each.generator}`{_only(each.divergence)}",
        ]
        for word, each in ALIASES.items()
    ]
    return [
        Table(
            "Divergences: the discriminator minimises E_Q[f*(ν(F))] − E_P[ν(F)]",
            ("`loss=`", "f(u)", "f'(1)", "source"),
            divergences,
        ),
        Table(
            "Their output activations",
            ("`loss=`", "`output=`", "ν(F)", "f*(ν(F))", "log w", "p = q at F =", "source"),
            activations,
        ),
        Table("Other discriminator losses", ("`loss=`", "minimises", "source"), discriminators),
        Table("Generator losses", ("`loss=`", "minimises", "source"), generators),
        Table("Other words", ("word", "a discriminator's", "a generator's"), words),
    ]


def _only(divergence: str | None) -> str:
    return "" if divergence is None else f", for `{divergence}` alone"


def notes() -> list[str]:
    """What the tables leave out, a sentence or two each."""
    undefined = [
        f"For `{name}` with `{output.name}`: {output.log_weight}"
        for name, row in DIVERGENCES.items()
        for output in row.outputs.values()
        if isinstance(output.log_weight, str)
    ]
    return [
        "F is the discriminator's logit, P the data, Q the generator, sp softplus, σ the sigmoid.",
        f"Beyond x = {EXPONENT_BOUND:g}, exp(x) is continued by its tangent.",
        "; ".join(f"output=`{word}` is `{name}`" for word, name in OUTPUT_ALIASES.items()) + ".",
        "boundary_seeking is not defined where there is no log w. " + ". ".join(undefined) + ".",
    ]


def markdown() -> str:
    """The card as Markdown."""
    parts = []
    for heading, columns, rows in tables():
        lines = [columns, ["---"] * len(columns), *rows]
        # A bar would end the cell.
        body = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        parts.append(f"### {heading}\n\n{body}")
    return "\n\n".join([*parts, *notes()])


def plain() -> str:
    """The card for a terminal."""
    parts = []
    for heading, columns, rows in tables():
        cells = [[cell.replace("`", "") for cell in line] for line in (columns, *rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]
        parts.append("\n".join([heading, "", *lines]))
    return "\n\n".join([*parts, *(textwrap.fill(note.replace("`", ""), 100) for note in notes())])
