"""A reader in a process of its own, for libraries that die of damaged files rather than say so."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from gan.errors import DataError, UserError, shown

Item = TypeVar("Item")

SECONDS_TO_END = 5.0


def apart(
    read: Callable[..., Iterable[Item]], *arguments: Any, path: object
) -> Generator[Item, None, None]:
    """Yield what `read(*arguments)` yields, computed in another process, as fast as it is taken.

    Ending the generator early ends the process; it also ends when this one is killed.

    Args:
        read: picklable, as its arguments and what it yields are. The other process imports its
            module, which had better be a light one.
        arguments: for it.
        path: what it reads, for messages.

    Raises:
        UserError: as `read` raises it.
        DataError: the process died, as it does of a damaged file that is mapped into memory.
    """
    # Not fork: this process may have threads, whose locks would be copied.
    methods = multiprocessing.get_all_start_methods()
    context = (
        multiprocessing.get_context("forkserver")
        if "forkserver" in methods
        else multiprocessing.get_context("spawn")
    )
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, read, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        with contextlib.suppress(EOFError):
            while True:
                what, content = ours.recv()
                if what == "end":
                    return
                if what == "error":
                    raise content
                yield content
        process.join(SECONDS_TO_END)
        raise DataError(
            f"{shown(path)} is damaged, or there is not enough memory for it: the process that "
            f"read it died ({_cause(process.exitcode)})"
        )
    finally:
        ours.close()
        process.terminate()
        process.join()


def _send(
    pipe: Connection, read: Callable[..., Iterable[object]], arguments: tuple[Any, ...]
) -> None:
    # Ctrl-C reaches every process of the terminal; the main one decides and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # When the other end is closed, nobody wants any more.
    with contextlib.suppress(BrokenPipeError):
        try:
            for item in read(*arguments):
                pipe.send(("item", item))
        except UserError as error:
            pipe.send(("error", error))
        else:
            pipe.send(("end", None))


def _cause(status: int | None) -> str:
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
    return f"exit status {status}"
