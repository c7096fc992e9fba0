"""From values that were read to a section of the configuration: every error at once.

Each error names its key, what was found, and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gan.errors import ConfigError


class Section(BaseModel):
    """What every section shares: unknown keys are refused, types are strict, values are fixed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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
    for each in errors:
        key = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            known = ", ".join(_fields_at(section, each["loc"][:-1]))
            lines.append(f"  {key}: unknown key; expected one of: {known}")
        elif each["type"] == "value_error":
            # Rules across keys name their keys themselves.
            lines.append("  " + each["msg"].removeprefix("Value error, "))
        else:
            expected = each["msg"].removeprefix("Input should be ")
            lines.append(f"  {key}: found {each['input']!r}, expected {expected}")
    return "\n".join(lines)


def _fields_at(section: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)
