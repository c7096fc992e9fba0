import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gan.errors import DataError
from gan.generators.samples_file import ABOUT, ARRAY, read_samples, write_samples
from gan.symbols import Characters

RNG = np.random.default_rng(0)
SAMPLES = {
    "images": RNG.integers(0, 256, (7, 1, 4, 4), np.uint8),
    "points": RNG.normal(size=(7, 2)).astype(np.float32),
    "text": RNG.integers(0, 9, (7, 5), np.uint8),
    "labels": RNG.dirichlet([1, 1, 1], 7).astype(np.float32),
}


def write(folder: Path, kind: str = "points") -> np.ndarray:
    samples = SAMPLES[kind]
    write_samples(folder, kind, samples.shape, np.split(samples, [3, 6]))
    return samples


@pytest.mark.parametrize("kind", SAMPLES)
def test_they_come_back_memory_mapped(tmp_path: Path, kind: str):
    samples = write(tmp_path / "new" / "folder", kind)
    found = read_samples(tmp_path / "new" / "folder")
    assert found.kind == kind
    assert isinstance(found.array, np.memmap)
    assert found.array.dtype == samples.dtype
    np.testing.assert_array_equal(found.array, samples)


def test_the_same_samples_are_the_same_bytes_in_whatever_batches(tmp_path: Path):
    samples = write(tmp_path / "a")
    write_samples(tmp_path / "b", "points", samples.shape, [samples.astype(np.float64)])
    for name in (ARRAY, ABOUT):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_samples_that_stop_half_way_leave_the_older_ones(tmp_path: Path):
    samples = write(tmp_path)

    def broken():
        yield samples[:2] + 1
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_samples(tmp_path, "points", samples.shape, broken())
    np.testing.assert_array_equal(read_samples(tmp_path).array, samples)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ARRAY, ABOUT])


def test_too_few_samples_are_not_filled_up(tmp_path: Path):
    samples = write(tmp_path)
    with pytest.raises(ValueError, match="there are 7 samples: expected 9"):
        write_samples(tmp_path, "points", (9, 2), [samples])
    np.testing.assert_array_equal(read_samples(tmp_path).array, samples)


def test_a_batch_of_another_shape_is_not_taken(tmp_path: Path):
    samples = write(tmp_path)
    with pytest.raises(ValueError, match=r"a batch is \[2, 3\] of samples \[9, 2\]"):
        write_samples(tmp_path, "points", (9, 2), [np.zeros((2, 3), np.float32)])
    np.testing.assert_array_equal(read_samples(tmp_path).array, samples)


def test_a_full_disk_is_an_error_and_leaves_the_older_samples(tmp_path: Path):
    """A limit on a file's size stands for it: what is written through a map would be a signal."""
    program = (
        "import resource, signal, sys, numpy as np\n"
        "from gan.errors import UserError\n"
        "from gan.generators.samples_file import write_samples\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    batch = np.zeros((1000, 2), np.float32)\n"
        "    write_samples(sys.argv[1], 'points', batch.shape, [batch], progress=False)\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    samples = write(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"cannot write {tmp_path / ARRAY}: File too large")
    np.testing.assert_array_equal(read_samples(tmp_path).array, samples)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ARRAY, ABOUT])


@pytest.mark.parametrize("missing", [ARRAY, ABOUT])
def test_a_missing_file_is_named(tmp_path: Path, missing: str):
    write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=rf"holds no samples: {missing} is missing; run sample"):
        read_samples(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "9" * 5000, "NaN", "\xff"])
def test_a_damaged_description_is_refused(tmp_path: Path, content: str):
    write(tmp_path)
    (tmp_path / ABOUT).write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=r"samples.json is damaged or foreign.*; run sample: "):
        read_samples(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", "7"])
def test_a_description_without_a_kind_is_refused(tmp_path: Path, content: str):
    write(tmp_path)
    (tmp_path / ABOUT).write_text(content)
    with pytest.raises(DataError, match=r"samples.json says kind None: .*; run sample again"):
        read_samples(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, value: float):
    samples = SAMPLES["points"].copy()
    samples[5, 1] = value
    write_samples(tmp_path, "points", samples.shape, [samples])
    with pytest.raises(DataError, match=r"samples.npy holds NaN or infinity, first in sample 5"):
        read_samples(tmp_path)


def test_samples_of_another_kind_are_refused(tmp_path: Path):
    write(tmp_path)
    (tmp_path / ABOUT).write_text('{"kind": "images"}')
    with pytest.raises(DataError, match=r"holds float32 \[7, 2\], not uint8 in 4 dimensions"):
        read_samples(tmp_path)


@pytest.mark.parametrize("kind", ['"sounds"', "null", "[]"])
def test_an_unknown_kind_is_refused(tmp_path: Path, kind: str):
    write(tmp_path)
    (tmp_path / ABOUT).write_text(f'{{"kind": {kind}}}')
    expected = "says kind .*: expected one of images, points, text, labels"
    with pytest.raises(DataError, match=expected):
        read_samples(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "foreign", "short"])
def test_a_damaged_array_is_refused(tmp_path: Path, damage: str):
    write(tmp_path)
    content = (tmp_path / ARRAY).read_bytes()
    damaged = {"empty": b"", "foreign": b"no array at all", "short": content[:-8]}
    (tmp_path / ARRAY).write_bytes(damaged[damage])
    with pytest.raises(DataError, match=r"samples.npy is damaged or foreign.*; run sample: "):
        read_samples(tmp_path)


def test_texts_of_many_characters_take_two_bytes_a_symbol(tmp_path: Path):
    alphabet = Characters(tuple(map(chr, range(0x4E00, 0x4E00 + 300))))
    samples = RNG.integers(0, 300, (7, 5)).astype("<u2")
    write_samples(tmp_path, "text", samples.shape, np.split(samples, [3]), alphabet=alphabet)
    found = read_samples(tmp_path)
    assert found.array.dtype.str == "<u2"
    np.testing.assert_array_equal(found.array, samples)
    few = Characters(("a", "b"))
    write_samples(tmp_path, "text", (7, 5), [samples % 2], alphabet=few)
    assert read_samples(tmp_path).array.dtype.str == "|u1"
