"""Measure launch configurations of the convolutions on this machine's GPU.

`python -m kernels.tune` is the command, see `kernels.tune.__main__`. `plan` says what is measured,
`compilation` compiles it in parallel, `worker` measures in processes of its own, `case` and
`clock` are what these do, `journal` and `table` are what is kept.
"""

from .case import Case, fp32_precision, torch_wgrad
from .clock import Clock, capture
from .measure import Tuning, tune
from .plan import BATCHES, DTYPES, LAYERS, MOST, Problem, candidates, problems
from .table import merged, propose, write_table
from .worker import DeviceBench, Outcome

__all__ = [
    "BATCHES",
    "DTYPES",
    "LAYERS",
    "MOST",
    "Case",
    "Clock",
    "DeviceBench",
    "Outcome",
    "Problem",
    "Tuning",
    "candidates",
    "capture",
    "fp32_precision",
    "merged",
    "problems",
    "propose",
    "torch_wgrad",
    "tune",
    "write_table",
]
