"""The loss kernels compile for GPUs that are not there, and keep their registers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Of each kernel the launches with the fewest registers to spare: 512 threads have 128 each, where
# smaller programs have 255. `python -m benchmarks.resources --check` compiles all the others.
HEAVIEST = (
    "discriminator pearson log_ratio, forward, up to 16k",  # two exponentials and weights
    "discriminator gan f_gan, forward, up to 16k",
    # Few registers, but spills where the compiler aims at two programs a multiprocessor.
    "discriminator total_variation f_gan, forward, up to 16k",
    "discriminator gan, labels smoothed, forward, up to 16k",
    "discriminator gan, labels smoothed, backward",
    "every option, forward",
    "every option, backward",
    "combine",
)
COMPILE = """
import json, sys
from benchmarks.offline import compile_case
from benchmarks.resource_cases.losses import cases

found = {}
by_name = {case.name: case for case in cases()}
for name in sys.argv[1:]:
    # Options are types and branches, the same on every architecture.
    for architecture in (90,) if name.startswith("every") else by_name[name].architectures:
        resources = compile_case(by_name[name], architecture)
        found[f"{name}, sm_{architecture}"] = (resources.spills, resources.registers)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_no_kernel_spills_its_registers() -> None:
    pytest.importorskip("triton")
    # An interpreted kernel cannot be compiled in the same process.
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, *HEAVIEST],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 3 * 6 + 2
    spilling = {name: spills for name, (spills, _) in found.items() if spills}
    assert not spilling
    assert max(registers for name, (_, registers) in found.items() if "up to 16k" in name) <= 128
