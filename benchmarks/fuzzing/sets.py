"""Readers of data sets as others store them: arrays, CIFAR, tables, Parquet, LMDB."""

from __future__ import annotations

import importlib.util
import io
import pickle
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.fuzzing.formats import npy, pickled, zipped
from benchmarks.fuzzing.inputs import Reader
from benchmarks.fuzzing.raw import EXTREMES, TEXTS, raw
from benchmarks.fuzzing.sources import read_source

COUNT = 6


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _encoded() -> Iterator[bytes]:
    rng = _rng()
    for _ in range(COUNT):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(out, "PNG")
        yield out.getvalue()


# --- arrays ------------------------------------------------------------------------------------


def _npy(folder: Path) -> None:
    (folder / "set").mkdir()
    np.save(folder / "set" / "images.npy", _rng().integers(0, 256, (COUNT, 9, 9, 3), np.uint8))
    np.save(folder / "set" / "labels.npy", np.arange(COUNT) % 3)


def _npz(folder: Path) -> None:
    rng = _rng()
    np.savez(
        folder / "set.npz",
        x_train=rng.integers(0, 256, (COUNT, 9, 9), np.uint8),
        y_train=np.arange(COUNT) % 3,
        x_test=rng.integers(0, 256, (3, 9, 9), np.uint8),
        y_test=np.array([0, 1, 2]),
    )


def npz(rng: random.Random, content: bytes) -> bytes:
    """A `.npz` with an array of it changed."""
    return zipped(rng, content, npy)


# --- CIFAR -------------------------------------------------------------------------------------


def _cifar_binary(folder: Path) -> None:
    (folder / "set").mkdir()
    rng = _rng()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        rows = [bytes([row % 10]) + rng.bytes(3072) for row in range(2)]
        (folder / "set" / f"{name}.bin").write_bytes(b"".join(rows))
    (folder / "set" / "batches.meta.txt").write_text("".join(f"class{n}\n" for n in range(10)))


def _cifar_python(folder: Path) -> None:
    (folder / "set").mkdir()
    for name, content in _pickles():
        (folder / "set" / name).write_bytes(content)


def _cifar_archive(folder: Path) -> None:
    with tarfile.open(folder / "set.tar", "w") as archive:
        for name, content in _pickles():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _pickles() -> Iterator[tuple[str, bytes]]:
    rng = _rng()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        values = {
            b"batch_label": b"x",
            b"labels": [0, 9],
            b"data": rng.integers(0, 256, (2, 3072), np.uint8),
            b"filenames": [b"a.png", b"b.png"],
        }
        yield name, pickle.dumps(values, protocol=2)
    yield "batches.meta", pickle.dumps({b"label_names": [b"c%d" % n for n in range(10)]}, 2)


# --- tables ------------------------------------------------------------------------------------

_TABLE = "x,y,label\n" + "".join(f"{n / 7:.3f},{-n},{'ab'[n % 2]}\n" for n in range(30))


def _csv(folder: Path) -> None:
    (folder / "set.csv").write_text(_TABLE)


def _table_npy(folder: Path) -> None:
    np.save(folder / "set.npy", _rng().normal(size=(30, 2)))


def table(rng: random.Random, content: bytes) -> bytes:
    """A table with a cell, a line or the separator changed."""
    lines = content.decode("utf-8", "replace").split("\n")
    place = rng.randrange(len(lines))
    cells = lines[place].split(",")
    kind = rng.randrange(5)
    if kind <= 1:
        odd = (*TEXTS, *map(str, EXTREMES), "nan", "inf", "1e999", '"', "1,5", "9" * 200_000)
        cells[rng.randrange(len(cells))] = rng.choice(odd)
        lines[place] = ",".join(cells)
    elif kind == 2:
        lines[place] += rng.choice((",", ",1", ";", "#", '"'))
    elif kind == 3:
        return content.replace(b",", rng.choice((b";", b"\t", b" ", b"|", b"\x00")))
    else:
        return raw(rng, content)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


# --- Parquet, LMDB: where the packages are ------------------------------------------------------


def _parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": content, "path": f"{n}.png"} for n, content in enumerate(_encoded())]
    columns = pa.table({"image": rows, "label": [n % 2 for n in range(COUNT)]})
    pq.write_table(columns, folder / "set.parquet")


def _lmdb(folder: Path) -> None:
    import lmdb

    with (
        lmdb.open(str(folder / "set"), map_size=1 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        for number, content in enumerate(_encoded()):
            transaction.put(f"{number:03d}".encode(), content)
    (folder / "set" / "lock.mdb").unlink()


def _own(reader: Reader, *packages: str) -> tuple[Reader, ...]:
    return (reader,) if all(map(importlib.util.find_spec, packages)) else ()


READERS = (
    Reader("arrays of images", (_npy,), read_source("arrays", "set")),
    Reader("npz", (_npz,), read_source("arrays", "set.npz"), mutators={"set.npz": npz}),
    Reader("cifar", (_cifar_binary,), read_source("cifar", "set")),
    Reader(
        "cifar, pickles",
        (_cifar_python,),
        read_source("cifar", "set"),
        mutators={name: pickled for name, _ in _pickles()},
    ),
    Reader("cifar, tar", (_cifar_archive,), read_source("cifar", "set.tar"), 0.5),
    Reader("table", (_csv,), read_source("table", "set.csv"), mutators={"set.csv": table}),
    Reader("table, npy", (_table_npy,), read_source("table", "set.npy")),
    *_own(Reader("parquet", (_parquet,), read_source("parquet", "set.parquet"), 0.5), "pyarrow"),
    *_own(Reader("lmdb", (_lmdb,), read_source("lmdb", "set"), 0.05), "lmdb"),
)
