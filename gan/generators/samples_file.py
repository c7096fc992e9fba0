"""Samples in a folder: one array, and what its rows are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, cast, get_args

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gan.errors import DataError, reading, shown
from gan.files import atomic_write, write_json
from gan.json_file import read_json
from gan.npy_file import map_array
from gan.pixels import Kind
from gan.symbols import Alphabet, symbol_dtype

# Little-endian on every machine. Texts of more than 256 characters are uint16.
DTYPES: dict[Kind, str] = {"images": "|u1", "points": "<f4", "text": "|u1", "labels": "<f4"}
# What is read: dtypes, and dimensions, that of the samples included.
FORMS: dict[Kind, tuple[tuple[str, ...], int]] = {
    "images": (("|u1",), 4),
    "points": (("<f4",), 2),
    "text": (("|u1", "<u2"), 2),
    "labels": (("<f4",), 2),
}
ARRAY, ABOUT = "samples.npy", "samples.json"
BLOCK_ROWS = 1 << 16  # samples that are checked at once


class SampleFile(NamedTuple):
    """Samples that were read.

    Attributes:
        kind: what they are.
        array: images, uint8 `[N, C, H, W]`, points, fp32 `[N, D]`, symbols of texts, uint8 or
            uint16 `[N, L]`, or probabilities of labels, fp32 `[N, V]`; memory-mapped.
    """

    kind: Kind
    array: npt.NDArray[np.generic]


def write_samples(
    folder: str | os.PathLike[str],
    kind: Kind,
    shape: tuple[int, ...],
    batches: Iterable[npt.NDArray[np.generic]],
    *,
    alphabet: Alphabet | None = None,
    progress: bool = True,
) -> None:
    """Write `batches`, as they come, to the array of `folder`, whole or not at all.

    Args:
        folder: made if it is missing.
        kind: what they are.
        shape: of all of them together.
        batches: of as many rows in all as `shape` says.
        alphabet: of texts; None: one that a byte tells apart.
        progress: show a bar on stderr.

    Raises:
        ValueError: there are other rows than `shape` says; nothing is written.
    """
    folder = Path(folder)
    with (
        atomic_write(folder / ARRAY) as file,
        tqdm(total=shape[0], unit="sample", desc="sample", disable=not progress) as bar,
    ):
        dtype = np.dtype(DTYPES[kind])
        if kind == "text" and alphabet is not None:
            dtype = symbol_dtype(alphabet.size)
        # Through the file, where a full disk is an error: through a map it would be a signal.
        header = {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, header)
        filled = 0
        for batch in batches:
            if batch.shape[1:] != tuple(shape[1:]):
                raise ValueError(f"a batch is {list(batch.shape)} of samples {list(shape)}")
            file.write(np.ascontiguousarray(batch, dtype).data)
            filled += len(batch)
            bar.update(len(batch))
        if filled != shape[0]:
            raise ValueError(f"there are {filled} samples: expected {shape[0]}")
    write_json(folder / ABOUT, {"kind": kind})


def read_samples(folder: str | os.PathLike[str]) -> SampleFile:
    """What `write_samples` wrote.

    Raises:
        DataError: a file is missing, damaged or foreign, or numbers are not finite; names it.
    """
    folder = Path(folder)
    about = folder / ABOUT
    with reading(folder, "a folder of samples"):
        missing = [name for name in (ABOUT, ARRAY) if not (folder / name).exists()]
    if missing:
        raise DataError(f"{shown(folder)} holds no samples: {missing[0]} is missing; run sample")
    values = read_json(about, "what `sample` wrote of its samples; run sample")
    found = values.get("kind") if isinstance(values, dict) else None
    if found not in get_args(Kind):
        raise DataError(
            f"{shown(about)} says kind {shown(repr(found))}: expected one of "
            f"{', '.join(get_args(Kind))}; run sample again"
        )
    kind = cast(Kind, found)
    expected = f"samples of {kind}; run sample"
    dtypes, ndim = FORMS[kind]
    array = map_array(folder / ARRAY, expected, dtypes=dtypes, ndim=ndim)
    if array.dtype.kind == "f":
        _check_finite(folder / ARRAY, array)
    return SampleFile(kind, array)


def _check_finite(path: Path, array: npt.NDArray[np.generic]) -> None:
    with reading(path, "samples that can be read"):
        for start in range(0, len(array), BLOCK_ROWS):
            finite = np.isfinite(array[start : start + BLOCK_ROWS].astype(np.float32, copy=False))
            if not finite.all():
                row = start + int(np.argmin(finite.all(1)))
                raise DataError(
                    f"{shown(path)} holds NaN or infinity, first in sample {row}: expected finite "
                    "numbers; run train and sample again"
                )
