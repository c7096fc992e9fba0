"""Measure all of it on this machine's device, in calls of a few minutes.

    python -m benchmarks.device --budget 540 --out DIR [--resume DIR] [--data PATH]

Steps, each a process of its own with a limit: roofs of the machine, compilation, every kernel
against its twin and under compute-sanitizer, the tests that need a GPU, rounds without
synchronisation that are killed and resumed, tuning, the training step beside the textbook's, the
generator, losses, sampling, and a run from data to the Fréchet distance.

The folder has at most eight files, which are whole at any moment: `status.json` with a line a
step, `log.txt`, four CSV files, and the tuner's table and journal. With `--resume` a call goes on
from such a folder: what is finished is not repeated, and an unfinished step goes on where its rows
end. `--again STEP` repeats one. `python -m benchmarks.device_tables` makes tables of the folder.

Steps that need what is not here, a CUDA device or a package, are skipped by name. On a machine
without a GPU the rest runs on the CPU, and `--dry` tries all of it out there: tiny, Triton
interpreted. What that measures is no measurement of a GPU, and nothing takes it for one.

The exit status is 0 when every step is done or skipped, 1 when one failed, 3 when some are left
for another call, 2 for input that makes no sense, 130 when someone stopped it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.device_steps import BY_NAME, STEPS
from benchmarks.device_steps.__main__ import DONE, ROWS, UNFINISHED
from benchmarks.device_steps.results import LOG, STATUS, Results, ResultsError, copy
from benchmarks.device_steps.step import Context, Step
from benchmarks.report import machine

ROOT = Path(__file__).resolve().parent.parent
# Seconds at the end of a budget in which nothing is begun.
MARGIN = 5.0
# A step that ran into its own limit as often is not tried again.
MOST_TRIES = 3
WAITING, RUNNING, FINISHED, FAILED, SKIPPED, LEFT = (
    "waiting", "running", "done", "failed", "skipped", "unfinished",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.dry:
        options.device = "cpu"
    elif options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no CUDA device here")
    if options.budget <= MARGIN:
        parser.error(f"--budget {options.budget:g}: expected more than {MARGIN:g} seconds")
    # Steps run in the checkout, wherever this was called.
    for name in ("out", "resume", "work"):
        if getattr(options, name) is not None:
            setattr(options, name, getattr(options, name).resolve())
    if options.data:
        options.data = str(Path(options.data).resolve())
    try:
        return _measure(options)
    except ResultsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; --resume goes on from here", file=sys.stderr)
        return 130


def _measure(options: argparse.Namespace) -> int:
    deadline = time.monotonic() + options.budget - MARGIN
    signal.signal(signal.SIGTERM, _interrupt)
    results = _results(options)
    results.status["calls"] += 1
    results.write_status()
    context = Context(
        results.folder,
        options.work or Path(tempfile.gettempdir()) / f"fusedgan-device-{os.getuid()}",
        options.device,
        options.dry,
        options.data,
    )
    context.work.mkdir(parents=True, exist_ok=True)
    for name in options.again:
        results.forget(BY_NAME[name].table, name)
        results.note(name, state=WAITING, tries=0, what="")
    chosen = [step for step in STEPS if not options.only or step.name in options.only]
    for step in chosen:
        _one(step, context, results, deadline)
    states = {step.name: results.line(step.name)["state"] for step in chosen}
    left = [name for name, state in states.items() if state in (WAITING, LEFT)]
    if left:
        print(f"left for another call, with --resume: {', '.join(left)}")
    failed = any(state == FAILED for state in states.values())
    return 1 if failed else 3 if left else 0


def _results(options: argparse.Namespace) -> Results:
    """The folder of the results, with those of the calls before."""
    device = torch.device(options.device)
    resumed, out = options.resume, options.out
    if resumed is not None and resumed.is_dir() and resumed.resolve() != out.resolve():
        if (out / STATUS).is_file():
            raise ResultsError(f"{out} has results of its own: expected an empty folder for --out")
        copy(resumed, out)
    if resumed is None and (out / STATUS).is_file():
        raise ResultsError(
            f"{out} has the results of a run: --resume {out} goes on with it, another --out begins"
        )
    if not (out / STATUS).is_file():
        print(f"begins in {out}")
    dry = {"dry": "yes"} if options.dry else {}
    return Results(out, {**machine(device), **dry})


def _one(step: Step, context: Context, results: Results, deadline: float) -> None:
    """Run a step, unless it is finished, cannot run, or there is no time for it."""
    line = results.line(step.name)
    if line["state"] in (FINISHED, FAILED):
        return
    reason = step.why_skipped(context)
    if reason is not None:
        results.note(step.name, state=SKIPPED, what=reason)
        _say(step, results)
        return
    left = deadline - time.monotonic()
    if left < step.least:
        if line["state"] in (SKIPPED, RUNNING):
            results.note(step.name, state=LEFT if line["state"] == RUNNING else WAITING)
        _say(step, results)
        return
    limit = min(step.limit, left)
    done = frozenset(results.cases(step.table, step.name))
    context = replace(context, seconds=limit, done=done)
    tries = line["tries"] + 1
    results.note(step.name, state=RUNNING, tries=tries)
    started = time.monotonic()
    what = ""

    def told(message: dict[str, Any]) -> None:
        nonlocal what
        if "rows" in message:
            results.add(step.table, step.name, message["rows"])
        what = message.get("what", what)

    try:
        status = run_process(step, context, results.folder / LOG, told)
    except KeyboardInterrupt:
        results.note(step.name, state=LEFT, what="stopped by someone", tries=tries - 1)
        raise
    seconds = round(line["seconds"] + time.monotonic() - started, 1)
    if status is None:
        own = limit == step.limit
        what = f"stopped after {limit:.0f} s, {'its limit' if own else 'all that were left'}"
        # A limit of the budget's is no fault of the step.
        tries = tries if own else tries - 1
        state = FAILED if tries >= MOST_TRIES else LEFT
    elif status == UNFINISHED:
        state, tries = LEFT, tries - 1
    else:
        state = FINISHED if status == DONE else FAILED
        if status < 0:
            what = f"ended by signal {-status}"
        what = what or f"ended with status {status}, see {LOG}"
    results.note(step.name, state=state, what=what, seconds=seconds, tries=tries)
    _say(step, results)


def run_process(
    step: Step, context: Context, log: Path, told: Callable[[dict[str, Any]], None]
) -> int | None:
    """Run one step in a process of its own, within `context.seconds`.

    Args:
        step: which.
        context: what it is told.
        log: what it prints is appended there.
        told: is given each of its messages.

    Returns:
        Its exit status, negative for a signal; None when it was stopped for the time.
    """
    inherited = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    interpreted = {"TRITON_INTERPRET": "1"} if context.dry and step.interpreted else {}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    read, write = os.pipe()
    values = {**asdict(context), "done": sorted(context.done)}
    text = json.dumps({key: str(v) if isinstance(v, Path) else v for key, v in values.items()})
    deadline = time.monotonic() + context.seconds
    with log.open("a") as printed:
        printed.write(f"\n=== {step.name}: {step.about} ===\n")
        printed.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.device_steps", step.module, step.function, text],
            cwd=ROOT,
            env={**inherited, **interpreted, "PYTHONPATH": path, ROWS: str(write)},
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.STDOUT,
            pass_fds=(write,),
            start_new_session=True,
        )
    os.close(write)
    try:
        ended = _listen(read, deadline, told)
        if not ended:
            return None
        try:
            return process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        os.close(read)


def _listen(read: int, deadline: float, told: Callable[[dict[str, Any]], None]) -> bool:
    """Pass on messages until there are no more (True) or the time is up (False)."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(read, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            chunk = os.read(read, 1 << 16)
            if not chunk:
                return True
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                told(json.loads(line))
    return False


def _say(step: Step, results: Results) -> None:
    line = results.line(step.name)
    print(f"{step.name:<12}{line['state']:<12}{line['seconds']:7.1f} s  {line['what']}", flush=True)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = "cuda" if torch.cuda.is_available() else "cpu"
    names = tuple(BY_NAME)
    parser.add_argument("--budget", type=float, default=540, help="seconds (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--resume", type=Path, help="folder of a call before, --out or another")
    parser.add_argument("--data", default="", help="images in MNIST's layout; else the digits")
    parser.add_argument("--device", choices=("cuda", "cpu"), default=default)
    parser.add_argument("--dry", action="store_true", help="tiny, on the CPU")
    parser.add_argument("--only", nargs="+", choices=names, metavar="STEP", help=", ".join(names))
    parser.add_argument("--again", nargs="+", choices=names, default=[], metavar="STEP")
    parser.add_argument("--work", type=Path, help="for what need not outlast the machine")
    return parser


if __name__ == "__main__":
    sys.exit(main())
