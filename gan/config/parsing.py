"""From values that were read to a section of the configuration: every error at once.

Each error names its key, what was found, and what was expected.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from gan.errors import ConfigError, shown

# Errors that a message lists.
MOST_ERRORS = 20
KEY_CHARACTERS = 60
# What a name of a type is to people who write YAML.
_HINTS = {"string_type": " (in quotes where it looks like something else)"}


class Section(BaseModel):
    """What every section shares.

    Unknown keys are refused, types are strict, numbers are finite, values are fixed.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


SectionType = TypeVar("SectionType", bound=Section)


def parse(section: type[SectionType], values: Mapping[str, Any], source: str) -> SectionType:
    """Check `values` and return them as `section`.

    Args:
        section: the class to return, `Config` for a whole file.
        values: what was read.
        source: where from, for the message.

    Raises:
        ConfigError: lists every error with its key, the value found and what was expected.
    """
    try:
        return section.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(_describe(error, section, source)) from None


def _describe(error: ValidationError, section: type[Section], source: str) -> str:
    errors = error.errors(include_url=False)
    lines = [f"{source}: {len(errors)} error{'s' if len(errors) > 1 else ''}"]
    told = set[tuple[int | str, ...]]()  # sections whose keys the message has already
    lines += [f"  {_line(each, section, told)}" for each in errors[:MOST_ERRORS]]
    if len(errors) > MOST_ERRORS:
        lines.append(f"  … and {len(errors) - MOST_ERRORS} more")
    return "\n".join(lines)


def _line(error: ErrorDetails, section: type[Section], told: set[tuple[int | str, ...]]) -> str:
    if error["type"] == "value_error":
        # Rules across keys name their keys themselves.
        return error["msg"].removeprefix("Value error, ")
    location = error["loc"]
    if error["type"] == "invalid_key":  # of a mapping: its location ends with the key, as text
        return f"{_name(location)}: the key is no text; expected a name"
    if error["type"] == "extra_forbidden":
        if location[:-1] in told:
            return f"{_name(location)}: unknown key, too"
        told.add(location[:-1])
        known = ", ".join(_fields_at(section, location[:-1]))
        return f"{_name(location)}: unknown key; expected one of: {known}"
    expected = error["msg"].removeprefix("Input should be ") + _HINTS.get(error["type"], "")
    return f"{_name(location)}: found {found(error['input'])}, expected {expected}"


def _name(location: tuple[int | str, ...]) -> str:
    return ".".join(shown(part, KEY_CHARACTERS) for part in location)


def found(value: object) -> str:
    """`value` as Python writes it, for a message: however large or deep, it takes no time."""
    return shown(_Short().repr(value))


class _Short(reprlib.Repr):
    """Looks at a part of what is large, where `repr` would unfold all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = 100
        self.maxlong = 40

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to write what has thousands of digits.
        if value.bit_length() > 1000:
            return f"a number of {value.bit_length()} bits"
        return super().repr_int(value, level)


def _fields_at(section: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)
