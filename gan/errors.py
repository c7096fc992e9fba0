"""What a user can do wrong, told apart from what is wrong with the program.

A `UserError` carries a message that is complete by itself: it names the key, file or argument,
what was found and what was expected. Command lines print it without a traceback and exit with 2.

What comes from outside, a file's name or a value, goes into a message by `shown`; whatever a
library raises over a foreign file becomes a `UserError` in `reading`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

# Of what is shown of a value from outside.
SHOWN_CHARACTERS = 120


class UserError(Exception):
    """Bad input. The message is meant to be read by the user, alone."""


class ConfigError(UserError):
    """A configuration that is not valid; the message lists every error at once."""


class DataError(UserError):
    """Data that is missing, damaged, or not what the configuration says."""


class StateError(UserError):
    """A saved state or a published file that cannot be used."""


class TrainingError(UserError):
    """A training run that cannot go on, a non-finite loss for example."""


def shown(value: object, limit: int = SHOWN_CHARACTERS) -> str:
    """`value` as text for a message: of one line, printable, and no longer than `limit` characters.

    Control characters, those that turn the direction of writing, and bytes of a file's name that
    are not UTF-8 appear as escapes, and of what is too long the middle is left out.
    """
    # Cut before it is escaped: the text may be gigabytes.
    text = _shortened(str(value), limit)
    return _shortened(
        "".join(
            each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
        ),
        limit,
    )


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = limit // 2
    return f"{text[:head]}…{text[len(text) - (limit - head - 1) :]}"


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, of the machine or of a GPU.

    PyTorch's own are a RuntimeError for the CPU and an OutOfMemoryError for a GPU.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (
            isinstance(error, RuntimeError)
            and ("not enough memory" in str(error) or "allocate memory" in str(error))
        )
    )


@contextlib.contextmanager
def reading(path: object, expected: str, kind: type[UserError] = DataError) -> Iterator[None]:
    """The border around a library that reads `path`: whatever it raises becomes a `UserError`.

    Libraries for foreign formats raise what they like over damaged input, `RecursionError` and
    `AttributeError` included. A `UserError` from within passes as it is.

    Args:
        path: the file, or what else names the input, for the message.
        expected: what it should be, with its article: "a file of samples".
        kind: what is raised.

    Raises:
        UserError: of class `kind`. It tells what the operating system refused (`cannot read`, the
            file may be sound) from what was read and is not as expected (`damaged or foreign`).
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_lack_of_memory(error):
            raise kind(f"cannot read {shown(path)}: there is not enough memory for it") from error
        # Without a number it is a library that says so, of damage for example.
        if isinstance(error, OSError) and error.errno is not None:
            reason = error.strerror or error
            raise kind(f"cannot read {shown(path)}: {shown(reason)}") from error
        found = shown(str(error)) or "no reason is given"
        raise kind(
            f"{shown(path)} is damaged or foreign, expected {expected}: "
            f"{type(error).__name__}: {found}"
        ) from error
