import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels.conv_transpose import tiles
from kernels.conv_transpose.tiles import TileConfig, TuningEntry
from kernels.tune import Tuning, candidates, tune
from kernels.tune.__main__ import main
from kernels.tune.case import Case, Times, fp32_precision, in_a_line
from kernels.tune.journal import Journal, environment
from kernels.tune.plan import Problem
from kernels.tune.worker import Outcome
from tests.kernels.tune.fakes import FakeBench, fake_times

ROOT = Path(__file__).parents[3]
HERE = {"device": "a GPU", "versions": "torch 2", "source": "abc"}
PROBLEMS = [
    Problem("dgrad", "bf16", 512, 256, 4, 64, epilogue) for epilogue in ("plain", "statistics")
]


@pytest.fixture(autouse=True)
def _own_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("FUSEDGAN_TUNING", str(tmp_path / "tuning"))
    tiles.forget_tables()
    yield
    tiles.forget_tables()


def run(
    folder: Path, make, here=HERE, say=lambda line: None, verified: bool = True, known=()
) -> Tuning:
    return tune(
        PROBLEMS,
        90,
        make,
        Journal(folder / "sm_90.jsonl", here),
        folder / "sm_90.json",
        how="replays",
        verified=verified,
        compiled_on=None,
        say=say,
        known=known,
    )


def test_the_fastest_right_one_is_the_entry(tmp_path: Path) -> None:
    first = candidates(PROBLEMS[0], 90)
    fastest = min(first, key=lambda config: config.block_m + config.stages)
    wrong = {fastest: "wrong", first[0]: "sticky"}
    lines: list[str] = []
    found = run(tmp_path, functools.partial(FakeBench, wrong), say=lines.append)
    assert not found.left
    assert not found.hopeless
    right = [config for config in first if config not in wrong]
    best = min(right, key=lambda config: config.block_m + config.stages)
    entry = found.entries[0]
    assert (entry[:5], entry.config) == (("dgrad", "bf16", 512, 256, 1024), best)
    assert entry.verified
    assert entry.measured_ratio == pytest.approx(fake_times(best).ratio, abs=1e-3)
    assert entry.measurement == (
        "a GPU",
        "torch 2",
        "replays",
        64,
        4,
        pytest.approx(1e6 * fake_times(best).ours),
        pytest.approx(100.0),
    )
    assert [row.epilogue for row in found.entries] == ["plain", "statistics"]
    assert tiles.read_table(tmp_path / "sm_90.json") == tuple(found.entries)
    assert sum("put aside" in line for line in lines) == sum(
        config in wrong for config in candidates_of_both()
    )


def candidates_of_both() -> list[TileConfig]:
    return [config for problem in PROBLEMS for config in candidates(problem, 90)]


def test_what_is_in_the_journal_is_not_measured_again(tmp_path: Path) -> None:
    all_of_it = run(tmp_path, FakeBench)
    # Whatever is measured now would be wrong.
    every = dict.fromkeys(candidates_of_both(), "wrong")
    again = run(tmp_path, functools.partial(FakeBench, every))
    assert again == all_of_it
    # Some lines are lost, one is cut off: these alone are measured.
    journal = tmp_path / "sm_90.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-2]) + lines[-1][:20])
    assert run(tmp_path, FakeBench) == all_of_it
    kept = [json.loads(line) for line in journal.read_text().splitlines() if line.endswith("}")]
    assert len(kept) == len(lines)
    # In another environment nothing of it counts.
    changed = run(tmp_path, functools.partial(FakeBench, every), {**HERE, "versions": "torch 3"})
    assert changed.entries == []
    assert changed.hopeless == PROBLEMS


def test_what_a_table_has_beside_stays(tmp_path: Path) -> None:
    other = TuningEntry("wgrad", "fp16", 8, 4, 1, TileConfig(64, 16, 16, 4, 2), True, None, 1.5)
    same = TuningEntry(*PROBLEMS[0][:4], 1024, TileConfig(1, 1, 1, 1, 1), True, None, 9.0)
    found = run(tmp_path, FakeBench, known=[other, same])
    assert set(tiles.read_table(tmp_path / "sm_90.json")) == {*found.entries, other}


def test_nothing_is_verified_but_on_a_gpu(tmp_path: Path) -> None:
    found = run(tmp_path, FakeBench, verified=False)
    assert not any(entry.verified or entry.measured_ratio for entry in found.entries)


def test_what_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "sm_90.jsonl"
    path.write_text('{"problem": 3}\n')
    with pytest.raises(ValueError, match=r"sm_90.jsonl, line 1: not an outcome of kernels.tune"):
        Journal(path, HERE)


def test_a_journal_keeps_other_environments(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    outcome = Outcome(PROBLEMS[0], TileConfig(64, 64, 32, 4, 2), None, Times(2.0, 1.0, 2.0))
    Journal(path, HERE).add(outcome)
    other = Journal(path, {**HERE, "device": "another"})
    assert other.outcomes == {}
    other.add(outcome._replace(defect="wrong", times=None))
    assert Journal(path, HERE).outcomes == {outcome[:2]: outcome}
    assert environment(torch.device("cpu"))["device"] == "cpu, interpreted"


def test_the_command_on_a_cpu(tmp_path: Path) -> None:
    """Triton's interpreter against PyTorch: every epilogue, checked and timed, none verified."""
    arguments = [
        "-m", "kernels.tune", "--device", "cpu", "--layer", "16x16x2", "--batch", "1",
        "--precision", "fp32", "--quick", "--rounds", "1", "--out", str(tmp_path),
    ]  # fmt: skip
    arguments += ["--epilogue", *tiles.EPILOGUES]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run_it(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments, *more],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    stopped = run_it("--budget", "0")
    assert stopped.returncode == 3, stopped.stderr
    assert "7 left" in stopped.stdout
    done = run_it()
    assert done.returncode == 0, done.stderr
    assert "7 of 7 measured, 0 without a right configuration, 0 left" in done.stdout
    rows = tiles.read_table(tmp_path / "sm_0.json")
    assert sorted((row.op, row.epilogue) for row in rows) == [
        *((op, epilogue) for op in ("dgrad", "fprop") for epilogue in sorted(tiles.EPILOGUES)),
        ("wgrad", "plain"),
    ]
    assert not any(row.verified for row in rows)
    assert {row.measurement.how for row in rows if row.measurement} == {"calls"}
    before = (tmp_path / "sm_0.jsonl").read_bytes()
    assert run_it().returncode == 0
    assert (tmp_path / "sm_0.jsonl").read_bytes() == before


def test_a_case_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("interpreted")
    problem = Problem("dgrad", "fp32", 16, 16, 2, 1, "folded")
    config = problem.config(90)
    with fp32_precision("ieee"):
        case = Case(problem, torch.device("cpu"))
        right = case.operands.launch(config)
        assert len(right) == 4  # the product, its statistics, the gradient of the weights
        assert case.defect(config) is None
        for place in (0, 3):
            wrong = list(case.expected)
            wrong[place] = wrong[place] * 1.001
            with monkeypatch.context() as patch:
                patch.setattr(case, "expected", wrong)
                defect = case.defect(config)
            assert defect == "wrong: relative error 1.0e-03 of at most 1e-05"
        results = iter([right, [right[0] + 1e-7, *right[1:]]])
        monkeypatch.setattr(case.operands, "launch", lambda config: next(results))
        assert case.defect(config) == "results differ from launch to launch"
        results = iter([])
        assert case.defect(config).startswith("StopIteration")
    assert in_a_line(ValueError("a\nb")) == "ValueError: a"


@pytest.mark.parametrize("epilogue", tiles.EPILOGUES)
@pytest.mark.parametrize("op", ["dgrad", "fprop", "wgrad"])
def test_both_sides_compute_the_same(op: str, epilogue: str) -> None:
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("interpreted")
    if op == "wgrad" and epilogue != "plain":
        return
    problem = Problem(op, "fp32", 16, 16, 2, 1, epilogue)
    with fp32_precision("ieee"):
        operands = Case(problem, torch.device("cpu")).operands
        ours, other = operands.ours(problem.config(90)), operands.other()
    if epilogue == "folded":  # a product with statistics and the gradient of the weights
        assert isinstance(ours, list)
        assert isinstance(other, tuple)
        pairs = [*zip(ours[:3], other[0][:3], strict=True), (ours[3], other[1])]
    else:
        pairs = [(ours[0] if isinstance(ours, list) else ours, other)]
    for one, another in pairs:
        torch.testing.assert_close(one, another, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_shortlist_is_compiled_without_a_gpu() -> None:
    pytest.importorskip("triton")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    arguments = ["--shortlist", "90", "--layer", "32x16x4", "--precision", "bf16", "--batch", "64"]
    arguments += ["--epilogue", "statistics", "--quick"]
    done = subprocess.run(
        [sys.executable, "-m", "kernels.tune", *arguments, "--processes", "1"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "0 problems without a candidate" in done.stdout
    for line in done.stdout.splitlines():
        if line.startswith("    "):
            assert "registers" in line
            assert int(line.partition(" registers")[0].rsplit(" ", 1)[1]) > 16


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU to measure on")
    assert main([]) == 1
    assert "PyTorch sees none here" in capsys.readouterr().err
