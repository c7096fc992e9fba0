"""The prepared form: one array file a split and a JSON manifest, and nothing else.

    train.npy, test.npy                images, uint8 [N, C, H, W]; points, fp32 [N, D]; symbols of
                                       images, uint8 [N, H, W], or of text, uint8 [N, L]
    train_labels.npy, test_labels.npy  int64 [N], only when the source has labels
    manifest.json                      what the arrays are, and checksums

The same source and configuration give the same bytes. `gan.data.writer` writes them; here is what
they mean and how they are read, which is all that later stages depend on.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from gan.errors import DataError
from gan.parsing import Section
from gan.pixels import Examples, Images, Points
from gan.symbols import Alphabet, DecodedImages, Symbols

Split = Literal["train", "test"]


class KindFormat(NamedTuple):
    """How the examples of a kind are stored."""

    dtype: str
    descriptor: str
    axes: str


FORMAT = 1
MANIFEST = "manifest.json"
SPLITS: tuple[Split, ...] = ("train", "test")
# Names of skipped examples that the manifest keeps; the count is always complete.
MAX_SKIPPED_NAMES = 100
# What an example may be: its dtype in the manifest and as the array's header spells it,
# little-endian on every machine, and the letters of its shape.
Kind = Literal["images", "points", "symbol_images", "text"]
KINDS: dict[Kind, KindFormat] = {
    "images": KindFormat("uint8", "|u1", "CHW"),
    "points": KindFormat("float32", "<f4", "D"),
    "symbol_images": KindFormat("uint8", "|u1", "HW"),
    "text": KindFormat("uint8", "|u1", "L"),
}
LABEL_DTYPE = "<i8"
HEADER_BYTES = 128


class ArrayFile(Section):
    """One array file of the folder."""

    file: str = Field(pattern=r"^[a-z_]+\.npy$")
    # Of the elements in C order: the file after its header, which N and the shape determine.
    sha256: str


class SplitManifest(Section):
    """One split: how many examples, and where."""

    count: int = Field(ge=0)
    array: ArrayFile
    labels: ArrayFile | None


class Skipped(Section):
    """Examples that could not be read and were left out."""

    count: int = Field(ge=0)
    names: list[str] = Field(description=f"the first {MAX_SKIPPED_NAMES}")


class Manifest(Section):
    """What a prepared folder holds. Equal data has equal manifests, wherever it came from."""

    format: Literal[1]
    source: str = Field(description="data.name, and which one of several")
    kind: Kind
    shape: list[int] = Field(
        description="of one example as it is stored: channels, height, width; dimensions; height, "
        "width of symbols; or length"
    )
    dtype: Literal["uint8", "float32"]
    alphabet: dict[str, Any] | None = Field(
        None, description="what symbols stand for, as `Alphabet.to_json`; only where there are any"
    )
    label_names: list[str] | None = Field(description="a label is an index into it")
    splits: dict[Split, SplitManifest]
    skipped: Skipped
    checksum: str = Field(description="SHA-256 over all of the above, array checksums included")

    @field_validator("alphabet")
    @classmethod
    def _alphabet_is_valid(cls, values: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if values is None else Alphabet.from_json(values).to_json()

    @model_validator(mode="after")
    def _alphabet_fits(self) -> Manifest:
        symbols = {"symbol_images": "colours", "text": "characters"}.get(self.kind)
        found = None if self.alphabet is None else next(iter(self.alphabet))
        if found != symbols:
            raise ValueError(f"{self.kind} have an alphabet of {found}: expected {symbols}")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_alphabet(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Images and points are described as they were before there were symbols, byte by byte, so
        # that their checksums, and whatever was computed from them, stay valid.
        content: dict[str, Any] = dump(self)
        if content.get("alphabet") is None:
            content.pop("alphabet", None)
        return content

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`."""
        content = self.model_dump(mode="json")
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


class Prepared:
    """An opened prepared folder. `open_prepared` makes it."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def alphabet(self) -> Alphabet | None:
        """What symbols stand for; None where examples are not made of symbols."""
        values = self.manifest.alphabet
        return None if values is None else Alphabet.from_json(values)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Of one example as networks see it: `(C, H, W)`, also of symbols, `(D,)` or `(L,)`."""
        alphabet, shape = self.alphabet, tuple(self.manifest.shape)
        return shape if alphabet is None or alphabet.is_text else (alphabet.channels, *shape)

    def examples(self, split: Split) -> Examples:
        """The examples of `split` as they are stored, whatever their kind, memory-mapped.

        The map is copy-on-write: what is written to it never reaches the file.
        """
        return _map(self.folder / self.manifest.splits[split].array.file)

    def images(self, split: Split) -> Images:
        """The examples of `split`, uint8 `[N, C, H, W]`, memory-mapped as `examples`.

        Symbols are given as a view, `gan.symbols.DecodedImages`, that decodes what is asked for
        and can be read like an array.

        Raises:
            DataError: they are not images.
        """
        self._check_kind("images", "symbol_images")
        examples = cast(Images, self.examples(split))
        alphabet = self.alphabet
        return examples if alphabet is None else cast(Images, DecodedImages(examples, alphabet))

    def symbols(self, split: Split) -> Symbols:
        """The symbols of `split`, uint8 `[N, H, W]` or `[N, L]`, memory-mapped as `examples`.

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

    def labels(self, split: Split) -> npt.NDArray[np.int64] | None:
        """The labels of `split`, int64 `[N]`, indices into `manifest.label_names`, or None."""
        labels = self.manifest.splits[split].labels
        return None if labels is None else _map(self.folder / labels.file)

    def _check_kind(self, *expected: Kind) -> None:
        if self.manifest.kind not in expected:
            raise DataError(
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
            with path.open("rb") as file:
                file.seek(HEADER_BYTES)
                while block := file.read(1 << 20):
                    digest.update(block)
            if digest.hexdigest() != array.sha256:
                raise DataError(
                    f"{path}: the content has the checksum {digest.hexdigest()}, but the manifest "
                    f"says {array.sha256}; run prepare again"
                )


def open_prepared(folder: str | os.PathLike[str]) -> Prepared:
    """Open a prepared folder, checking sizes and headers but not every byte.

    Raises:
        DataError: a file is missing, foreign, truncated, or disagrees with the manifest; names it.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    for split in SPLITS:
        part = manifest.splits[split]
        descriptor = KINDS[manifest.kind].descriptor
        _check_array(folder / part.array.file, descriptor, (part.count, *manifest.shape))
        if part.labels is not None:
            _check_array(folder / part.labels.file, LABEL_DTYPE, (part.count,))
    return Prepared(folder, manifest)


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The header of a `.npy` file, version 1.0.

    It is padded to a fixed length, so that N can be filled in when the examples are all written.
    """
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    room = HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", room) + f"{text:<{room - 1}}\n".encode()


def manifest_checksum(content: dict[str, Any]) -> str:
    """SHA-256 of a manifest's `content`, given as JSON values without the checksum itself."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{folder} holds no prepared data: {MANIFEST} is missing; run prepare"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        values = json.loads(text)
        found = values.get("format")
    except (ValueError, AttributeError):
        raise DataError(f"{path} is not the manifest of prepared data: expected JSON") from None
    if found != FORMAT:
        raise DataError(f"{path} has format {found!r}: expected {FORMAT}; run prepare again")
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ": ".join([str(path), *filter(None, [".".join(map(str, first["loc"]))])])
        raise DataError(f"{place}: {first['msg']}; run prepare again") from None
    if manifest.dtype != KINDS[manifest.kind].dtype:
        raise DataError(
            f"{path} has {manifest.kind} of dtype {manifest.dtype}: expected "
            f"{KINDS[manifest.kind].dtype}; run prepare again"
        )
    if set(manifest.splits) != set(SPLITS):
        raise DataError(f"{path} has the splits {sorted(manifest.splits)}: expected {SPLITS}")
    content = manifest.model_dump(mode="json", exclude={"checksum"})
    if manifest.checksum != manifest_checksum(content):
        raise DataError(f"{path} was changed after it was written; run prepare again")
    return manifest


def _check_array(path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    expected = HEADER_BYTES + math.prod(shape) * np.dtype(dtype).itemsize
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}; the manifest beside it expects it"
        ) from error
    if header != npy_header(dtype, shape):
        raise DataError(
            f"{path} is not the array of the manifest: expected {np.dtype(dtype)} {list(shape)}; "
            f"found {_describe_header(path)}"
        )
    if size != expected:
        raise DataError(f"{path} has {size} bytes: expected {expected}; run prepare again")


def _describe_header(path: Path) -> str:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return f"{array.dtype} {list(array.shape)}"
    except (ValueError, OSError, EOFError, AttributeError):
        return "no whole .npy file"


def _map(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; run prepare again") from error
    return array


def _array_files(manifest: Manifest) -> Iterator[ArrayFile]:
    for part in manifest.splits.values():
        yield part.array
        if part.labels is not None:
            yield part.labels
