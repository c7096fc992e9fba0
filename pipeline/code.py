"""Stage `code`: which code each stage depends on, and a digest of what counts of it.

The other stages depend on what is written here rather than on source files, so that an edit of a
comment reruns nothing but this, and any other edit exactly the stages that import the module.
"""

from __future__ import annotations

import sys

from gan.code import code_of
from gan.command import run
from gan.files import write_json
from pipeline.paths import CODE

STAGES = ("prepare", "judge", "train", "sample", "evaluate", "report")


def main() -> None:
    """Write `results/code`, a file a stage."""
    for stage in STAGES:
        write_json(CODE / f"{stage}.json", code_of(f"pipeline.{stage}"))


if __name__ == "__main__":
    sys.exit(run(main))
