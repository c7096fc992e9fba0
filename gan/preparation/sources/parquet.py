"""Image files in Parquet, as Hugging Face stores them: a column of `{bytes, path}`, and labels.

A file's name or folder says its split, `test-00000-of-00001.parquet` or `test/0000.parquet`. Names
of labels are those that the file's description has, or the values that occur.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

from gan.config import DataConfig
from gan.errors import DataError, reading, shown
from gan.files import open_plain
from gan.preparation.extras import need
from gan.preparation.listing import (
    MAX_FILE_BYTES,
    Content,
    Sorter,
    UnreadableError,
    Wanted,
    is_debris,
)
from gan.preparation.named_splits import choose, split_of
from gan.preparation.sources import Source
from gan.preparation.split import in_test
from gan.preparation.stream import Example, decoded, form_of

ROWS = 64
READ_BYTES = 1 << 20
# More than that are names of images, not of classes.
MAX_LABELS = 10_000

_EXPECTED = "a .parquet file of images, or a folder of such"
_IMAGE_NAMES = ("image", "img")
_WHOLE_NUMBER = re.compile(r"u?int(8|16|32|64)")
_STRING = r"((large_)?string|string_view)"
_TEXT = re.compile(rf"{_STRING}|dictionary<values={_STRING}, indices=u?int\d+, ordered=[01]>")
_LABEL_NAMES = ("label", "labels", "class", "cls", "fine_label")

_log = logging.getLogger(__name__)


class _Columns(NamedTuple):
    """Where images and labels are."""

    image: str
    label: str | None
    names: tuple[str, ...] | None  # of the labels, where the file says them
    label_kind: str | None  # what the labels are

    def __str__(self) -> str:
        label = "no label"
        if self.label is not None:
            label = f"{shown(self.label)} ({shown(self.label_kind)})"
        return f"{shown(self.image)} and {label}"


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The files at `config.path`, decoded by `workers` processes; the extra `parquet` reads them.

    Without a test split one is held out by a stable hash of file and row. Memory holds the images
    of a row group of a file at most.

    Raises:
        DataError: a file is missing, damaged, or without a column of images; names it. Images that
            cannot be read are failures in the batches.
        UserError: pyarrow is not installed.
    """
    parquet = need("pyarrow.parquet", "parquet", "data.name parquet")
    path = Path(config.path)
    sorter = Sorter(Wanted(frozenset({".parquet"})))
    files = _find(path, sorter)
    columns = _read_columns(parquet, path, files)
    names = columns.names
    if columns.label is not None and names is None:
        names = _read_values(parquet, [file for file, _ in files], columns.label)
    total = 0
    for file, _ in files:
        with reading(file, _EXPECTED), parquet.ParquetFile(file) as opened:
            total += opened.metadata.num_rows
    return Source(
        shape=(config.channels, config.size, config.size),
        label_names=names,
        total=total,
        batches=decoded(
            form_of(config),
            _examples(parquet, path, files, columns, names, config.test_fraction),
            workers if total > ROWS else 0,
            labelled=names is not None,
        ),
        passed_over=sorter.passed_over(),
    )


def _examples(
    parquet: Any,
    path: Path,
    files: list[tuple[Path, bool | None]],
    columns: _Columns,
    names: tuple[str, ...] | None,
    test_fraction: float,
) -> Generator[Example, None, None]:
    index = {name: place for place, name in enumerate(names or ())}
    wanted = [columns.image, *([] if columns.label is None else [columns.label])]
    for file, held_out in files:
        place = 0
        key = file.name if path == file else file.relative_to(path).as_posix()
        with reading(file, _EXPECTED), _opened(parquet, file) as opened:
            for rows in opened.iter_batches(ROWS, columns=wanted, use_threads=False):
                images = rows.column(columns.image).to_pylist()
                labels = (
                    [None] * len(images)
                    if columns.label is None
                    else rows.column(columns.label).to_pylist()
                )
                for image, label in zip(images, labels, strict=True):
                    name = f"{shown(key)} row {place}"
                    yield Example(
                        name,
                        _content(image),
                        -1 if names is None else _label(label, columns, index, name),
                        in_test(f"parquet/{key}/{place:05d}", test_fraction)
                        if held_out is None
                        else held_out,
                    )
                    place += 1


def _opened(parquet: Any, file: Path) -> Any:
    # Read piece by piece rather than a whole row group at once.
    return parquet.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False)


def _content(image: Any) -> Content:
    content = image.get("bytes") if isinstance(image, dict) else image
    if content is None:
        where = image.get("path") if isinstance(image, dict) else None
        reason = f"names the file {shown(where)}, but does not hold it" if where else "has no image"
        return UnreadableError(reason)
    if len(content) > MAX_FILE_BYTES:
        return UnreadableError(
            f"has {len(content)} bytes, more than the {MAX_FILE_BYTES} that are read"
        )
    return bytes(content)


def _label(label: Any, columns: _Columns, index: dict[str, int], name: str) -> int:
    if columns.names is not None:
        if isinstance(label, int) and 0 <= label < len(columns.names):
            return label
    elif str(label) in index:
        return index[str(label)]
    raise DataError(
        f"{shown(name)} has the {shown(columns.label)} {shown(label)}: expected "
        + (f"0 to {len(columns.names) - 1}" if columns.names is not None else "a label")
    )


def _find(path: Path, sorter: Sorter) -> list[tuple[Path, bool | None]]:
    """The files in order, and whether their images are held out; None where names do not say.

    What is not read is counted by `sorter`: other files by their endings, and those of a split that
    is left out under its name.
    """
    if not path.exists():
        raise DataError(f"data.path {shown(path)} does not exist: expected {_EXPECTED}")
    if not path.is_dir():
        _check_plain(path)
        return [(path, None)]
    found: list[tuple[str, Path]] = []
    with reading(path, _EXPECTED):
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path).as_posix()
            if file.is_dir() or any(map(is_debris, name.split("/"))):
                continue
            if sorter.is_listed(name):
                _check_plain(file)
                found.append((name, file))
            else:
                sorter.pass_over(name)
    found.sort()
    if not found:
        raise DataError(f"data.path {shown(path)} holds no .parquet files: expected {_EXPECTED}")
    splits = {name: _split(name) for name, _ in found}
    try:
        chosen = choose(set(splits.values()))
    except ValueError as error:
        raise DataError(
            f"data.path {shown(path)} has files whose splits do not go together: {error}; found "
            f"{shown(', '.join(splits))}"
        ) from None
    if chosen.left_out:
        left = [name for name, split in splits.items() if split in chosen.left_out]
        _log.warning("%s: left out %s", shown(path), shown(", ".join(left)))
        for name in left:
            sorter.pass_over(name, f"{splits[name]}/")
    return [
        (file, None if chosen.test is None else splits[name] == chosen.test)
        for name, file in found
        if splits[name] in (chosen.train, chosen.test)
    ]


def _check_plain(file: Path) -> None:
    with reading(file, _EXPECTED):
        open_plain(file).close()  # others may never end


def _split(name: str) -> str | None:
    """The split of a file; its own name first, then the folders from the inside."""
    return next(filter(None, map(split_of, reversed(name.split("/")))), None)


def _read_columns(parquet: Any, path: Path, files: list[tuple[Path, bool | None]]) -> _Columns:
    """Where images and labels are, the same in all files."""
    found: _Columns | None = None
    for file, _ in files:
        with reading(file, _EXPECTED), parquet.ParquetFile(file) as opened:
            columns = _choose_columns(file, opened.schema_arrow)
        if found is not None and columns != found:
            raise DataError(
                f"{shown(file)} has other columns than {shown(files[0][0])}: expected {found}, "
                f"found {columns}" + (", with other names" if str(columns) == str(found) else "")
            )
        if found is None and columns.label is None:
            _log.warning("%s: no column of labels was found", shown(path))
        found = columns
    assert found is not None
    return found


def _choose_columns(file: Path, schema: Any) -> _Columns:
    types = {field.name: field.type for field in schema}
    features = _features(schema)
    images = [name for name, kind in types.items() if _holds_images(name, kind)]
    preferred = [name for name in images if name in _IMAGE_NAMES] if len(images) > 1 else images
    if len(preferred) != 1:
        what = "several columns of images" if images else "no column of images"
        raise DataError(
            f"{shown(file)} has {what}, of the columns {shown(', '.join(types))}: expected one of "
            "{bytes, path}, or of bytes, called image"
        )
    said = {
        name: tuple(str(each) for each in feature["names"])
        for name, feature in features.items()
        if name in types and feature.get("_type") == "ClassLabel" and feature.get("names")
    }
    labels = [name for name in _LABEL_NAMES if name in types and _is_label(types[name])]
    label = next(iter([*labels, *said]), None)
    if label is None:
        return _Columns(preferred[0], None, None, None)
    return _Columns(preferred[0], label, said.get(label), _label_kind(types[label]))


def _features(schema: Any) -> dict[str, Any]:
    """What Hugging Face's description says of columns, by name."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = described.get("info", {}).get("features") or {}
    return {name: each for name, each in features.items() if isinstance(each, dict)}


def _holds_images(name: str, kind: Any) -> bool:
    text = str(kind)
    if text.startswith("struct<"):
        return any(
            kind.field(at).name == "bytes" and "binary" in str(kind.field(at).type)
            for at in range(kind.num_fields)
        )
    return text in ("binary", "large_binary", "binary_view") and name in _IMAGE_NAMES


def _is_label(kind: Any) -> bool:
    return _label_kind(kind) in ("whole numbers", "text")


def _label_kind(kind: Any) -> str:
    """Of a column of this type, what its values are as labels; else the type itself."""
    if _WHOLE_NUMBER.fullmatch(str(kind)):
        return "whole numbers"
    return "text" if _TEXT.fullmatch(str(kind)) else str(kind)


def _read_values(parquet: Any, files: list[Path], column: str) -> tuple[str, ...]:
    """The labels that occur, in order: of numbers where they are numbers."""
    values: set[Any] = set()
    for file in files:
        with reading(file, _EXPECTED), _opened(parquet, file) as opened:
            for rows in opened.iter_batches(4096, columns=[column], use_threads=False):
                values.update(rows.column(column).to_pylist())
                if None in values:
                    raise DataError(
                        f"{shown(file)} has rows without a {shown(column)}: expected one each"
                    )
                if len(values) > MAX_LABELS:
                    raise DataError(
                        f"{shown(file)} has more than {MAX_LABELS} different values of "
                        f"{shown(column)}: expected classes of images, not a name for each"
                    )
    return tuple(str(value) for value in sorted(values))
