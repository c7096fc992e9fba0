"""Steps that tests of `benchmarks.device` run in processes of their own, found by name."""

import os
import subprocess
import sys
import time

from benchmarks.device_steps.step import Context, Failed, Rows, Unfinished


def fine(context: Context) -> Rows:
    print("printed by fine")
    yield [{"case": "one", "value": 1.5}, {"case": "two", "value": 2}]
    return "two rows"


def wrong(context: Context) -> Rows:
    yield [{"case": "bad", "defect": "differs"}]
    raise Failed("1 of 1 differ")


def broken(context: Context) -> Rows:
    yield []
    raise ValueError("no such thing\nas this")


def killed(context: Context) -> Rows:
    yield [{"case": "before"}]
    os.abort()


def slow(context: Context) -> Rows:
    """Never ends; and has a child that would not either."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield [{"case": "child", "value": child.pid}]
    time.sleep(600)
    return ""


def in_parts(context: Context) -> Rows:
    """One case a call."""
    left = [case for case in ("a", "b", "c") if case not in context.done]
    yield [{"case": left[0]}]
    if left[1:]:
        raise Unfinished(f"{len(left) - 1} left")
    return "all"
