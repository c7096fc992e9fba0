"""Where the pipeline's files are, relative to the repository; `dvc.yaml` names the same ones."""

from __future__ import annotations

import os
from pathlib import Path

PARAMS = Path("params.yaml")

PREPARED = Path("data/prepared")
JUDGE = Path("models/judge.safetensors")
GENERATOR = Path("models/generator.safetensors")

JUDGE_METRICS = Path("metrics/judge.json")
TRAIN_METRICS = Path("metrics/train.json")
EVALUATE_METRICS = Path("metrics/evaluate.json")

TRAINING = Path("results/training")
SNAPSHOTS = TRAINING / "snapshots"
SAMPLES = Path("results/samples")
EVALUATION = Path("results/evaluation")
REPORT = Path("results/report")
CODE = Path("results/code")
SOURCE = Path("results/source.json")

# Folders that the stages write.
OUTS = (PREPARED, JUDGE.parent, JUDGE_METRICS.parent, CODE.parent)


def main_checkout() -> Path:
    """The root of the checkout, for a stage in one of DVC's copies of it too.

    Experiments of `dvc exp run --temp` and of DVC's queue run in a copy below `.dvc/tmp/exps`,
    which DVC removes afterwards. Without DVC around it is the working directory.
    """
    return Path(os.environ.get("DVC_ROOT", ".").partition("/.dvc/tmp/exps/")[0])
