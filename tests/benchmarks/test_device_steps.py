"""The steps of `benchmarks.device` one by one, without processes of their own."""

import json
import os
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from benchmarks.device_steps import roofs, rounds, sanitizer, suite, training, twins, whole_run
from benchmarks.device_steps.results import CHECKS, read_rows
from benchmarks.device_steps.step import Context, Failed, number, plural

ROOT = Path(__file__).parents[2]
interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="interpreted on the CPU")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path, tmp_path, "cpu", dry=True)


def all_of(rows):
    """The rows of a step and what it says in the end."""
    found = []
    while True:
        try:
            found += next(rows)
        except StopIteration as end:
            return found, end.value


@interpreted
def test_the_probe_of_l2_sums_what_it_reads():
    pytest.importorskip("triton")
    from benchmarks.device_steps import l2_probe

    source = torch.randint(0, 1000, (3 * l2_probe.BLOCK,), dtype=torch.int32)
    found = l2_probe.read(source, programs=4, reads=5)
    each = source.view(3, -1).sum(1).tolist()
    assert found.tolist() == [
        sum(each[(program + read) % 3] for read in range(5)) for program in range(4)
    ]
    assert torch.equal(found, l2_probe.expected(source, 4, 5))


def test_roofs_of_a_cpu(context):
    rows, said = all_of(roofs.run(context))
    by_case = {row["case"]: row for row in rows}
    assert list(by_case) == [
        "product fp32", "copy beside fp32", "product bf16", "copy beside bf16",
        "operator from Python",
    ]  # fmt: skip
    assert all(row["value"] > 0 for row in rows)
    assert [by_case[case]["unit"] for case in by_case][-2:] == ["TB/s", "µs"]
    assert said == "5 roofs"


@interpreted
def test_a_kernel_that_differs_is_named(context, monkeypatch):
    pytest.importorskip("triton")
    right = twins.Twin("right", lambda impl: [torch.ones(3)], 1e-5)
    drawn = {"triton": torch.tensor([1, 2]), "torch": torch.tensor([1, 3])}
    off = {"triton": torch.tensor([1.0, 1.1]), "torch": torch.ones(2)}
    empty = {"triton": torch.tensor([float("nan")]), "torch": torch.ones(1)}
    found = [
        right,
        twins.Twin("drawn", lambda impl: [drawn[impl]], 1e-5),
        twins.Twin("off", lambda impl: [off[impl]], 1e-5),
        twins.Twin("nan", lambda impl: [empty[impl]], 1e-5),
    ]
    monkeypatch.setattr(twins, "twins", lambda context, small: iter(found))
    monkeypatch.setattr(twins, "convolutions", lambda context, small: [])
    steps, rows = twins.run(context), []
    with pytest.raises(Failed, match="3 of 4 differ from their twin"):
        for more in steps:
            rows += more
    assert [(row["case"], row["defect"]) for row in rows] == [
        ("right", ""),
        ("drawn", "1 of 2 whole numbers differ"),
        ("off", "error 7.1e-02 of at most 1e-05"),
        ("nan", "error nan of at most 1e-05"),
    ]


def test_what_is_checked_covers_every_package(context):
    native = Context(context.folder, context.work, "cpu")
    names = [name for name, _ in twins.checks(native, small=False)]
    assert len(set(names)) == len(names)
    for part in (
        "product dgrad bf16 512 256 4 64 statistics", "product wgrad tf32 64 3 5 3 plain",
        "discriminator wasserstein, 40000 logits", "generator boundary_seeking kl, 64 logits",
        "sampling of 3000 categories", "sampling of bits", "block of convolution, 64 and 32",
    ):  # fmt: skip
        assert any(part in name for name in names), part
    small = [name for name, _ in twins.checks(native, small=True)]
    assert set(small) < set(names)
    assert not any("40000" in name or " 512 " in name for name in small)


REPORT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="tests.a" name="one"/>
<testcase classname="tests.a" name="two"><failure message="assert 1 == 2&#10;more"/></testcase>
<testcase classname="" name="tests.b"><error message="collection failure">x</error></testcase>
<testcase classname="tests.a" name="three"><skipped message="no"/></testcase>
</testsuite></testsuites>"""


def test_a_report_of_pytest(tmp_path):
    path = tmp_path / "tests.xml"
    path.write_text(REPORT)
    rows, counts = suite.read_report(path)
    assert counts == {"passed": 1, "failed": 1, "errors": 1, "skipped": 1}
    assert rows == [
        {"case": "pytest -m gpu", **counts},
        {"case": "tests.a.two", "defect": "assert 1 == 2"},
        {"case": "tests.b", "defect": "collection failure"},
    ]
    files = suite.gpu_tests()
    assert files[0] == "tests/kernels"
    assert "tests/gan/training/test_trainer.py" in files
    assert all((ROOT / name).exists() for name in files)


@pytest.mark.parametrize(
    ("printed", "status", "defect"),
    [
        ("ERROR SUMMARY: 0 errors", 0, ""),
        ("ERROR SUMMARY: 2 errors", 77, "2 errors"),
        ("ERROR SUMMARY: 0 errors", 1, "ended with status 1"),
        ("Device not supported", 0, "no summary"),
    ],
)
def test_the_sanitizer(context, monkeypatch, tmp_path, printed, status, defect):
    program = tmp_path / "compute-sanitizer"
    program.write_text(f"#!/bin/sh\necho '{printed}'\nexit {status}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    steps, rows = sanitizer.run(context), []
    if defect:
        with pytest.raises(Failed, match=f"memcheck: {defect}; racecheck: {defect}"):
            for more in steps:
                rows += more
    else:
        rows, said = all_of(steps)
        assert said == "memcheck and racecheck found nothing"
    assert [(row["case"], row["defect"]) for row in rows] == [
        ("memcheck", defect),
        ("racecheck", defect),
    ]


def test_a_digest_is_of_every_value():
    state = {"a": [torch.zeros(2), 1, "x"], "b": {"c": None, "d": torch.ones(1, dtype=torch.int8)}}
    digest = rounds.digest_of(state)
    assert digest == rounds.digest_of(dict(reversed(state.items())))
    assert len(digest) == 16
    for other in (
        {**state, "a": [torch.tensor([0.0, -0.0]), 1, "x"]},
        {**state, "a": [torch.zeros(2, 1), 1, "x"]},
        {**state, "a": [torch.zeros(2).double(), 1, "x"]},
        {**state, "a": [torch.zeros(2), 2, "x"]},
        {**state, "b": {"c": 0, "d": torch.ones(1, dtype=torch.int8)}},
    ):
        assert rounds.digest_of(other) != digest


def test_the_newest_checkpoint(tmp_path):
    assert whole_run.newest_checkpoint(tmp_path) == 0
    for name in ("a/step-7.pt", "b/step-12.pt", "b/step-x.pt", "b/c/step-99.pt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert whole_run.newest_checkpoint(tmp_path) == 12


def test_presets_of_the_rounds():
    for name in rounds.PRESETS:
        config = rounds.configured(name, 200, Context(Path(), Path(), "cpu"))
        assert config.train.steps == 200
        assert config.runtime.checkpoint_seconds == 0


def test_sides_that_are_not_here(context):
    for name in (training.TEXTBOOK, training.EAGER, training.FP32):
        assert training.why_not(name, context) is None
    assert training.why_not(training.COMPILED, context) == "needs a CUDA device"
    assert training.why_not(training.GRAPH, context) in (
        "not in this version",
        "needs a CUDA device",
    )
    gpu = Context(context.folder, context.work, "cuda")
    assert training.why_not(training.COMPILED, gpu) is None
    assert training.sizes(gpu).batches == (64, 128, 512)


def test_the_careful_loop_learns():
    """Without its compiler: that what is compared with is right."""
    import numpy as np

    images = np.random.default_rng(0).integers(0, 256, (16, 3, 16, 16), np.uint8)
    torch.manual_seed(0)
    networks = []
    make = training.textbook_networks

    def kept(*arguments):
        networks.extend(make(*arguments))
        return tuple(networks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda network, mode: network)
        patch.setattr(training, "textbook_networks", kept)
        step = training.careful(images, 4, 4, torch.device("cpu"), "max-autotune")
        before = [[p.clone() for p in network.parameters()] for network in networks]
        step()
    for network, old in zip(networks, before, strict=True):
        parameters = list(network.parameters())
        assert parameters
        assert all(p.isfinite().all() for p in parameters)
        assert all(not torch.equal(a, b) for a, b in zip(parameters, old, strict=True))
        assert all(p.requires_grad for p in parameters)


def test_words():
    assert [plural(1, "row"), plural(2, "row")] == ["1 row", "2 rows"]
    assert [number(1.23456), number(123456.0, 3), number(7), number("x")] == [1.235, 123000, 7, "x"]


ALONE = textwrap.dedent(
    """
    import sys
    from benchmarks import device
    from benchmarks.device_steps.results import CHECKS
    from benchmarks.device_steps.step import Step
    step = Step("slow", "", "tests.benchmarks.device_fakes", CHECKS, 500, "slow")
    device.STEPS, device.BY_NAME = (step,), {"slow": step}
    sys.exit(device.main(["--device", "cpu", "--out", sys.argv[1], "--work", sys.argv[1] + "-w"]))
    """
)


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_call_that_is_stopped_takes_its_step_with_it(tmp_path, how):
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", ALONE, str(out)], cwd=ROOT, env=environment)
    while process.poll() is None and not (out / CHECKS).is_file():
        time.sleep(0.05)
    getattr(process, how)()
    status = process.wait()
    (row,) = read_rows(out / CHECKS)
    for _ in range(200):
        if not _runs(int(row["value"])):
            break
        time.sleep(0.05)
    assert not _runs(int(row["value"]))
    line = json.loads((out / "status.json").read_text())["steps"]["slow"]
    if how == "terminate":
        assert status == 130
        assert (line["state"], line["what"], line["tries"]) == (
            "unfinished",
            "stopped by someone",
            0,
        )
    else:
        assert line["state"] == "running"


def _runs(process: int) -> bool:
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] != "Z"
