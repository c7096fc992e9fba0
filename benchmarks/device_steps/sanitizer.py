"""The checks of `twins`, at small shapes, under compute-sanitizer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.device_steps import twins
from benchmarks.device_steps.step import Context, Failed, Rows

TOOLS = ("memcheck", "racecheck")
_ERRORS = 77  # exit status of compute-sanitizer that has found some


def run(context: Context) -> Rows:
    """A row a tool: the number of its errors."""
    found = []
    for tool in TOOLS:
        if tool in context.done:
            continue
        values = asdict(replace(context, done=frozenset()))
        text = json.dumps(
            {k: str(v) if isinstance(v, Path) else v for k, v in values.items() if k != "done"}
        )
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", str(_ERRORS)]
        command += ["--target-processes", "all", sys.executable, "-m", __name__, text]
        # Blocks of PyTorch's allocator lie side by side: without it a step beyond one is seen.
        environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        print(done.stdout[-20_000:])
        summary = re.findall(
            r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard", done.stdout
        )
        errors = sum(int(a or b) for a, b in summary)
        defect = ""
        if done.returncode == _ERRORS or errors:
            defect = f"{errors} errors"
        elif done.returncode:
            defect = f"ended with status {done.returncode}"
        elif not summary:
            defect = "no summary"
        yield [{"case": tool, "errors": errors, "defect": defect}]
        if defect:
            found.append(f"{tool}: {defect}")
    if found:
        raise Failed("; ".join(found))
    return f"{' and '.join(TOOLS)} found nothing"


def main(text: str) -> int:
    """What the sanitizer watches. Returns 1 when a kernel differs from its twin."""
    values = json.loads(text)
    context = Context(**{**values, **{key: Path(values[key]) for key in ("folder", "work")}})
    defects = [name for name, check in twins.checks(context, small=True) if check()[2] is not None]
    print("\n".join(defects))
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
