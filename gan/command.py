"""Around every program, `python -m pipeline.train` for example: how it begins and how it ends.

Whatever happens, a person gets one line that says what is wrong and what was expected, and the exit
status says whose turn it is. A traceback is for a bug in the program, and then the last line says
so. Nothing heavy is imported here: this is what a program begins with.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

from gan.errors import TrainingError, UserError, is_lack_of_memory, shown

# What a program exits with: the input is bad; the work failed; someone stopped it (128 + SIGINT).
BAD_INPUT, FAILED, STOPPED = 2, 1, 130


def begin() -> None:
    """The first thing a program does, before it imports what takes long to import.

    Ctrl-C until `run` ends the program at once and in silence: there is nothing to save, and what
    is interrupted in the middle of an import may raise anything. What cannot be imported is named.
    """
    _print_anything()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    sys.excepthook = _could_not_begin


def run(work: Callable[[], int | None]) -> int:
    """Do `work`, say what went wrong, and return the exit status that it deserves.

    Args:
        work: returns its exit status, or None for 0. `SystemExit` passes.
    """
    try:
        _print_anything()
        if signal.getsignal(signal.SIGINT) is _leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.excepthook = sys.__excepthook__
        status = work() or 0
        sys.stdout.flush()  # here, where its error is caught
        return status
    except BrokenPipeError as error:
        return FAILED if _nobody_reads() else _said(error)
    except (Exception, KeyboardInterrupt) as error:
        return _said(error)


def _nobody_reads() -> bool:
    """Whether whoever read what we print has gone, `head` for example: no reason to complain."""
    try:
        out = sys.stdout.fileno()
        pipe = select.poll()
        pipe.register(out, select.POLLOUT)
        gone = any(event & select.POLLERR for _, event in pipe.poll(0))
    except (AttributeError, OSError):  # no file, or a platform without it
        return False
    if gone:
        # The interpreter flushes once more at its end, and would complain itself.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out)
    return gone


def _said(error: BaseException) -> int:
    """Say what `error` means to a person; the exit status."""
    if any(isinstance(each, KeyboardInterrupt) for each in _chain(error)):
        return STOPPED
    if isinstance(error, TrainingError):
        return _say(str(error), FAILED)
    if isinstance(error, UserError):
        return _say(str(error), BAD_INPUT)
    if isinstance(error, ModuleNotFoundError) and not _is_ours(error.name):
        return _say(
            f"the package {shown(error.name)} is not installed for {shown(sys.executable)}: run "
            "`make setup`, and this in the environment it makes",
            BAD_INPUT,
        )
    if is_lack_of_memory(error):
        return _say(
            f"there is not enough memory: {shown(error) or type(error).__name__}; smaller batches, "
            "examples or networks need less",
            FAILED,
        )
    if isinstance(error, OSError) and error.errno is not None:
        where = "" if error.filename is None else f"{shown(error.filename)}: "
        return _say(f"{where}{shown(error.strerror)}", BAD_INPUT)
    traceback.print_exception(error)
    return _say(
        f"{type(error).__name__} was not expected here: this is a bug in the program, not in what "
        "you gave it; please report it with the lines above",
        FAILED,
    )


def _say(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from: extension modules turn Ctrl-C into errors of theirs."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_ours(module: str | None) -> bool:
    """Whether a module that is not there should be: the kernels are a package to be installed."""
    ours = ("gan", "fusedgan_kernels", "kernels", "pipeline")
    return module is None or (module != ours[1] and module.partition(".")[0] in ours)


def _print_anything() -> None:
    """Let what the terminal's encoding lacks appear as an escape, rather than end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(STOPPED)


def _could_not_begin(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """The `sys.excepthook` until `run`: what an import raises."""
    status = _said(error)
    sys.stderr.flush()
    os._exit(status)
