import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import conv_transpose_model as model
from benchmarks.conv_transpose import Clock, _options, measure, problems
from benchmarks.conv_transpose_model import prediction
from kernels.conv_transpose.tiles import TileConfig, TuningEntry

WHAT = ("layer", "block", "generator")


def test_operations_are_those_that_torch_counts():
    for problem in problems(WHAT, 2):
        module, x = problem.theirs.to("meta"), torch.empty(problem.shape, device="meta")
        with FlopCounterMode(display=False) as counter:
            module(x)
        assert problem.flops == counter.get_total_flops(), problem.name


def test_both_sides_compute_the_same():
    for problem in problems(WHAT, 1):
        if problem.what == "generator":
            continue  # its two sides' keys differ
        problem.theirs.load_state_dict(problem.ours.state_dict())
        x = torch.randn(problem.shape)
        with torch.no_grad():
            ours, theirs = problem.ours(x), problem.theirs(x)
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_a_row_a_side():
    options = _options(["--device", "cpu", "--rounds", "2", "--what", "layer"])
    assert options.sides == ["ours", "nchw"]
    *_, problem = problems(["layer"], 1)
    for backward in (False, True):
        rows = measure(problem, "fp32", backward, options, Clock(torch.device("cpu")))
        assert [row["side"] for row in rows] == ["ours", "nchw"]
        assert rows[0]["over_ours_call"] == 1
        assert all(row["call_us"] > 0 for row in rows)
        # x of 64×32×32 in fp32 at least, and what tanh keeps.
        assert not backward or all(row["saved_mib"] >= 0.25 for row in rows)


def test_a_prediction_is_never_better_than_its_roof():
    entry = TuningEntry(
        "dgrad", "bf16", 512, 256, 8192, TileConfig(256, 128, 64, 8, 3), False, None, None
    )
    row = prediction(entry)
    assert row["roof_us"] == pytest.approx(1e6 * 32 * 8192 * 512 * 256 / 780e12, abs=0.1)
    assert row["predicted_us"] > row["roof_us"]
    assert row["bound_by"] == "traffic"
    # 4 taps in each of ⌈4 · 32 · 2 / 132⌉ = 2 waves
    assert row["drains_us"] == pytest.approx(4 * 2 * 0.8, abs=0.1)
    assert row["issue_us"] is None or row["issue_us"] < row["predicted_us"]
    flat = prediction(entry._replace(config=entry.config._replace(nested=False)))
    assert flat["drains_us"] == pytest.approx(2 * 0.8, abs=0.1)


def test_instructions_are_issued_by_four_schedulers(monkeypatch: pytest.MonkeyPatch):
    config = TileConfig(256, 128, 64, 8, 3, tma=True)
    entry = TuningEntry("dgrad", "bf16", 512, 256, 8192, config, False, None, None)
    monkeypatch.setattr(model, "issued_a_step", lambda entry: 2000.0)
    row = prediction(entry)
    # ⌈8192/256⌉ · 2 · 4 tiles of 4 · 8 steps, 8 warps each, on 132 · 4 schedulers.
    cycles = 2000 * 8 * 256 * 32 / (132 * 4)
    assert row["issue_us"] == pytest.approx(1e6 * cycles / model.CLOCK, abs=0.1)
    assert row["bound_by"] == "issue"
    assert row["loop"] == "boxes"
    assert row["drains_us"] == pytest.approx(2 * 0.8, abs=0.1)  # one loop, two waves


def test_instructions_come_from_the_rows_of_the_same_kernel(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("triton")
    config = TileConfig(256, 128, 64, 8, 3, tma=True)
    entry = TuningEntry("dgrad", "bf16", 512, 256, 8192, config, False, None, None)
    name = "conv_transpose: dgrad bf16 512<>256 128x64 in boxes of 16x4x4 w8 s3 plain"
    monkeypatch.setattr(model, "_loops", lambda: {name: 96.0})
    assert model.issued_a_step(entry) == 96
    assert model.issued_a_step(entry._replace(config=config._replace(stages=4))) is None
