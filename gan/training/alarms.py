"""Is the game going well? Alarms over the rows of a history, one clear line each.

They look at the last part of a run, `WINDOW` of its rows, and at columns of the history by name;
a column that is not there, or has no finite value, leaves an alarm silent. None of them proves
anything: each says what was seen, and what usually lies behind it. What the columns mean:

| column | what |
|---|---|
| discriminator_loss, generator_loss | what the players minimise, without penalties |
| total_loss | the discriminator's loss plus the non-saturating loss of the generator |
| real_logit, fake_logit | mean logits |
| real_accuracy, fake_accuracy | share of real and of generated samples told right |
| discriminator_gradient_norm, generator_gradient_norm | over all of a player's parameters |
| gradient_ratio | norm of the saturating generator loss's gradient by the logits over the norm of the non-saturating one's; for `gan` about D / (1 − D) of generated samples |
| spread | deviation within a generated batch over that within a real one |
| at_bound | share of logits at the bound of an exponent, see `kernels.losses.curves` |
| effective_sample_size | 1 / Σ w̃² of the M samples of a latent vector, in the mean: 1 to M |
| generator_entropy | of g(x given z), in nats a symbol |
"""  # noqa: E501

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

Columns = Mapping[str, Sequence[float]]

# --- thresholds, all of them ----------------------------------------------------------------

WINDOW = 0.2  # share of the rows, the last ones, that a statement about "now" rests on
MIN_ROWS = 5  # rows below which nothing is said

# D too strong: both accuracies above the first, and the saturating gradient, where it is known,
# below this share of the non-saturating one: σ(F) of generated samples under about 5 %.
STRONG_ACCURACY = 0.98
STRONG_RATIO = 0.05

# D too weak: right less often than chance allows for, or no better than chance while the samples'
# spread shows that there is something to tell.
WEAK_ACCURACY = 0.45
CHANCE_ACCURACY = 0.55
TELLING_SPREAD = (0.75, 1.25)

# Oscillation: over the second half of the run a loss, its trend taken off, repeats itself with at
# least this correlation and this many standard errors of one (what the best of many lags of noise
# hardly reaches), swings by at least this share of its size, and this often at least.
OSCILLATION_CORRELATION = 0.6
OSCILLATION_ERRORS = 3.0
OSCILLATION_SWING = 0.15
OSCILLATION_PERIODS = 2
OSCILLATION_ROWS = 16

# Collapse: the samples vary by less than this share of what the data vary.
COLLAPSE_SPREAD = 0.5

# At the exponent's bound: a larger share of the logits.
BOUND_SHARE = 0.001


# One weight dominates: a smaller effective sample size over the whole second half of the run. The
# largest of weights that add up to 1 is at least Σ w̃², here two thirds.
DOMINATED_SIZE = 1.5

# Lost entropy: below this many nats a symbol and this share of the largest there was in the run,
# which is about the log of the alphabet's size at the start. For 256 black and white pixels that is
# one nat or two a picture.
LOST_ENTROPY = 0.01
LOST_ENTROPY_SHARE = 0.01


class Alarm(NamedTuple):
    """One thing that is not going well.

    Attributes:
        name: stable, for a metrics file.
        message: one line for a person.
    """

    name: str
    message: str


def alarms(columns: Columns) -> list[Alarm]:
    """All alarms that `columns` give cause for, in a fixed order.

    Args:
        columns: name to values, one a row of the history, all of one length.

    Raises:
        ValueError: columns of different lengths.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns have different lengths: {lengths}")
    return [
        Alarm(name, message)
        for name, check in CHECKS.items()
        if (message := check(columns)) is not None
    ]


def discriminator_too_strong(columns: Columns) -> str | None:
    """Nothing fools D any more: a saturating generator gets no gradient, any other a steep one."""
    real, fake = _now(columns, "real_accuracy"), _now(columns, "fake_accuracy")
    ratio = _now(columns, "gradient_ratio")
    if real is None or fake is None or min(real, fake) < STRONG_ACCURACY:
        return None
    if ratio is not None and ratio > STRONG_RATIO:
        return None
    gradient = "" if ratio is None else f", the saturating gradient at {ratio:.1%} of the other"
    return (
        f"the discriminator is too strong: right on {real:.1%} of real and {fake:.1%} of generated "
        f"samples{gradient}; the generator's gradient vanishes or comes from outliers. Fewer "
        "discriminator steps, a smaller rate for it, or a penalty (R1) may help"
    )


def discriminator_too_weak(columns: Columns) -> str | None:
    """D cannot tell what can be told: the generator learns nothing from it."""
    real, fake = _now(columns, "real_accuracy"), _now(columns, "fake_accuracy")
    if real is None or fake is None:
        return None
    accuracy, spread = (real + fake) / 2, _now(columns, "spread")
    low, high = TELLING_SPREAD
    if accuracy < WEAK_ACCURACY:
        seen = "worse than chance"
    elif accuracy <= CHANCE_ACCURACY and spread is not None and not low <= spread <= high:
        seen = f"no better than chance, though the samples' spread is {spread:.2f} of the data's"
    else:
        return None
    return (
        f"the discriminator is too weak: right on {accuracy:.1%} of all samples, {seen}. More "
        "discriminator steps, a larger rate or a wider network for it may help"
    )


def oscillation(columns: Columns) -> str | None:
    """The players chase each other around the equilibrium instead of coming to it."""
    for name in ("generator_loss", "discriminator_loss"):
        values = columns.get(name, ())
        rows = [value for value in values[len(values) // 2 :] if math.isfinite(value)]
        if len(rows) < OSCILLATION_ROWS:
            continue
        period, correlation = _period(rows)
        size = statistics.fmean(abs(value) for value in rows)
        swing = statistics.pstdev(_without_trend(rows))
        if (
            period is not None
            and correlation >= OSCILLATION_CORRELATION
            and correlation * math.sqrt(len(rows) - period) >= OSCILLATION_ERRORS
            and swing >= OSCILLATION_SWING * size
        ):
            return (
                f"the game oscillates: {name} repeats itself every {period} rows of the history "
                f"(correlation {correlation:.2f}) and swings by {swing / max(size, 1e-12):.0%}. "
                "Smaller rates, a smaller first beta or a penalty (R1) may help"
            )
    return None


def collapse(columns: Columns) -> str | None:
    """The generator gives much the same whatever the latent vector."""
    spread = _now(columns, "spread")
    if spread is None or spread >= COLLAPSE_SPREAD:
        return None
    return (
        f"the samples lose their diversity: a batch of them varies {spread:.2f} times as much as "
        "one of the data. Another objective, a penalty (R1) or smaller rates may help"
    )


def at_exponent_bound(columns: Columns) -> str | None:
    """Logits so large that an exponential had to be cut short: the loss is no longer the formula's.

    The bound is that of `kernels.losses.curves`.
    """
    share = _now(columns, "at_bound")
    if share is None or share <= BOUND_SHARE:
        return None
    return (
        f"{share:.2%} of the logits are at the bound of an exponent: the loss is not the "
        "divergence's there. A smaller rate or a penalty for the discriminator, or another "
        "divergence may help"
    )


def dominating_weight(columns: Columns) -> str | None:
    """Of the samples of a latent vector one has nearly all the weight, and for long."""
    values = columns.get("effective_sample_size", ())
    rows = [value for value in values[len(values) // 2 :] if math.isfinite(value)]
    if len(rows) < MIN_ROWS or max(rows) >= DOMINATED_SIZE:
        return None
    return (
        "one weight dominates: the samples of a latent vector count for "
        f"{statistics.fmean(rows):.2f} in effect. Importance learns from one of them, reinforce "
        "from rewards that differ by nats. A weaker discriminator (smaller rate, a penalty) or "
        "more samples may help"
    )


def lost_entropy(columns: Columns) -> str | None:
    """The generator draws much the same symbols whatever the dice: samples tell it nothing."""
    entropy = _now(columns, "generator_entropy")
    if entropy is None:
        return None
    largest = max(value for value in columns["generator_entropy"] if math.isfinite(value))
    if entropy >= LOST_ENTROPY or entropy >= LOST_ENTROPY_SHARE * largest:
        return None
    return (
        f"the generator has lost its entropy: {entropy:.2g} nats a symbol are left of "
        f"{largest:.2g}; the samples of a latent vector are alike, and comparing them teaches "
        "nothing. A smaller generator rate or more samples may help"
    )


CHECKS: dict[str, Callable[[Columns], str | None]] = {
    "discriminator_too_strong": discriminator_too_strong,
    "discriminator_too_weak": discriminator_too_weak,
    "oscillation": oscillation,
    "collapse": collapse,
    "at_exponent_bound": at_exponent_bound,
    "dominating_weight": dominating_weight,
    "lost_entropy": lost_entropy,
}


def _now(columns: Columns, name: str) -> float | None:
    """Mean of the finite values in the last part of a column; None where nothing can be said."""
    values = columns.get(name, ())
    if len(values) < MIN_ROWS:
        return None
    rows = max(MIN_ROWS, round(WINDOW * len(values)))
    finite = [value for value in values[-rows:] if math.isfinite(value)]
    return statistics.fmean(finite) if finite else None


def _without_trend(values: Sequence[float]) -> list[float]:
    """`values` less the straight line that fits them best."""
    places = list(range(len(values)))
    slope, start = statistics.linear_regression(places, values)
    return [value - start - slope * place for place, value in zip(places, values, strict=True)]


def _period(values: Sequence[float]) -> tuple[int | None, float]:
    """The lag at which detrended `values` are most alike again, and their correlation there.

    Looked for beyond the first lag of negative correlation: smooth noise is like its neighbours.
    """
    rows = _without_trend(values)
    power = sum(value * value for value in rows)
    if power <= 1e-24:
        return None, 0.0
    correlations = []
    for lag in range(len(rows) // OSCILLATION_PERIODS + 1):
        products = sum(a * b for a, b in zip(rows, rows[lag:], strict=False))
        correlations.append(products / power * len(rows) / (len(rows) - lag))
    turned = next((lag for lag, value in enumerate(correlations) if value < 0), None)
    if turned is None:
        return None, 0.0
    best = max(range(turned, len(correlations)), key=lambda lag: correlations[lag])
    return best, correlations[best]
