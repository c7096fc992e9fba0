"""JSON as it was written: what is no JSON, however deep, long or odd, is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from gan.errors import DataError, UserError, reading
from gan.files import open_plain

# The largest this project writes is a manifest with the names of its classes.
MOST_BYTES = 1 << 26
# Far more than any file of this project is, and little enough for all that walks through values.
MOST_DEEP = 100


def read_json(path: Path, expected: str, kind: type[UserError] = DataError) -> Any:
    """The values in the file at `path`.

    Args:
        path: of a plain file.
        expected: what it should be, with its article: "the manifest of prepared data".
        kind: what is raised.

    Raises:
        UserError: of class `kind`: the file is missing, cannot be read, is larger than
            `MOST_BYTES`, or is no JSON as `parse_json` takes it; names it.
    """
    with reading(path, expected, kind):
        with open_plain(path) as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        return parse_json(text)


def parse_json(text: str | bytes) -> Any:
    """The values of `text`, where every number is finite and every key is there once.

    Raises:
        ValueError: it is no JSON, has a number that is not finite, a key twice, or is nested more
            than `MOST_DEEP`.
    """
    try:
        values = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_each_key_once
        )
    except RecursionError:  # how deep that is differs between versions of Python
        raise _too_deep() from None
    inner: list[Any] = [values]
    for _ in range(MOST_DEEP):
        inner = [part for each in inner for part in _parts(each)]
        if not inner:
            return values
    raise _too_deep()


def _parts(values: Any) -> Iterable[Any]:
    """What stands in an array or an object and has something in it."""
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, list):
        return ()
    return [each for each in values if isinstance(each, list | dict)]


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {MOST_DEEP} deep")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is beyond floating point")
    return number


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has a key twice")
    return values
