"""What every benchmark shares: on which machine, a table for people, a CSV for later comparison."""

from __future__ import annotations

import csv
import io
import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.files import write_bytes

if TYPE_CHECKING:
    import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "triton", "numpy", "pillow")
# What decides how fast low precision is on a CPU.
_CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")

TableRow = dict[str, Any]


def machine(device: torch.device | None = None) -> dict[str, str]:
    """The machine in words: CPU, cores, GPU if `device` is one, versions of what matters."""
    model, features = _cpu()
    described = {
        "cpu": model,
        "cpu_features": " ".join(features),
        "cores": str(_cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if device is not None and device.type == "cuda":
        described["gpu"] = _gpu(device)
    for package in PACKAGES:
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            described[package] = "none"
    return described


def results_path(name: str, device: torch.device | None = None) -> Path:
    """`benchmarks/results/<device>/<name>.csv`, where the device is `cpu` or the GPU's name."""
    folder = "cpu"
    if device is not None and device.type != "cpu":
        named = _gpu(device) if device.type == "cuda" else device.type
        folder = re.sub(r"[^a-z0-9]+", "-", named.lower()).strip("-")
    return RESULTS / folder / f"{name}.csv"


def write_csv(path: Path, rows: Sequence[TableRow], device: torch.device | None = None) -> None:
    """Write `rows` with the machine's columns beside each, and say where.

    A row that names its machine, as one that was read from such a file does, keeps it.
    """
    described = machine(device)
    columns = [column for column in _columns(rows) if column not in described]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, *described], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**described, **row} for row in rows)
    write_bytes(path, text.getvalue().encode())
    print(f"written to {path}")


def print_table(rows: Sequence[TableRow]) -> None:
    """Print `rows` in aligned columns, numbers to the right."""
    columns = _columns(rows)
    cells = [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    numeric = [
        all(isinstance(row.get(column, 0), int | float) for row in rows) for column in columns
    ]
    for line in (columns, ["-" * width for width in widths], *cells):
        aligned = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  ".join(aligned).rstrip())


def _columns(rows: Sequence[TableRow]) -> list[str]:
    """The keys of all rows, in the order in which they first appear."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _gpu(device: torch.device) -> str:
    import torch

    return torch.cuda.get_device_name(device)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> tuple[str, list[str]]:
    """Model and the features of `_CPU_FEATURES` that it has, as far as the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), []
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags", "").split()
    model = fields.get("model name") or platform.machine()
    return model, [feature for feature in _CPU_FEATURES if feature in flags]
