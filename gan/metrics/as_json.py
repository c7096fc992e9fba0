"""Metrics as a file has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from gan.metrics.records import LEFT_OUT

Metrics = dict[str, Any]

DIGITS = 6  # significant ones


def as_json(values: Any) -> Any:
    """A record, or a mapping, as JSON values.

    Floats have a few digits, and None stands for what JSON cannot hold (NaN, infinity). Digits
    beyond these are rounding, which differs between libraries and machines: a file that is the same
    when the result is the same is worth more.

    Args:
        values: a dataclass instance, a mapping, or what these hold.
    """
    if is_dataclass(values) and not isinstance(values, type):
        return {
            each.name: as_json(value)
            for each in fields(values)
            if (value := getattr(values, each.name)) is not None or dict(each.metadata) != LEFT_OUT
        }
    if isinstance(values, Mapping):
        return {key: as_json(value) for key, value in values.items()}
    if isinstance(values, float):
        return float(f"{values:.{DIGITS}g}") if math.isfinite(values) else None
    return values
