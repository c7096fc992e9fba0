"""Every launch through Triton's own launcher and compiler, in a process without the interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import dry_device
from benchmarks.dry_device import DryDriver, check_view

pytest.importorskip("triton")
ROOT = Path(__file__).parents[2]

# A second batch size is another number of tiles, or of programs of a reduction, but no new kernel.
LAUNCHED = {
    "losses": {"forward_kernel", "backward_kernel", "combine_kernel"},
    "sampling": {"bernoulli", "categorical", "wide"},
    "convolutions": {"dgrad_packed_kernel", "fprop_kernel", "wgrad_kernel", "sum_splits_kernel"},
    "blocks": {"combine_statistics_kernel", "apply_kernel", "backward_apply_kernel"},
}


def run(*arguments: str) -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.dry_device", *arguments],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    failed = {name: error for row in rows for name, error in row["failed"].items()}
    assert not failed, "\n".join(failed.values())
    assert done.returncode == 0, done.stderr
    return rows


def check(rows: list[dict[str, Any]], architecture: int) -> None:
    assert [row["area"] for row in rows] == list(dry_device.AREAS)
    for row in rows:
        assert row["architecture"] == architecture
        assert row["launches"] >= row["calls"]
        assert 0 < row["compiled"] <= row["launches"]
        assert row["compiled_again"] == []
        for part in LAUNCHED[row["area"]]:
            assert any(part in kernel for kernel in row["kernels"]), (part, row["kernels"])
        if row["area"] in ("convolutions", "blocks"):
            boxes = [kernel for kernel in row["kernels"] if "boxes" in kernel]
            assert len(boxes) == (3 if architecture >= 90 else 0)


def test_every_kind_of_launch_compiles() -> None:
    rows = run("--architecture", "80", "90", "100")
    for architecture in (80, 90, 100):
        check([row for row in rows if row["architecture"] == architecture], architecture)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "batches"),
    # Multiples of 16 are compiled for as such. Tiles may be others for another number of them.
    [(80, ("20", "23")), (90, ("20", "23")), (90, ("16", "16")), (100, ("20", "23"))],
)
def test_every_launch_compiles(architecture: int, batches: tuple[str, str]) -> None:
    rows = run("--architecture", str(architecture), "--all", "--batch", *batches)
    check(rows, architecture)


def test_what_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(batch: int) -> None:
        if batch == 17:
            raise TypeError("of the wrong type")

    monkeypatch.setitem(dry_device.AREAS, "losses", lambda everything: iter([("a call", call)]))
    row = dry_device.run(DryDriver(90), "losses", False, (16, 17))
    assert list(row["failed"]) == ["a call, batch 17"]
    assert "TypeError: of the wrong type" in row["failed"]["a call, batch 17"]


def test_nothing_is_installed_under_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET is 1"), dry_device.installed(90):
        pass


def test_a_grid_that_cuda_does_not_take() -> None:
    metadata = SimpleNamespace(name="kernel", num_warps=4, shared=0)
    dry = DryDriver(90)
    launch = dry.launcher_cls(None, metadata)
    launch(3, 1, 1, 0)
    assert [found.grid for found in dry.launches] == [(3, 1, 1)]
    for grid in ((0, 1, 1), (2**31, 1, 1), (1, 2**16, 1)):
        with pytest.raises(ValueError, match="kernel: a grid of"):
            launch(*grid, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"offset": 1}, "does not start at a multiple of 16 bytes"),
        ({"shape": [0, 64]}, r"a view of shape \[0, 64\]"),
        ({"strides": [60, 1]}, r"strides of \[60, 1\] elements"),
        ({"box": [512, 64]}, r"a box of \[512, 64\]"),
        ({"box": [64, 4]}, r"a box of \[64, 4\]"),
        ({"box": [64, 128]}, "128 bytes swizzled"),
        ({"box": [64, 128], "swizzle": 0}, None),
    ],
)
def test_views_that_tma_refuses(change: dict[str, Any], message: str | None) -> None:
    storage = torch.zeros(64 * 64 + 1, dtype=torch.bfloat16)
    view = SimpleNamespace(
        base=storage[change.get("offset", 0) :],
        shape=change.get("shape", [64, 64]),
        strides=change.get("strides", [64, 1]),
    )
    described = {"block_size": change.get("box", [64, 64]), "swizzle": change.get("swizzle", 3)}
    if message is None:
        check_view(view, described)
    else:
        with pytest.raises(ValueError, match=message):
            check_view(view, described)
