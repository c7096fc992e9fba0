"""The format of prepared data: one array file a split and a JSON manifest, and nothing else.

    train.npy, test.npy                images, uint8 [N, C, H, W]; points, fp32 [N, D]; symbols of
                                       images, uint8 [N, H, W], or of text, [N, L], uint8 or, of
                                       more than 256, uint16
    train_labels.npy, test_labels.npy  int64 [N], only when the source has labels
    manifest.json                      what the arrays are, and checksums

The same source and configuration give the same bytes. `gan.preparation.writer` writes them, and
`gan.data.prepared` reads them.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from gan.config.parsing import Section
from gan.errors import DataError, reading, shown
from gan.json_file import read_json
from gan.pixels import Kind
from gan.symbols import Characters, Colours, alphabet_from_json, symbol_dtype

Split = Literal["train", "test"]


class StoredFormat(NamedTuple):
    """How examples are stored.

    Attributes:
        dtype: in the manifest; of symbols that a byte can tell apart, see `stored_dtype`.
        descriptor: the same as the array's header spells it, little-endian on every machine.
        axes: letters of the shape of one.
        kind: what they are once symbols are decoded.
        alphabet: of the symbols, by the name it has in the manifest; None where there are none.
        noun: what one is called in messages, and its unit beside a bar.
    """

    dtype: str
    descriptor: str
    axes: str
    kind: Kind
    alphabet: str | None
    noun: str
    unit: str


FORMAT = 1
MANIFEST = "manifest.json"
SPLITS: tuple[Split, ...] = ("train", "test")
# Names of skipped examples that the manifest keeps; the count is always complete.
MAX_SKIPPED_NAMES = 100
StoredKind = Literal["images", "points", "symbol_images", "text"]
STORED: dict[StoredKind, StoredFormat] = {
    "images": StoredFormat("uint8", "|u1", "CHW", "images", None, "image", "img"),
    "points": StoredFormat("float32", "<f4", "D", "points", None, "point", "pt"),
    "symbol_images": StoredFormat("uint8", "|u1", "HW", "images", Colours.noun, "image", "img"),
    "text": StoredFormat("uint8", "|u1", "L", "text", Characters.noun, "text", "text"),
}
LABEL_DTYPE = "<i8"
HEADER_BYTES = 128
# Of an example in any dimension, and of how many there are.
MOST_SIDE, MOST_EXAMPLES = 1 << 31, 1 << 48


class ArrayFile(Section):
    """One array file of the folder."""

    file: str = Field(pattern=r"^[a-z_]+\.npy$")
    # Of the elements in C order: the file after its header, which N and the shape determine.
    sha256: str


class SplitManifest(Section):
    """One split: how many examples, and where."""

    count: int = Field(ge=0, le=MOST_EXAMPLES)
    array: ArrayFile
    labels: ArrayFile | None


class Skipped(Section):
    """Examples that could not be read and were left out."""

    count: int = Field(ge=0)
    names: list[str] = Field(description=f"the first {MAX_SKIPPED_NAMES}")


class WithoutSymbol(Section):
    """Characters of a text that the alphabet has no symbol for, and U+FFFD stands for."""

    count: int = Field(ge=1)
    characters: int = Field(ge=1, description="of the text in all")
    share: float = Field(ge=0, le=1, description="of these; rounded")


class Column(Section):
    """A coordinate of points of a table, and what takes it back to its own units."""

    name: str
    mean: float = Field(allow_inf_nan=False, description="over the training split")
    deviation: float = Field(gt=0, allow_inf_nan=False)


class Manifest(Section):
    """What a prepared folder holds. Equal data has equal manifests, wherever it came from."""

    format: Literal[1]
    source: str = Field(description="data.name")
    kind: StoredKind
    toy: str | None = Field(
        None, description="name of the density that points were drawn from; only of points"
    )
    columns: list[Column] | None = Field(
        None, description="of points of no known density: what their standardised coordinates are"
    )
    shape: list[int] = Field(
        description="of one example as it is stored: channels, height, width; dimensions; height, "
        "width of symbols; or length"
    )
    dtype: Literal["uint8", "uint16", "float32"]
    alphabet: dict[str, Any] | None = Field(
        None,
        description="what symbols stand for, as `gan.symbols` has it; only where there are any",
    )
    without_symbol: WithoutSymbol | None = Field(
        None, description="only of text, and only where some characters have none"
    )
    label_names: list[str] | None = Field(description="a label is an index into it")
    splits: dict[Split, SplitManifest]
    passed_over: dict[str, Annotated[int, Field(ge=1)]] | None = Field(
        None,
        description="files of the source that are no examples, by their endings, and examples of "
        "folders that are left out; only where there are any",
    )
    skipped: Skipped
    checksum: str = Field(description="SHA-256 over all of the above, array checksums included")

    @field_validator("alphabet")
    @classmethod
    def _alphabet_is_valid(cls, values: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if values is None else alphabet_from_json(values).to_json()

    @model_validator(mode="after")
    def _kind_is_explained(self) -> Manifest:
        expected = STORED[self.kind].alphabet
        found = None if self.alphabet is None else next(iter(self.alphabet))
        if found != expected:
            raise ValueError(f"{self.kind} have an alphabet of {found}: expected {expected}")
        of_points = [key for key in ("toy", "columns") if getattr(self, key) is not None]
        if len(of_points) != (self.kind == "points"):
            raise ValueError(
                f"{self.kind} with {' and '.join(of_points) or 'neither toy nor columns'}: points "
                "have one of the two, and nothing else has any"
            )
        if self.columns is not None and self.shape != [len(self.columns)]:
            raise ValueError(f"{len(self.columns)} columns of points of the shape {self.shape}")
        return self

    @model_validator(mode="after")
    def _shape_is_of_the_kind(self) -> Manifest:
        axes = STORED[self.kind].axes
        if len(self.shape) != len(axes) or not all(1 <= side < MOST_SIDE for side in self.shape):
            raise ValueError(
                f"{self.kind} are {shown(self.shape)}: expected {', '.join(axes)}, each at least 1"
            )
        return self

    @model_validator(mode="after")
    def _labels_are_named(self) -> Manifest:
        for split, part in self.splits.items():
            if (part.labels is None) != (self.label_names is None):
                raise ValueError(f"labels of {split} and label_names: expected both or neither")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Images are described as they were before there were symbols and toys, byte by byte, so
        # that their checksums, and whatever was computed from them, stay valid.
        content: dict[str, Any] = dump(self)
        for key in ("alphabet", "toy", "columns", "without_symbol", "passed_over"):
            if content.get(key) is None:
                content.pop(key, None)
        return content

    @property
    def stored(self) -> tuple[str, str]:
        """The dtype of the arrays, and how their headers spell it; see `stored_dtype`."""
        alphabet = None if self.alphabet is None else alphabet_from_json(self.alphabet)
        return stored_dtype(self.kind, None if alphabet is None else alphabet.size)

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`."""
        content = self.model_dump(mode="json")
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def stored_dtype(kind: StoredKind, symbols: int | None) -> tuple[str, str]:
    """The dtype of examples of `kind`, and the same as the array's header spells it.

    Args:
        kind: what they are.
        symbols: size of their alphabet; None where they have none.
    """
    if symbols is None:
        return STORED[kind].dtype, STORED[kind].descriptor
    dtype = symbol_dtype(symbols)
    return dtype.name, dtype.str


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


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the prepared `folder`.

    Raises:
        DataError: it is missing, foreign, of another format, or was changed; names it.
    """
    path = folder / MANIFEST
    expected = "the manifest of prepared data"
    with reading(path, f"{expected}; run prepare again"):
        if not path.exists():
            raise DataError(
                f"{shown(folder)} holds no prepared data: {MANIFEST} is missing; run prepare"
            )
        values = read_json(path, expected)
        if not isinstance(values, dict):
            raise TypeError(f"it holds {type(values).__name__}, no object")
        return _checked(path, values)


def _checked(path: Path, values: dict[str, Any]) -> Manifest:
    found = values.get("format")
    if found != FORMAT:
        raise DataError(
            f"{shown(path)} has format {shown(repr(found))}: expected {FORMAT}; run prepare again"
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ": ".join([shown(path), *filter(None, [shown(".".join(map(str, first["loc"])))])])
        raise DataError(f"{place}: {first['msg']}; run prepare again") from None
    expected, _ = manifest.stored
    if manifest.dtype != expected:
        raise DataError(
            f"{shown(path)} has {manifest.kind} of dtype {manifest.dtype}: expected {expected}; "
            "run prepare again"
        )
    if set(manifest.splits) != set(SPLITS):
        raise DataError(
            f"{shown(path)} has the splits {sorted(manifest.splits)}: expected {SPLITS}"
        )
    content = manifest.model_dump(mode="json", exclude={"checksum"})
    if manifest.checksum != manifest_checksum(content):
        raise DataError(f"{shown(path)} was changed after it was written; run prepare again")
    return manifest
