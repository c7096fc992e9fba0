"""Labels of images that stand in files beside them rather than in folders' names.

a table           `data.labels`: CSV with a header, or CelebA's list_attr_celeba.txt
dataset.json      of StyleGAN: {"labels": [["00000/img00000000.png", 6], …]}
NAME.cls          of WebDataset, one an image: a whole number
"""

from __future__ import annotations

import csv
import io
import json
import logging
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan.errors import DataError, reading, shown
from gan.preparation.layout import Labels, printable

DATASET_JSON = "dataset.json"
CLASS_ENDING = ".cls"
# More are no classes but a number or a name an image.
MAX_CLASSES = 10_000
# Of a file with one whole number.
_MAX_CLASS_DIGITS = 18
_COLUMNS_SHOWN = 50

_log = logging.getLogger(__name__)


def is_label_file(table: str) -> Callable[[str], bool]:
    """Says of a file's name whether labels may stand in it; `table` is `data.labels`."""

    def aside(name: str) -> bool:
        return name == table or (
            not table and (name.endswith(CLASS_ENDING) or _base(name) == DATASET_JSON)
        )

    return aside


def labels_beside(
    path: Path, names: Sequence[str], aside: Mapping[str, bytes], table: str, column: str
) -> tuple[Labels | None, bool]:
    """Labels of all images, and whether anything but folders has told them.

    Args:
        path: `data.path`, for messages.
        names: of the images.
        aside: contents of the files that `is_label_file` says to be such, by name.
        table: `data.labels`.
        column: `data.label_column`.

    Raises:
        DataError: a file is damaged or missing, or tells nothing of an image.
    """
    if table:
        if table not in aside:
            raise DataError(f"data.labels {shown(table)} is no file in data.path {shown(path)}")
        return _from_table(path, names, table, aside[table], column), True
    stylegan = [name for name in aside if _base(name) == DATASET_JSON]
    if stylegan:
        name = min(stylegan, key=lambda each: each.count("/"))
        found = _from_dataset_json(path, names, name, aside[name])
        if found is not _NOT_OURS:
            return found, True
    if any(name.endswith(CLASS_ENDING) for name in aside):
        return _from_classes(path, names, aside), True
    return None, False


# What dataset.json of another program gives.
_NOT_OURS = Labels((), np.empty(0, np.int64))


def _from_dataset_json(
    path: Path, names: Sequence[str], name: str, content: bytes
) -> Labels | None:
    where = f"{path}/{name}"
    with reading(where, "dataset.json of StyleGAN"):
        values = json.loads(content)
    if not isinstance(values, dict) or "labels" not in values:
        _log.warning("%s has no `labels`, as that of StyleGAN has: passed over", shown(where))
        return _NOT_OURS
    rows = values["labels"]
    if not rows:
        return None  # images without labels, whatever their folders are called
    folder = posixpath.dirname(name)
    classes: dict[str, Any] = {}
    for row in rows if isinstance(rows, list) else [rows]:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise DataError(
                f"{shown(where)} has {shown(row)} among its labels: expected a name and a class"
            )
        classes[posixpath.join(folder, row[0].replace("\\", "/"))] = row[1]
    found = []
    for image in names:
        value = classes.get(image, _MISSING)
        if value is _MISSING:
            raise DataError(f"{shown(where)} has no label of {shown(image)}")
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(
                f"{shown(where)} has the label {shown(value)} of {shown(image)}: expected a whole "
                "number, the class"
            )
        found.append(value)
    return _indexed(where, found, str)


_MISSING = object()


def _from_classes(path: Path, names: Sequence[str], aside: Mapping[str, bytes]) -> Labels | None:
    found = []
    for image in names:
        name = _key(image) + CLASS_ENDING
        content = aside.get(name)
        if content is None:
            raise DataError(
                f"{shown(path)} has labels in files .cls, but none of {shown(image)}: expected "
                f"{shown(name)}"
            )
        text = content.strip()
        if not (text.removeprefix(b"-").isdigit() and len(text) <= _MAX_CLASS_DIGITS):
            found_text = shown(text[:200].decode(errors="backslashreplace")) or "nothing"
            raise DataError(
                f"{shown(name)} of {shown(path)} holds {found_text}: expected a whole number, the "
                "class"
            )
        found.append(int(text))
    return _indexed(str(path), found, str)


def _from_table(path: Path, names: Sequence[str], name: str, content: bytes, column: str) -> Labels:
    where = f"{path}/{name}"
    with reading(where, "a table in UTF-8"):
        header, rows = _read_table(where, content.decode("utf-8-sig"))
    by_name = _names_in_tables(names)
    files = _column_of_files(where, header, rows, by_name)
    label = _column_of_labels(where, header, files, column)
    found: dict[int, str] = {}
    missing = 0
    for number, row in enumerate(rows, 2):
        image = by_name.get(row[files].replace("\\", "/").removeprefix("./"))
        if image is None:
            missing += 1
        elif image == _AMBIGUOUS:
            raise DataError(
                f"{shown(where)} has the image {shown(row[files])}, of which there are several in "
                f"{shown(path)}: expected names with their folders"
            )
        elif found.setdefault(image, row[label]) != row[label]:
            raise DataError(
                f"{shown(where)}, row {number}: {shown(row[files])} is {shown(row[label])} here "
                f"and {shown(found[image])} above"
            )
    if len(found) < len(names):
        lost = next(name for place, name in enumerate(names) if place not in found)
        raise DataError(
            f"{shown(where)} has no row of {len(names) - len(found)} of {len(names)} images, "
            f"{shown(lost)} for example"
        )
    if missing:
        _log.warning("%s has %d rows of images that are not there", shown(where), missing)
    values = [found[place].strip() for place in range(len(names))]
    if "" in values:
        raise DataError(
            f"{shown(where)} has nothing in column {shown(header[label])} of "
            f"{shown(names[values.index('')])}: expected the label"
        )
    labels = _indexed(where, [_number_or_text(value) for value in values], printable)
    if labels is None:
        raise DataError(
            f"{shown(where)}, column {shown(header[label])}: it is {shown(values[0])} of every "
            "image, which says nothing"
        )
    return labels


def _read_table(where: str, text: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows, all of one length."""
    first, _, rest = text.partition("\n")
    if first.strip().isdigit():
        text, first = rest, rest.partition("\n")[0]  # CelebA's: how many there are
    separators = [each for each in (",", ";", "\t") if each in first]
    rows: Iterator[list[str]]
    if separators:
        most = max(separators, key=first.count)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=most, strict=True)
    else:
        rows = (line.split() for line in text.splitlines())
    table = [row for row in rows if row]
    if len(table) < 2:
        raise DataError(f"{shown(where)} has {len(table)} rows: expected a header and others")
    header = [each.strip() for each in table[0]]
    if len(table[1]) == len(header) + 1:
        header = ["", *header]  # CelebA's: the column of files has no name
    for number, row in enumerate(table[1:], 2):
        if len(row) != len(header):
            raise DataError(
                f"{shown(where)}, row {number} has {len(row)} columns: expected {len(header)}, as "
                "its header has"
            )
    return header, table[1:]


_AMBIGUOUS = -1


def _names_in_tables(names: Sequence[str]) -> dict[str, int]:
    """Places of images by all that a table may call them: with fewer folders, without ending."""
    found: dict[str, int] = {}
    for place, name in enumerate(names):
        rest = name
        while True:
            for each in (rest, posixpath.splitext(rest)[0]):
                if found.setdefault(each, place) != place:
                    found[each] = _AMBIGUOUS
            _, slash, rest = rest.partition("/")
            if not slash:
                break
    # A whole name is never ambiguous, though another's end may be the same.
    found.update((name, place) for place, name in enumerate(names))
    return found


def _column_of_files(
    where: str, header: Sequence[str], rows: Sequence[Sequence[str]], by_name: Mapping[str, int]
) -> int:
    for row in rows:
        for place, value in enumerate(row):
            if value.replace("\\", "/").removeprefix("./") in by_name:
                return place
    raise DataError(
        f"{shown(where)} names none of the images: its first row is {shown(', '.join(rows[0]))}, "
        f"expected a column with names such as {shown(next(iter(by_name)))}"
    )


def _column_of_labels(where: str, header: Sequence[str], files: int, column: str) -> int:
    others = [name for place, name in enumerate(header) if place != files]
    if column:
        if others.count(column) == 1:
            return next(i for i, name in enumerate(header) if name == column and i != files)
        problem = f"data.label_column {shown(column)} is none"
    elif len(others) == 1:
        return 1 - files
    else:
        problem = "data.label_column is empty"
    told = ", ".join(shown(name, 40) for name in others[:_COLUMNS_SHOWN])
    raise DataError(f"{problem}: {shown(where)} has the columns {told}; expected one of them")


def _number_or_text(value: str) -> int | str:
    digits = value.removeprefix("-")
    whole = digits.isascii() and digits.isdigit() and len(digits) <= _MAX_CLASS_DIGITS
    return int(value) if whole and str(int(value)) == value else value


def _indexed(where: str, values: Sequence[Any], name: Callable[[str], str]) -> Labels | None:
    """Labels of these values: numbers in their order, before texts; None if all are the same."""
    classes = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    if len(classes) == 1:
        return None
    if len(classes) > MAX_CLASSES:
        raise DataError(
            f"{shown(where)} has {len(classes)} different labels: expected at most {MAX_CLASSES}"
        )
    index = {value: place for place, value in enumerate(classes)}
    indices = np.fromiter((index[value] for value in values), np.int64, len(values))
    return Labels(tuple(name(str(value)) for value in classes), indices)


def _key(name: str) -> str:
    """A name up to the first dot of its last part, which is what WebDataset's files share."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _base(name: str) -> str:
    return name.rpartition("/")[2]
