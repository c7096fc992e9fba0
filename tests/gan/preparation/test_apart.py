"""Readers of these tests are module-level functions: they travel to another process."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan.errors import ConfigError, DataError
from gan.preparation.apart import apart


def numbers(count: int) -> Iterator[tuple[int, int]]:
    for number in range(count):
        yield number, os.getpid()


def dies(by: int) -> Iterator[int]:
    yield 1
    if by:
        os.kill(os.getpid(), by)
    os._exit(3)


def refuses() -> Iterator[int]:
    yield 1
    raise ConfigError("no such number")


def fails() -> Iterator[int]:
    yield 1
    raise ZeroDivisionError


def test_items_of_another_process() -> None:
    found = list(apart(numbers, 1000, path="a.mdb"))
    assert [number for number, _ in found] == list(range(1000))
    assert {process for _, process in found} != {os.getpid()}
    assert not multiprocessing.active_children()


def test_it_ends_when_nobody_wants_more() -> None:
    with contextlib.closing(apart(numbers, 10**12, path="a.mdb")) as items:
        assert next(items)[0] == 0
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("by", "cause"), [(signal.SIGBUS, "SIGBUS"), (signal.SIGSEGV, "SIGSEGV"), (0, "exit status 3")]
)
def test_a_death_is_told(by: int, cause: str) -> None:
    items = apart(dies, by, path=Path("a\n.mdb"))
    assert next(items) == 1
    with pytest.raises(DataError, match=rf"a\\n\.mdb is damaged, .* died \({cause}\)"):
        next(items)


def test_errors_come_through() -> None:
    items = apart(refuses, path="a.mdb")
    assert next(items) == 1
    with pytest.raises(ConfigError, match="no such number"):
        next(items)
    items = apart(fails, path="a.mdb")
    assert next(items) == 1
    with pytest.raises(DataError, match=r"died \(exit status 1\)"):
        next(items)
