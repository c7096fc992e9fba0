import csv
import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks.offline import SHARED_MEMORY, Case, Loop, Resources, compile_case, main_loop
from benchmarks.resources import COMPARED, cases, defects, jobs, kept, loop_columns, packages, worse

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


LISTING = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   IADD3 R2, R2, 0x1, RZ ;
        /*0020*/              @P0 BRA `(.L_x_0) ;
.L_x_1:
        /*0030*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R6 ;
        /*0040*/                   HGMMA.64x128x16.F32.BF16 R88, gdesc[UR16].tnspA, R88 ;
        /*0050*/                   HGMMA.64x128x16.F32.BF16 R24, R4, gdesc[UR20], R24, gsb0 ;
        /*0060*/                   WARPGROUP.DEPBAR.LE gsb0, 0x1 ;
        /*0070*/              @!P1 BRA `(.L_x_1) ;
        /*0080*/               @P2 BRA `(.L_x_0) ;
        /*0090*/                   EXIT ;
"""


def test_the_main_loop_is_the_shortest_with_products():
    assert main_loop(LISTING) == Loop(instructions=5, products=2, from_registers=1, waits=2)
    assert main_loop(LISTING.replace("HGMMA", "HMMA")) is None
    assert main_loop("") is None


ROW = {"kernel": "p", "architecture": "sm_90", "registers": 154, "spills": 0, "shared_bytes": 1,
       "loop_per_hgmma": 24.5, "loop_hgmma": 4, "operand_a_in_registers": 0,
       "waits_per_step": 2}  # fmt: skip


def test_more_of_anything_is_worse():
    held = {name: str(value) for name, value in ROW.items()}
    held["triton"] = importlib.metadata.version("triton")
    assert worse([ROW], [held]) == []
    assert worse([{**ROW, "registers": 150}], [held]) == []
    for column in COMPARED:
        more = {**ROW, column: ROW[column] + 1}
        assert worse([more], [held]) == [
            f"p on sm_90: {column} {more[column]}, committed {held[column]}"
        ]
        assert worse([more], [{**held, "triton": "0.0"}]) == []  # another compiler
        assert worse([more], [{**held, "architecture": "sm_80"}]) == []
    without = {**ROW, **loop_columns(None)}
    assert worse([without], [held]) == []
    assert worse([ROW], [{**held, "waits_per_step": ""}]) == []


def test_a_part_that_is_measured_anew_leaves_the_rest():
    committed = [
        {"kernel": f"{package}: forward", "architecture": architecture}
        for package in ("conv_transpose", "losses")
        for architecture in ("sm_80", "sm_90")
    ]
    assert kept(committed, ["losses"], [80, 90]) == committed[:2]
    assert kept(committed, ["losses"], [90]) == committed[:3]
    assert kept(committed, ["conv_transpose", "losses"], [80, 90]) == []


def test_a_loop_as_columns():
    assert loop_columns(Loop(98, 8, 0, 2)) == {
        "loop_per_hgmma": 12.25, "loop_hgmma": 8, "operand_a_in_registers": 0, "waits_per_step": 2,
    }  # fmt: skip
    assert set(loop_columns(None).values()) == {None}


def committed() -> list[dict[str, str]]:
    with (ROOT / "benchmarks/results/resources.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_products_on_boxes_issue_no_more_than_they_may():
    """Of 64 along the sum, a warp group: 4 × m64n256k16 for dgrad, 8 × m64n128k16 for wgrad."""
    rows = [row for row in committed() if " in boxes of " in row["kernel"]]
    assert {row["architecture"] for row in rows} == {"sm_90", "sm_100"}
    for row in rows:
        assert row["spills"] == "0", row
        if row["architecture"] == "sm_90":
            assert row["operand_a_in_registers"] == "0", row
            assert int(row["waits_per_step"]) <= 2, row  # for the loads, and for the last product
            steps = float(row["loop_per_hgmma"]) * float(row["loop_hgmma"])
            assert steps <= (98 if "fprop" not in row["kernel"] else 102), row


# Products on boxes, and one by pointers: as committed, or better.
WATCHED = textwrap.dedent(
    """
    import csv
    from benchmarks.report import RESULTS
    from benchmarks.resources import cases, measure, worse

    wanted = (
        "dgrad bf16 512<>256 128x64 in boxes of 16x4x4 w8 s3 statistics",
        "fprop bf16 256<>128 128x64 in boxes of 4x8x8 w8 s3 plain",
        "wgrad bf16 512<>256 256x128 in boxes of 4x4x4 w8 s3 plain",
        "dgrad bf16 512<>256 128x128x64 w8 s3 statistics",
    )
    names = [case.name for case in cases("conv_transpose")]
    rows = [measure(("conv_transpose", names.index(name), 90)) for name in wanted]
    with (RESULTS / "resources.csv").open(newline="") as file:
        for regression in worse(rows, csv.DictReader(file)):
            print(regression)
    """
)


def test_main_loops_are_no_worse_than_committed(tmp_path: Path):
    """All kernels: `python -m benchmarks.resources --check`."""
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)
    done = run(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_every_package_has_cases_of_different_names():
    assert packages()
    for package in packages():
        assert cases(package)
    assert {package for package, _, _ in jobs(packages(), [90])} == set(packages())
    assert jobs(packages(), []) == []
