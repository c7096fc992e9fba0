"""How fast image files become the prepared form, and how much memory that takes.

    python -m benchmarks.prepare_images [--count 50000] [--workers 0 2] [--format jpeg] [--size 32]
                                        [--container folder] [--against CHECKOUT]

Makes that many image files in a temporary folder or archive (and a fifth of them in another, to
show that memory does not grow with the number), then runs `gan.preparation.prepare` on each in a
process of its own. Reported are the medians over the repetitions, of wall clock and of seconds of
the processor, and peak memory of the main process and of all processes together. With `--against`
another checkout does the same, turn by turn with this one, and must prepare the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.report import machine, print_table, results_path, write_csv

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "bmp": ".bmp"}
CONTAINERS = ("folder", "tar", "zip")
LABELS = 10
_PAGE = os.sysconf("SC_PAGE_SIZE")

# Run in a fresh interpreter, so that its memory is that of `prepare` alone.
_PROGRAM = """
import sys
from gan.config import DataConfig, parse
from gan.preparation.prepare import prepare

path, out, size, workers = sys.argv[1:]
values = {"name": "images", "path": path, "size": int(size), "channels": 3}
prepare(parse(DataConfig, values, "benchmark"), out, workers=int(workers), progress=False)
"""


class Cost(NamedTuple):
    """One run of `prepare`."""

    seconds: float
    processor_seconds: float  # of all processes together
    main_bytes: int  # peak of the main process
    all_bytes: int  # peak of all processes together, sampled


def make_images(folder: Path, count: int, kind: str, size: int) -> None:
    """Write `count` images with structure and noise, so that they compress as photographs do."""
    rng = np.random.default_rng(0)
    suffix = SUFFIXES[kind]
    for label in range(LABELS):
        (folder / f"label{label}").mkdir(parents=True)
    for index in tqdm(range(count), desc=f"making {count} files", unit="img"):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
        noise = rng.normal(0, 8, smooth.shape)
        image = Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))
        name = f"label{index % LABELS}/{index:07d}{suffix}"
        image.save(folder / name, kind, **({"quality": 90} if kind == "jpeg" else {}))


def packed(folder: Path, container: str) -> Path:
    """The folder's files in a container of that kind; a zip deflates them, a tar does not."""
    if container == "folder":
        return folder
    return Path(shutil.make_archive(str(folder), container, folder))


def measure(path: Path, out: Path, size: int, workers: int, checkout: Path = ROOT) -> Cost:
    """Run a checkout's `prepare` once in processes of its own and watch them."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(path), str(out), str(size), str(workers)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        start_new_session=True,
    )
    peak = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.05):
            peak = max(peak, sum(_resident(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    ended.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    main_bytes = usage.ru_maxrss * 1024
    # wait4 counts the children that the process has waited for, which are its workers.
    processor_seconds = usage.ru_utime + usage.ru_stime
    return Cost(seconds, processor_seconds, main_bytes, max(peak, main_bytes))


def checksum(folder: Path) -> str:
    """SHA-256 over the arrays that were prepared; what the manifest says may differ in words."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.npy")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _resident(session: int) -> Iterator[int]:
    """Resident bytes of each process of a session. Shared pages count once for each of them."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[3]) == session:
            yield int(fields[21]) * _PAGE


def compare(
    path: Path, out: Path, size: int, workers: int, checkouts: Mapping[str, Path], repeat: int
) -> dict[str, list[Cost]]:
    """Measure every checkout in turn, `repeat` times over.

    Raises:
        SystemExit: what they prepared is not the same.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in checkouts}
    prepared = set()
    for _, (name, checkout) in itertools.product(range(repeat), checkouts.items()):
        costs[name].append(measure(path, out, size, workers, checkout))
        prepared.add(checksum(out))
    if len(prepared) != 1:
        raise SystemExit(f"{path.name}: the arrays that were prepared differ")
    return costs


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prepare_images",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=50_000, help="of image files")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0, 2], help="processes that decode"
    )
    parser.add_argument("--format", choices=sorted(SUFFIXES), default="jpeg")
    parser.add_argument("--size", type=int, default=32, help="pixels a side of the files")
    parser.add_argument("--data-size", type=int, default=32, help="what they are prepared for")
    parser.add_argument("--container", choices=CONTAINERS, default="folder")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another one, in turn")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tag", default="", help="added to the name of the CSV file")
    options = parser.parse_args()
    checkouts = {"this": ROOT}
    if options.against is not None:
        checkouts = {revision(options.against): options.against.resolve()} | checkouts

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for count in (max(100, options.count // 5), options.count):
            folder = Path(temporary) / str(count)
            make_images(folder, count, options.format, options.size)
            path = packed(folder, options.container)
            for workers in options.workers:
                out = Path(temporary) / "out"
                compared = compare(path, out, options.data_size, workers, checkouts, options.repeat)
                for name, runs in compared.items():
                    seconds = statistics.median(run.seconds for run in runs)
                    processor = statistics.median(run.processor_seconds for run in runs)
                    rows.append(
                        {
                            "files": count,
                            "format": options.format,
                            "container": options.container,
                            "file_size": options.size,
                            "data_size": options.data_size,
                            "workers": workers,
                            "revision": name,
                            "seconds": round(seconds, 2),
                            "fastest": round(min(run.seconds for run in runs), 2),
                            "processor_seconds": round(processor, 2),
                            "images_per_second": round(count / seconds),
                            "main_mib": round(max(run.main_bytes for run in runs) / 2**20, 1),
                            "all_mib": round(max(run.all_bytes for run in runs) / 2**20, 1),
                        }
                    )
    print(machine())
    print_table(rows)
    write_csv(results_path("prepare_images" + options.tag), rows)


def revision(checkout: Path) -> str:
    """The commit that a checkout stands at, in short.

    Raises:
        SystemExit: it is no checkout of this project.
    """
    if not (checkout / "gan" / "preparation").is_dir():
        raise SystemExit(f"--against {checkout}: no checkout with a folder gan/preparation")
    git = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    told = subprocess.run(git, capture_output=True, text=True, check=False)
    return told.stdout.strip() or checkout.name


if __name__ == "__main__":
    main()
