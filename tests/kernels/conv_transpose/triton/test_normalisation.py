"""The normalisation kernels compiled for GPUs that are not there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).parents[4]

# One of each kernel; `python -m benchmarks.resources --check` compiles all cases.
NAMES = [
    "apply tanh C=64 bf16",
    "backward sums relu C=512 fp32",
    "backward apply relu C=3 bf16",
    "output backward relu C=1 bf16",
    "moments C=128 bf16",
    "coefficients, cumulative average, C=256 fp32",
    "merge sums C=3 fp32",
]

COMPILE = """
import json, sys
from benchmarks.offline import ARCHITECTURES, SHARED_MEMORY, compile_case
from benchmarks.resource_cases.normalisation import cases

by_name = {case.name: case for case in cases()}
found = {}
for architecture in ARCHITECTURES:
    for name in json.loads(sys.argv[1]):
        resources = compile_case(by_name[name], architecture)
        assert 0 < resources.registers <= 255, (name, resources)
        assert resources.shared <= SHARED_MEMORY[architecture], (name, resources)
        found[f"{name} sm_{architecture}"] = resources.spills
print(json.dumps(found))
"""


@pytest.mark.slow
def test_nothing_spills() -> None:
    # A process of its own: an interpreted kernel cannot be compiled.
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, json.dumps(NAMES)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    spills = json.loads(done.stdout)
    assert len(spills) == 3 * len(NAMES)
    assert not any(spills.values()), spills


def test_another_batch_is_not_another_compilation() -> None:
    """What the compiler is told of the arguments is the same for every number of rows."""
    code = """
import torch
from kernels.conv_transpose.triton import normalisation as kernels
from triton.runtime.jit import JITFunction

found = {name: f for name, f in vars(kernels).items() if isinstance(f, JITFunction)}
launched = {name: f for name, f in found.items() if name.endswith("_kernel")}
assert len(launched) == 7, sorted(launched)
run_time = {"rows", "rows_each", "partials", "count"}
for name, function in launched.items():
    specialised = {p.name for p in function.params if not p.do_not_specialize}
    assert not specialised & run_time, (name, specialised)
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
