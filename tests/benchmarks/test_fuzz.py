"""A slice of the fuzzer, and that it would see what it looks for."""

import csv
import os
import random
import signal
import struct
import sys
import time
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from benchmarks.fuzz import COLUMNS, READERS, Tried, as_csv, main, shares, tried
from benchmarks.fuzzing.formats import BY_ENDING, checkpoint, mutate, npy, png, safetensors, tar
from benchmarks.fuzzing.inputs import Reader, WrongError, changed, sound, write
from benchmarks.fuzzing.limits import FAILURES, Limits
from gan.errors import DataError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="its limits are those of Linux")

SLICE = 120  # inputs a reader, relative to its share


@pytest.mark.parametrize("name", READERS)
def test_no_changed_file_ends_in_anything_but_an_answer(name: str):
    reader = READERS[name]
    inputs = max(20, round(SLICE * reader.share / 2))
    found = tried(reader, inputs, seed=7)
    assert found.counts.total() == inputs
    assert {key: count for key, (count, _) in found.failures.items()} == {}
    assert found.counts["accepted"] < inputs or name in ("images", "checkpoints", "states")


def made(read) -> Reader:
    def make(folder: Path) -> None:
        (folder / "number").write_bytes(bytes([1, 2, 3, 4]))

    return Reader("made", (make,), read)


def first_byte(folder: Path) -> int:
    content = (folder / "number").read_bytes()
    return content[0] if content else -1


def refuse_others(folder: Path) -> None:
    if first_byte(folder) != 1:
        raise DataError("another number")


FAULTS = {
    "raw": lambda: {}["nothing"],
    "message": lambda: (_ for _ in ()).throw(DataError("\x1b[2J")),
    "endless": lambda: (_ for _ in ()).throw(DataError("x" * 5000)),
    "wrong": lambda: (_ for _ in ()).throw(WrongError("not finite")),
    "busy": lambda: [None for _ in iter(int, 1)],
    "waiting": lambda: time.sleep(60),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "memory": lambda: bytearray(1 << 34),
}


@pytest.mark.parametrize(
    ("fault", "what", "detail"),
    [
        ("raw", "raw", "KeyError in test_fuzz.py:<lambda>"),
        ("message", "raw", "a message that clears the terminal"),
        ("endless", "raw", "a message without an end"),
        ("wrong", "wrong", "not finite"),
        ("busy", "hang", "test_fuzz.py:<listcomp>|test_fuzz.py:<lambda>"),
        ("waiting", "hang", "it waits"),
        ("crash", "crash", "exit status -11 test_fuzz.py:<lambda>"),
        ("memory", "raw", "MemoryError in test_fuzz.py:<lambda>"),
    ],
)
def test_every_kind_of_failure_is_seen_and_the_others_go_on(fault: str, what: str, detail: str):
    def read(folder: Path) -> None:
        refuse_others(folder)
        if len((folder / "number").read_bytes()) > 4:
            FAULTS[fault]()

    limits = Limits(seconds=0.2, waiting=1 if fault == "waiting" else 30, megabytes=1024)
    found = tried(made(read), 24, seed=0, limits=limits, jobs=2)
    assert found.counts.total() == 24
    assert found.counts["refused"] > 0
    assert found.counts["accepted"] > 0
    failures = dict(found.failures)
    assert {key[0] for key in failures} == {what}
    assert all(any(each in key[1] for each in detail.split("|")) for key in failures), failures
    assert sum(count for count, _ in failures.values()) == found.counts[what] > 0
    # The smallest is one that fails.
    for _, files in failures.values():
        assert files["number"][0] == 1
        assert len(files["number"]) > 4


def test_what_is_sound_must_be_accepted():
    def read(folder: Path) -> None:
        raise DataError("never")

    with pytest.raises(RuntimeError, match="made: a sound input is refused: by a message"):
        tried(made(read), 3, seed=0)


def test_the_same_seed_gives_the_same_inputs_and_another_others(tmp_path: Path):
    reader = READERS["samples"]
    seeds = sound(reader, tmp_path)
    assert list(tmp_path.iterdir()) == []
    first, again, other = (
        [changed(reader, seeds, seed, number) for number in range(20)] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    write(first[0], tmp_path / "x")
    assert {path.name for path in (tmp_path / "x").iterdir()} == set(first[0])


def test_the_mutators_get_past_the_containers():
    """Of what each makes many are whole: the lengths and checksums are right."""
    tensors = save({"a": torch.ones(4)}, {"fusedgan.x": '{"version": 1, "b": [1, 2]}'})
    whole = not_finite = 0
    for number in range(200):
        try:
            found = load(safetensors(random.Random(number), tensors))
        except Exception:
            continue
        whole += 1
        not_finite += not all(each.isfinite().all() for each in found.values())
    assert whole > 60
    assert not_finite > 5

    out = BytesIO()
    np.save(out, np.ones((2, 3), np.float32))
    texts = [npy(random.Random(number), out.getvalue()) for number in range(100)]
    lengths = [struct.unpack("<H", text[8:10])[0] for text in texts if len(text) > 10]
    assert sum((10 + length) % 64 == 0 for length in lengths) > 60

    out = BytesIO()
    torch.save({"a": torch.ones(3)}, out)
    whole = 0
    for number in range(60):
        changed_one = checkpoint(random.Random(number), out.getvalue())
        with suppress(Exception), zipfile.ZipFile(BytesIO(changed_one)) as file:
            whole += file.testzip() is None
    assert whole > 40


@pytest.mark.parametrize("ending", [*BY_ENDING, ".bmp"])
@pytest.mark.parametrize("content", [b"", b"x", bytes(600), b"\x89PNG\r\n\x1a\n", b"{}"])
def test_a_mutator_takes_whatever_it_is_given(ending: str, content: bytes):
    for number in range(20):
        assert isinstance(mutate(random.Random(number), f"a{ending}", content), bytes)
    assert isinstance(png(random.Random(0), content), bytes)
    assert isinstance(tar(random.Random(0), content), bytes)


def test_the_table_and_the_smallest_inputs_are_written(tmp_path: Path, capsys):
    status = main(
        f"--inputs 40 --reader samples --reader metrics --jobs 1 --out {tmp_path / 'f.csv'} "
        f"--write-smallest {tmp_path / 'smallest'}".split()
    )
    assert status == 0
    with (tmp_path / "f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["reader"] for row in rows] == ["samples", "metrics"]
    assert [int(row["inputs"]) for row in rows] == [32, 8]
    for row in rows:
        assert sum(int(row[name]) for name in COLUMNS[1:]) == int(row["inputs"])
        assert all(row[name] == "0" for name in FAILURES)
    assert "40 inputs in" in capsys.readouterr().out


def test_shares_are_what_was_asked_for():
    readers = list(READERS.values())
    assert abs(sum(shares(readers, 200_000)) - 200_000) < len(readers)
    assert min(shares(readers, 1)) == 1
    assert as_csv({"a": Tried()}).decode().splitlines()[1] == "a" + ",0" * len(COLUMNS)
