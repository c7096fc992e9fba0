import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import device, device_tables
from benchmarks.device_steps import BY_NAME, STEPS
from benchmarks.device_steps.results import (
    CHECKS,
    LOG,
    MOST_FILES,
    RUN,
    SPEED,
    STATUS,
    TUNING,
    Results,
    ResultsError,
    read_rows,
    write_rows,
)
from benchmarks.device_steps.step import Context, Step
from kernels.conv_transpose import tiles
from kernels.conv_transpose.tiles import Measurement, TileConfig, TuningEntry
from kernels.tune import write_table

ROOT = Path(__file__).parents[2]


def fake(name: str, limit: float = 60.0, **more) -> Step:
    more = {"least": 0.1, **more}
    return Step(name, f"about {name}", "tests.benchmarks.device_fakes", CHECKS, limit, name, **more)


@pytest.fixture
def steps(monkeypatch):
    def use(*chosen: Step) -> None:
        monkeypatch.setattr(device, "STEPS", chosen)
        monkeypatch.setattr(device, "BY_NAME", {step.name: step for step in chosen})

    return use


def run(out: Path, *arguments: str, budget: float = 300.0) -> int:
    command = ["--device", "cpu", "--budget", str(budget), "--out", str(out)]
    return device.main([*command, "--work", str(out.parent / "work"), *arguments])


def states(out: Path) -> dict[str, str]:
    lines = json.loads((out / STATUS).read_text())["steps"]
    return {name: line["state"] for name, line in lines.items()}


def what(out: Path, step: str) -> str:
    return json.loads((out / STATUS).read_text())["steps"][step]["what"]


def test_each_step_leaves_a_line_and_rows(steps, tmp_path, capsys):
    steps(
        fake("fine"),
        fake("wrong"),
        fake("broken"),
        fake("killed"),
        fake("absent", packages=("no_such_package",)),
        fake("gpu", gpu=True),
        fake("tool", program="no-such-program"),
    )
    out = tmp_path / "out"
    assert run(out) == 1
    assert states(out) == {
        "fine": "done",
        "wrong": "failed",
        "broken": "failed",
        "killed": "failed",
        "absent": "skipped",
        "gpu": "skipped",
        "tool": "skipped",
    }
    assert what(out, "fine") == "two rows"
    assert what(out, "wrong") == "1 of 1 differ"
    assert what(out, "broken") == "ValueError: no such thing"
    assert what(out, "killed") == "ended by signal 6"
    assert what(out, "absent") == "needs no_such_package"
    assert what(out, "gpu") == "needs a CUDA device"
    assert what(out, "tool") == "needs no-such-program on the path"
    rows = read_rows(out / CHECKS)
    assert [(row["step"], row["case"]) for row in rows] == [
        ("fine", "one"),
        ("fine", "two"),
        ("wrong", "bad"),
        ("killed", "before"),
    ]
    assert (rows[0]["value"], rows[0]["torch"]) == ("1.5", torch.__version__)
    log = (out / LOG).read_text()
    assert "printed by fine" in log
    assert "ValueError: no such thing" in log
    said = capsys.readouterr().out
    assert "needs no_such_package" in said
    # What is finished stays so, and is asked for by name to be repeated.
    before = (out / CHECKS).read_bytes()
    assert run(out, "--resume", str(out)) == 1
    assert (out / CHECKS).read_bytes() == before
    assert run(out, "--resume", str(out), "--again", "fine", "--only", "fine") == 0
    assert [row["case"] for row in read_rows(out / CHECKS)] == ["bad", "before", "one", "two"]


def test_an_unfinished_step_goes_on_where_its_rows_end(steps, tmp_path, monkeypatch):
    steps(fake("in_parts"))
    monkeypatch.chdir(tmp_path)
    first, second = Path("first"), Path("second")
    assert run(first, "--resume", str(tmp_path / "not-there")) == 3
    assert states(first) == {"in_parts": "unfinished"}
    assert what(first, "in_parts") == "2 left"
    # Elsewhere, from the files of the first call.
    assert run(second, "--resume", str(first)) == 3
    assert run(second, "--resume", str(second)) == 0
    assert [row["case"] for row in read_rows(second / CHECKS)] == ["a", "b", "c"]
    assert [row["case"] for row in read_rows(first / CHECKS)] == ["a"]
    assert json.loads((second / STATUS).read_text())["calls"] == 3


def test_limits(steps, tmp_path):
    steps(fake("slow", limit=20.0), fake("fine", least=1000.0))
    out = tmp_path / "out"
    assert run(out) == 3
    assert states(out) == {"slow": "unfinished"}
    assert what(out, "slow") == "stopped after 20 s, its limit"
    (row,) = read_rows(out / CHECKS)
    with pytest.raises(ProcessLookupError):  # with all that it had started
        _wait_for_end(int(row["value"]))
    # As often as it takes.
    results = Results(out, json.loads((out / STATUS).read_text())["machine"])
    results.note("slow", tries=device.MOST_TRIES - 1)
    steps(fake("slow", limit=6.0))
    assert run(out, "--resume", str(out)) == 1
    assert states(out) == {"slow": "failed"}


def test_the_budgets_end_is_no_fault_of_a_step(steps, tmp_path):
    steps(fake("slow", limit=600.0), fake("fine", least=5.0))
    out = tmp_path / "out"
    assert run(out, budget=device.MARGIN + 4) == 3
    assert json.loads((out / STATUS).read_text())["steps"]["slow"]["tries"] == 0
    assert what(out, "slow") == "stopped after 4 s, all that were left"
    assert "fine" not in states(out)


def _wait_for_end(process: int) -> None:
    stat = Path(f"/proc/{process}/stat")
    for _ in range(100):
        if stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            raise ProcessLookupError
        os.kill(process, 0)
        time.sleep(0.1)


def test_whose_folder_it_is(steps, tmp_path, capsys):
    steps(fake("fine"))
    out = tmp_path / "out"
    assert run(out) == 0
    assert run(out) == 2
    assert f"--resume {out} goes on with it" in capsys.readouterr().err
    other = tmp_path / "other"
    assert run(other) == 0
    assert run(other, "--resume", str(out)) == 2
    assert "expected an empty folder for --out" in capsys.readouterr().err
    status = json.loads((out / STATUS).read_text())
    status["machine"]["gpu"] = "NVIDIA H100"
    (out / STATUS).write_text(json.dumps(status))
    assert run(out, "--resume", str(out)) == 2
    assert "has measurements of NVIDIA H100, and this machine has no GPU" in capsys.readouterr().err
    (out / STATUS).write_text("[]")
    assert run(out, "--resume", str(out)) == 2
    assert "is not the status of a run" in capsys.readouterr().err
    (out / STATUS).unlink()
    assert run(out) == 2
    assert "has tables, but no status.json" in capsys.readouterr().err
    for arguments in (["--budget", "3"], ["--device", "cuda"], ["--only", "nothing"]):
        if arguments[1] == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(SystemExit):
            device.main(["--out", str(out), *arguments])


def test_tables_of_rows(tmp_path):
    path = tmp_path / CHECKS
    rows = [{"case": "a", "step": "x", "value": 1, "cpu": "c"}, {"step": "x", "case": "b", "m": 2}]
    write_rows(path, rows, last=("cpu",))
    assert path.read_text() == "step,case,value,m,cpu\nx,a,1,,c\nx,b,,2,\n"
    assert read_rows(path)[1] == {"step": "x", "case": "b", "m": "2"}
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ResultsError, match="is no table of steps: expected columns step, case"):
        read_rows(path)
    results = Results(tmp_path / "new", {"cpu": "c"})
    results.add(CHECKS, "x", [{"case": "a"}])
    results.add(CHECKS, "y", [{"case": "a"}])
    results.forget(CHECKS, "x")
    assert results.cases(CHECKS, "x") == set()
    assert results.cases(CHECKS, "y") == {"a"}


def test_without_the_packages_that_are_optional():
    """Everything but the steps that say so imports, and these are skipped by name."""
    code = """
import importlib, sys
for name in ("pydantic", "pydantic_core", "ruamel", "ruamel.yaml", "sklearn", "matplotlib", "dvc"):
    sys.modules[name] = None
from pathlib import Path
import benchmarks.device, benchmarks.device_tables
from benchmarks.device_steps import STEPS
from benchmarks.device_steps.step import Context
context = Context(Path(), Path(), "cpu", dry=True)
for step in STEPS:
    reason = step.why_skipped(context)
    if reason is None:
        importlib.import_module(step.module)
    else:
        print(step.name, reason)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    reasons = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    reasons.pop("sanitizer", None)
    assert reasons == {
        "rounds": "needs pydantic, ruamel.yaml, sklearn",
        "training": "needs pydantic",
        "run": "needs pydantic, ruamel.yaml, sklearn, matplotlib",
    }


def test_the_steps_are_there():
    import importlib

    assert len({step.name for step in STEPS}) == len(STEPS)
    for step in STEPS:
        assert callable(getattr(importlib.import_module(step.module), step.function))
        assert step.least < step.limit < 540
    context = Context(Path(), Path(), "cpu")
    reasons = {step.name: step.why_skipped(context) for step in STEPS if step.gpu}
    assert set(reasons.values()) == {"needs a CUDA device"}


def dry(out: Path, *more: str) -> list[str]:
    work = str(out.parent / "work")
    command = [sys.executable, "-m", "benchmarks.device", "--dry", "--out", str(out)]
    return [*command, "--work", work, "--budget", "900", *more]


@pytest.mark.slow
def test_all_of_it_on_a_cpu_killed_and_resumed(tmp_path):
    pytest.importorskip("triton")
    first, second = tmp_path / "first", tmp_path / "second"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(dry(first), cwd=ROOT, env=environment)
    # Killed within a step, when one with rows is done.
    while process.poll() is None and not (
        (first / STATUS).is_file()
        and {"done", "running"} <= set(states(first).values())
        and states(first).get("twins") == "running"
    ):
        time.sleep(0.05)
    process.kill()
    process.wait()
    killed = states(first)
    assert killed["roofs"] == killed["compilation"] == "done"
    assert killed["twins"] == "running"
    before = {name: read_rows(first / name) for name in (CHECKS, SPEED)}
    done = subprocess.run(
        dry(second, "--resume", str(first)),
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + (second / LOG).read_text()
    expected = dict.fromkeys(BY_NAME, "done")
    if "sanitizer" in done.stdout and "needs compute-sanitizer" in done.stdout:
        expected["sanitizer"] = "skipped"
    assert states(second) == expected
    for name, rows in before.items():  # nothing was measured again
        assert read_rows(second / name)[: len(rows)] == rows
    assert len(list(second.iterdir())) <= MOST_FILES
    found = {name: read_rows(second / name) for name in (CHECKS, SPEED, TUNING, RUN)}
    for rows in found.values():
        keys = [(row["step"], row["case"], row.get("side"), row.get("pass"),
                 row.get("direction")) for row in rows]  # fmt: skip
        assert len(set(keys)) == len(keys) > 0
        assert not [row for row in rows if row.get("defect")]
        assert {row["dry"] for row in rows} == {"yes"}
    (rounds,) = (row for row in found[CHECKS] if row["step"] == "rounds")
    assert rounds["digest"] == rounds["digest_resumed"] != ""
    assert rounds["rounds_guarded"] == "0"  # there is nothing to wait for
    compiled = [row for row in found[CHECKS] if row["step"] == "compilation"]
    assert {row["architecture"] for row in compiled} == {"sm_90"}
    assert all(int(row["registers"]) > 16 for row in compiled)
    roofs = {row["case"]: row for row in found[SPEED] if row["step"] == "roofs"}
    assert float(roofs["copy beside fp32"]["value"]) > 0
    assert roofs["product fp32"]["unit"] == "TFLOP/s"
    assert [row["verified"] for row in found[TUNING]] == ["0"] * 3
    assert {row["timed"] for row in found[TUNING]} == {"calls"}
    training = {row["side"]: row for row in found[SPEED] if row["step"] == "training"}
    assert training["textbook"]["over_textbook"] == "1.0"
    compiled_side = training["textbook bf16 channels_last max-autotune"]
    assert compiled_side["note"] == "needs a CUDA device"
    assert (found[RUN][0]["rounds"], found[RUN][0]["resumed_at"]) == ("20", "0")
    tables = device_tables.tables(second)
    assert "a dry run" in tables["machine"]
    assert f"{roofs['product fp32']['value']} TFLOP/s" in tables["roofs"]
    assert device_tables.main([str(second), "--write"]) == 2


def test_the_notes_have_the_tables_as_they_are():
    """Of a committed run where there is one, else empty: nobody has typed a number."""
    text = device_tables.NOTES.read_text()
    if device_tables.MISSING in device_tables.tables(None)["machine"] and "On: not" in text:
        assert device_tables.put_into(text, device_tables.tables(None)) == text
    for name in device_tables.tables(None):
        assert f"<!-- device: {name} -->" in text


@pytest.fixture
def measured(tmp_path) -> Path:
    """Results as a GPU would leave them."""
    folder = tmp_path / "results"
    machine = {"gpu": "NVIDIA H100 80GB HBM3", "cpu": "c", "torch": "2.11", "triton": "3.6"}
    results = Results(folder, machine)
    results.note("roofs", state="done", what="2 roofs")
    results.add(SPEED, "roofs", [{"case": "product bf16", "value": 790.1, "unit": "TFLOP/s"}])
    results.add(
        SPEED,
        "training",
        [
            {"case": "batch 64", "side": side, "batch": 64, "step_ms": ms, "over_textbook": over}
            for side, ms, over in (("textbook", 5.0, 1.0), ("ours bf16", 2.0, 2.5))
        ]
        + [{"case": "batch 64", "side": "ours fp32", "batch": 64, "note": "not in this version"}],
    )
    row = {"case": "dgrad bf16 512<>256 4 64 statistics", "op": "dgrad", "precision": "bf16"}
    row |= {"b": 512, "a": 256, "side": 4, "batch": 64, "epilogue": "statistics"}
    results.add(TUNING, "tuning", [{**row, "ours_us": 20.5, "other_us": 41.0, "ratio": 2.0}])
    timed = Measurement("NVIDIA H100 80GB HBM3", "torch 2.11", "replays", 64, 4, 20.5, 41.0)
    entry = TuningEntry(
        "dgrad", "bf16", 512, 256, 1024, TileConfig(128, 64, 64, 4, 3), True, None, 2.0,
        "statistics", timed,
    )  # fmt: skip
    unverified = entry._replace(op="fprop", verified=False)
    write_table(folder / "sm_90.json", 90, "x", [entry, unverified])
    return folder


def test_tables_of_what_was_measured(measured):
    tables = device_tables.tables(measured)
    assert tables["machine"] == "On: NVIDIA H100 80GB HBM3; torch 2.11, triton 3.6.\n"
    assert "| product bf16 | 790.1 TFLOP/s |" in tables["roofs"]
    assert "| product tf32 | not measured on a GPU |" in tables["roofs"]
    assert "| side | batch 64 |" in tables["training"]
    assert "| ours bf16 | 2.0 ms, 2.5× |" in tables["training"]
    assert "| ours fp32 | not in this version |" in tables["training"]
    assert "| ours bf16, one graph a round | not measured on a GPU |" in tables["training"]
    (line,) = (line for line in tables["products"].splitlines() if "20.5" in line)
    assert line.startswith("| dgrad | 512 and 256 | 4 | 64 | statistics | ")
    assert line.endswith(" | 20.5 | 41.0 | 2.0 |")
    assert "| roofs | a copy, a large product" in tables["checks"]
    assert "| done | 2 roofs |" in tables["checks"]


def test_writing_what_was_measured(measured, tmp_path, capsys):
    notes, tuned, results = tmp_path / "NOTES.md", tmp_path / "tuned", tmp_path / "csv"
    notes.write_text("before\n<!-- device: roofs -->\nold\n<!-- / -->\nafter\n")
    places = ["--notes", str(notes), "--tuned", str(tuned), "--results", str(results)]
    shipped = TuningEntry(
        "wgrad", "bf16", 512, 256, 1024, TileConfig(128, 64, 64, 4, 3), False, None, None
    )
    write_table(tuned / "sm_90.json", 90, None, [shipped])
    assert device_tables.main([str(measured), "--write", *places]) == 0
    text = notes.read_text()
    assert text.startswith("before\n<!-- device: roofs -->\n| roof | measured |\n")
    assert "790.1 TFLOP/s" in text
    assert text.endswith("<!-- / -->\nafter\n")
    copied = results / "nvidia-h100-80gb-hbm3" / "device_speed.csv"
    with copied.open() as file:
        assert next(csv.DictReader(file))["value"] == "790.1"
    rows = tiles.read_table(tuned / "sm_90.json")
    assert [(row.op, row.epilogue, row.verified) for row in rows] == [
        ("dgrad", "statistics", True),  # and the unverified one stays behind
        ("wgrad", "plain", False),
    ]
    head = json.loads((tuned / "sm_90.json").read_text())
    assert head["measured_on"] == "NVIDIA H100 80GB HBM3"
    # Again: the same.
    before = notes.read_bytes(), (tuned / "sm_90.json").read_bytes()
    assert device_tables.main([str(measured), "--write", *places]) == 0
    assert (notes.read_bytes(), (tuned / "sm_90.json").read_bytes()) == before
    notes.write_text("<!-- device: nothing -->\n<!-- / -->\n")
    assert device_tables.main(["--write", *places]) == 2
    assert "no table 'nothing'; known: machine, checks" in capsys.readouterr().err
    notes.write_text("nothing")
    assert device_tables.main(["--write", *places]) == 2
    assert device_tables.main([str(tmp_path / "not-there")]) == 2
