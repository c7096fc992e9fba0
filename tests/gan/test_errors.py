"""What goes into messages, and the border around foreign readers."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.errors import DataError, StateError, UserError, reading, shown


def test_shown_leaves_plain_text_alone() -> None:
    assert shown("photos/Sankt Gallen/é 1.jpg") == "photos/Sankt Gallen/é 1.jpg"


def test_shown_escapes_what_would_act_on_the_terminal() -> None:
    assert shown("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert shown("caf\udce9") == "caf\\udce9"  # a byte that is not UTF-8, as Python reads names
    assert shown("\u202egpj.exe") == "\\u202egpj.exe"


def test_shown_leaves_out_the_middle() -> None:
    assert shown("a" * 10 + "b" * 10, limit=7) == "aaa…bbb"


@given(st.text(), st.integers(1, 50))
def test_shown_is_one_printable_line_within_the_limit(text: str, limit: int) -> None:
    line = shown(text, limit)
    assert line.isprintable()
    assert len(line) <= limit


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (OSError(errno.EIO, "Input/output error"), "cannot read f: Input/output error"),
        (MemoryError(), "cannot read f: there is not enough memory for it"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "cannot read f: there is not enough memory for it",
        ),
        (
            OSError("Corrupt snappy compressed data."),
            "f is damaged or foreign, expected a judge: OSError: Corrupt snappy compressed data.",
        ),
        (
            RecursionError("too deep"),
            "f is damaged or foreign, expected a judge: RecursionError: too deep",
        ),
        (
            AttributeError(),
            "f is damaged or foreign, expected a judge: AttributeError: no reason is given",
        ),
    ],
)
def test_reading_turns_everything_into_the_error_asked_for(raised: Exception, message: str) -> None:
    with pytest.raises(StateError) as caught, reading("f", "a judge", StateError):
        raise raised
    assert str(caught.value) == message


def test_reading_lets_errors_of_our_own_and_interrupts_pass() -> None:
    with pytest.raises(DataError, match=r"^as it is$"), reading("f", "a judge", StateError):
        raise DataError("as it is")
    with pytest.raises(KeyboardInterrupt), reading("f", "a judge"):
        raise KeyboardInterrupt


def test_every_error_is_a_user_error() -> None:
    with pytest.raises(UserError), reading("f", "a judge"):
        raise ValueError("x")
