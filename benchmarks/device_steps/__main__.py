"""A step's process: `python -m benchmarks.device_steps MODULE FUNCTION CONTEXT`.

Rows go as JSON lines to the file descriptor in the variable `DEVICE_ROWS`. Standard input is held
open by who started it: when that ends, however it ends, this process and all it started end too.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from benchmarks.device_steps.step import Context, Failed, Rows, Unfinished

ROWS = "DEVICE_ROWS"
DONE, FAILED, UNFINISHED = 0, 1, 3


def main(module: str, function: str, text: str) -> int:
    """Run one step. Returns its exit status."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    values = json.loads(text)
    paths = {key: Path(values[key]) for key in ("folder", "work")}
    context = Context(**{**values, **paths, "done": frozenset(values["done"])})
    with os.fdopen(int(os.environ[ROWS]), "w", buffering=1) as out:

        def say(**message: Any) -> None:
            out.write(json.dumps(message) + "\n")

        try:
            rows: Rows = getattr(importlib.import_module(module), function)(context)
            while True:
                say(rows=next(rows))
        except StopIteration as end:
            say(what=end.value)
            return DONE
        except Unfinished as rest:
            say(what=str(rest))
            return UNFINISHED
        except Failed as defect:
            say(what=str(defect))
            return FAILED
        except Exception as error:
            traceback.print_exc()
            line = (str(error).strip().splitlines() or [""])[0]
            say(what=f"{type(error).__name__}: {line[:300]}")
            return FAILED


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, which a thread must not hold at the end
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
