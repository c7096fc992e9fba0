"""The stages that `dvc repro` runs: read the parameters, call `gan`, write the outs. Thin."""

from __future__ import annotations

import sys

from gan.command import begin

# So while `python -m pipeline.…` looks for the module: before that has imported anything.
if sys.argv[:1] == ["-m"]:
    begin()
