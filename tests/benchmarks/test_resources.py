import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks.offline import SHARED_MEMORY, Case, Resources, compile_case
from benchmarks.resources import cases, defects, jobs, packages

pytest.importorskip("triton")

ROOT = Path(__file__).resolve().parents[2]

# A tile as large as it is given, kept in the registers of as few threads as it is given.
KERNEL = textwrap.dedent(
    """
    import json
    import triton
    import triton.language as tl
    from benchmarks.offline import Case, compile_case

    @triton.jit
    def product(x, w, y, n, B: tl.constexpr):
        i = tl.arange(0, B)
        at = i[:, None] * n + i[None, :]
        tl.store(y + at, tl.dot(tl.load(x + at), tl.load(w + at)))

    def resources(size, warps, architecture):
        signature = {"x": "*bf16", "w": "*bf16", "y": "*fp32", "n": "i32"}
        case = Case("p", product, signature, {"B": size}, ("x", "w", "y", "n"), warps)
        found = compile_case(case, architecture)
        return [found.registers, found.spills, found.shared, found.tensor_cores]

    print(json.dumps([resources(64, 8, 90), resources(256, 4, 90), resources(64, 8, 80)]))
    """
)
UNUSED = Case("p", kernel=None, signature={}, tensor_cores=True)


def run(script: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, str(script)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_machine_code_is_read(tmp_path: Path):
    script = tmp_path / "kernel.py"  # Triton reads a kernel's source from its file
    script.write_text(KERNEL)
    done = run(script)
    assert done.returncode == 0, done.stderr
    small, large, older = json.loads(done.stdout)
    registers, spills, shared, tensor_cores = small
    assert 0 < registers < 256
    assert spills == 0
    assert shared == 2 * 64 * 64 * 2  # both operands in bf16
    assert tensor_cores == 4  # K = 64 in steps of 16, one instruction for all of M and N
    # 256 × 256 fp32 values over 128 threads are 512 a thread: twice what there is.
    assert large[1] > 0
    assert large[2] == 2 * 256 * 256 * 2
    assert older[3] > 0


def test_nothing_is_compiled_under_the_interpreter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET is 1"):
        compile_case(UNUSED, 90)


@pytest.mark.parametrize(
    ("resources", "found"),
    [
        (Resources(128, 0, 1024, 4), []),
        (Resources(255, 3, 1024, 4), ["3 instructions for spilled registers"]),
        (Resources(128, 0, 1024, 0), ["does not use the tensor cores"]),
        (
            Resources(128, 0, SHARED_MEMORY[90] + 1, 4),
            ["232449 bytes of shared memory of 232448"],
        ),
    ],
)
def test_defects(resources: Resources, found: list[str]):
    assert defects(UNUSED, resources, 90) == found


def test_every_package_has_cases_of_different_names():
    assert packages()
    for package in packages():
        assert cases(package)
    assert {package for package, _, _ in jobs(packages(), [90])} == set(packages())
    assert jobs(packages(), []) == []
