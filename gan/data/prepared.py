"""An opened folder of prepared data; `gan.data.manifest` says what is in it.

This and `gan.data.manifest` are all that later stages depend on.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from gan.data.manifest import (
    HEADER_BYTES,
    LABEL_DTYPE,
    SPLITS,
    STORED,
    ArrayFile,
    Manifest,
    Split,
    StoredKind,
    npy_header,
    read_manifest,
)
from gan.errors import DataError, reading, shown
from gan.files import open_plain
from gan.npy_file import describe, map_array
from gan.pixels import Examples, Images, Kind, Labels, Points
from gan.symbols import Characters, ClassNames, Colours, DecodedImages, Symbols, alphabet_from_json


class Prepared:
    """An opened prepared folder. `open_prepared` makes it."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def kind(self) -> Kind:
        """What the examples are; images of symbols are images."""
        return STORED[self.manifest.kind].kind

    @property
    def alphabet(self) -> Colours | Characters | None:
        """What symbols stand for; None where examples are not made of symbols."""
        values = self.manifest.alphabet
        if values is None:
            return None
        alphabet = alphabet_from_json(values)
        assert not isinstance(alphabet, ClassNames)  # the manifest has been checked
        return alphabet

    @property
    def characters(self) -> Characters | None:
        """The alphabet of texts; None where examples are something else."""
        alphabet = self.alphabet
        return alphabet if isinstance(alphabet, Characters) else None

    def text_alphabet(self) -> Characters:
        """The alphabet of texts.

        Raises:
            DataError: they are not texts.
        """
        alphabet = self.alphabet
        if not isinstance(alphabet, Characters):
            raise self._other_than("text")
        return alphabet

    @property
    def label_names(self) -> list[str]:
        """What a label is an index into; empty where there are no labels."""
        return self.manifest.label_names or []

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Of one example as networks see it: `(C, H, W)`, also of symbols, `(D,)` or `(L,)`."""
        alphabet, shape = self.alphabet, tuple(self.manifest.shape)
        return shape if alphabet is None else alphabet.example_shape(shape)

    def examples(self, split: Split) -> Examples:
        """The examples of `split` as they are stored, whatever their kind, memory-mapped.

        The map is copy-on-write: what is written to it never reaches the file.
        """
        dtype = np.dtype(self.manifest.dtype).newbyteorder("<").str
        path = self.folder / self.manifest.splits[split].array.file
        return _map(path, dtype, 1 + len(self.manifest.shape))

    def images(self, split: Split) -> Images:
        """The examples of `split`, uint8 `[N, C, H, W]`, memory-mapped as `examples`.

        Symbols are given as a view, `gan.symbols.DecodedImages`, that decodes what is asked for
        and can be read like an array.

        Raises:
            DataError: they are not images.
        """
        self._check_kind("images", "symbol_images")
        examples = cast(Images, self.examples(split))
        colours = self.alphabet
        return (
            cast(Images, DecodedImages(examples, colours))
            if isinstance(colours, Colours)
            else examples
        )

    def symbols(self, split: Split) -> Symbols:
        """The symbols of `split`, `[N, H, W]` or `[N, L]`, memory-mapped as `examples`.

        uint8, or uint16 where there are more than 256: as `gan.symbols.symbol_dtype` has it.

        Raises:
            DataError: examples are not made of symbols.
        """
        self._check_kind("symbol_images", "text")
        return cast(Symbols, self.examples(split))

    def points(self, split: Split) -> Points:
        """The examples of `split`, fp32 `[N, D]`, memory-mapped as `examples`.

        Raises:
            DataError: they are not points.
        """
        self._check_kind("points")
        return cast(Points, self.examples(split))

    def labels(self, split: Split) -> Labels | None:
        """The labels of `split`, int64 `[N]`, indices into `manifest.label_names`, or None."""
        labels = self.manifest.splits[split].labels
        return None if labels is None else _map(self.folder / labels.file, LABEL_DTYPE, 1)

    def _check_kind(self, *expected: StoredKind) -> None:
        if self.manifest.kind not in expected:
            raise self._other_than(*expected)

    def _other_than(self, *expected: StoredKind) -> DataError:
        return DataError(
            f"{self.folder} holds {self.manifest.kind}: expected {' or '.join(expected)}"
        )

    def verify(self) -> None:
        """Read every byte and compare it with the checksums, which `open_prepared` does not.

        Raises:
            DataError: a file is not what was written; names it.
        """
        for array in _array_files(self.manifest):
            path = self.folder / array.file
            digest = hashlib.sha256()
            with reading(path, "an array"), open_plain(path) as file:
                file.seek(HEADER_BYTES)
                while block := file.read(1 << 20):
                    digest.update(block)
            if digest.hexdigest() != array.sha256:
                raise DataError(
                    f"{shown(path)}: the content has the checksum {digest.hexdigest()}, but the "
                    f"manifest says {shown(array.sha256)}; run prepare again"
                )


def open_prepared(folder: str | os.PathLike[str]) -> Prepared:
    """Open a prepared folder, checking sizes and headers but not every byte.

    Raises:
        DataError: a file is missing, foreign, truncated, or disagrees with the manifest; names it.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for split in SPLITS:
        part = manifest.splits[split]
        _, descriptor = manifest.stored
        _check_array(folder / part.array.file, descriptor, (part.count, *manifest.shape))
        if part.labels is not None:
            _check_array(folder / part.labels.file, LABEL_DTYPE, (part.count,))
    return Prepared(folder, manifest)


def _check_array(path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    expected = HEADER_BYTES + math.prod(shape) * np.dtype(dtype).itemsize
    with reading(path, "an array; the manifest beside it expects it"):
        with open_plain(path) as file:
            header = file.read(HEADER_BYTES)
            size = file.seek(0, os.SEEK_END)
        if header != npy_header(dtype, shape):
            raise DataError(
                f"{shown(path)} is not the array of the manifest: expected {np.dtype(dtype)} "
                f"{list(shape)}; found {describe(path)}"
            )
        if size != expected:
            raise DataError(
                f"{shown(path)} has {size} bytes: expected {expected}; run prepare again"
            )


def _map(path: Path, dtype: str, ndim: int) -> npt.NDArray[Any]:
    return map_array(path, "an array; run prepare again", dtypes=[dtype], ndim=ndim)


def _array_files(manifest: Manifest) -> Iterator[ArrayFile]:
    for part in manifest.splits.values():
        yield part.array
        if part.labels is not None:
            yield part.labels
