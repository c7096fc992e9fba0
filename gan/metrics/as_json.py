"""Metrics as a file has them."""

from __future__ import annotations

import math
from typing import Any

Metrics = dict[str, Any]

DIGITS = 6  # significant ones


def as_json(values: Metrics) -> Metrics:
    """The same with floats of a few digits, and None for what JSON cannot hold (NaN, infinity).

    Digits beyond these are rounding, which differs between libraries and machines: a file that is
    the same when the result is the same is worth more.
    """
    clean: Metrics = {}
    for key, value in values.items():
        if isinstance(value, dict):
            clean[key] = as_json(value)
        elif isinstance(value, float):
            clean[key] = float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
        else:
            clean[key] = value
    return clean
