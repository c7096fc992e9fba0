"""The kernels compile for GPUs that are not there, without spills and without contraction."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parents[3]

# The widest and the narrowest tile, a tile of many, and a Bernoulli on each architecture; the whole
# table is `python -m benchmarks.resources --only policy_gradient --check`.
COMPILE = """
import json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from benchmarks.offline import compile_case
from benchmarks.resource_cases.policy_gradient import cases

SHOWN = (
    "sample last V=2 fp32", "sample last V=3000 fp32", "score first V=32 fp32",
    "sample bernoulli bf16",
)
found = {}
for case in cases():
    if case.name in set(SHOWN):
        for architecture in (80, 90, 100):
            resources = compile_case(case, architecture)
            found[f"{case.name} sm_{architecture}"] = [resources.registers, resources.spills]
    if case.name in {"sample first V=16 fp16", "sample bernoulli fp16"}:
        source = ASTSource(
            case.kernel,
            {name: case.signature.get(name, "constexpr") for name in case.kernel.arg_names},
            dict(case.constants),
        )
        for fusion in (True, False):
            assembly = triton.compile(
                source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": fusion}
            ).asm["ptx"]
            found[f"{case.name} {fusion}"] = assembly.count("fma.rn.f32")
    assert case.fp_fusion is not case.name.startswith("sample"), case.name
print(json.dumps(found))
"""


@pytest.mark.slow
def test_compiled_offline() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    contracted = {name: found.pop(name) for name in list(found) if "sm_" not in name}
    assert len(found) == 12
    for name, (registers, spills) in found.items():
        assert spills == 0, name
        assert registers <= 168, name
    # What fixes the bits of a threshold: the option does something, and is what the launch says.
    assert all(count > 0 for name, count in contracted.items() if name.endswith("True"))
    assert all(count == 0 for name, count in contracted.items() if name.endswith("False"))
    assert len(contracted) == 4


def test_the_launch_asks_for_what_is_compiled() -> None:
    from kernels.policy_gradient import launch

    assert launch.LAUNCH_OPTIONS == {"enable_fp_fusion": False}
