"""Writing the prepared form, example by example and whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from gan.data.manifest import (
    FORMAT,
    HEADER_BYTES,
    LABEL_DTYPE,
    MANIFEST,
    MAX_SKIPPED_NAMES,
    SPLITS,
    Column,
    Manifest,
    Split,
    StoredKind,
    WithoutSymbol,
    manifest_checksum,
    npy_header,
    stored_dtype,
)
from gan.errors import UserError
from gan.files import atomic_write
from gan.pixels import Examples
from gan.symbols import Alphabet


class PreparedWriter:
    """Writes a prepared folder example by example; memory does not grow with their number.

        with PreparedWriter("data/prepared", source="digits", shape=(1, 8, 8)) as writer:
            writer.append("train", images)
        writer.manifest()

    Everything stands under temporary names until the block ends without error. On any error, an
    interrupt or a full disk for example, they are removed and what the folder held is untouched.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        source: str,
        shape: Sequence[int],
        label_names: Iterable[str] | None = None,
        kind: StoredKind = "images",
        alphabet: Alphabet | None = None,
        toy: str | None = None,
        without_symbol: WithoutSymbol | None = None,
        passed_over: Mapping[str, int] | None = None,
        columns: Sequence[Column] | None = None,
    ) -> None:
        """Prepare to write.

        Args:
            folder: made if it is missing. Files of other names in it are left alone.
            source: `data.name`, for the manifest.
            shape: of one example, `[C, H, W]` of an image, `[D]` of a point; of symbols `[H, W]`,
                or `[L]` of text.
            label_names: what the labels stand for; None when there are none.
            kind: what the examples are.
            alphabet: what symbols stand for, where examples are made of symbols.
            toy: name of the density of points.
            without_symbol: of text, how much of it has no symbol; None: all has.
            passed_over: what was there and is no example, as the manifest has it.
            columns: of points of no known density, one a coordinate.
        """
        self._folder = Path(folder)
        self._source = source
        self._kind = kind
        self._alphabet = alphabet
        self._toy = toy
        self._without_symbol = without_symbol
        self._dtype, self._descriptor = stored_dtype(
            kind, None if alphabet is None else alphabet.size
        )
        self._passed_over = dict(passed_over or {})
        self._columns = columns
        self._shape = tuple(int(length) for length in shape)
        self._label_names = None if label_names is None else list(label_names)
        self._arrays: dict[Split, _ArrayStream] = {}
        self._labels: dict[Split, _ArrayStream] = {}
        self._skipped = 0
        self._skipped_names: list[str] = []
        self._manifest: Manifest | None = None
        self._context = self._written()

    def __enter__(self) -> PreparedWriter:
        self._context.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._context.__exit__(kind, error, trace)

    def manifest(self) -> Manifest:
        """What was written; there once the block has ended.

        Raises:
            RuntimeError: it has not.
        """
        if self._manifest is None:
            raise RuntimeError("the manifest is complete only after the writer's block has ended")
        return self._manifest

    def count(self, split: Split) -> int:
        """Examples appended to `split` so far."""
        return self._arrays[split].count

    def append(
        self,
        split: Split,
        examples: Examples,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Add `examples` and their `labels` (int64 `[B]`) to `split`.

        Args:
            split: which one.
            examples: images, uint8 `[B, C, H, W]`, points, fp32 `[B, D]`, or symbols `[B, H, W]`
                or `[B, L]`, of the dtype that `gan.symbols.symbol_dtype` has for the alphabet.
            labels: given exactly when the writer has `label_names`.

        Raises:
            ValueError: a shape, dtype, symbol or label does not fit what the writer was made for.
            UserError: the operating system refused to write; names the file.
        """
        dtype = self._dtype
        if examples.dtype != dtype or examples.shape[1:] != self._shape:
            raise ValueError(
                f"{self._kind} are {examples.dtype} {list(examples.shape)}: expected {dtype} "
                f"{['B', *self._shape]}"
            )
        if self._alphabet is not None and examples.size and examples.max() >= self._alphabet.size:
            raise ValueError(
                f"symbols go up to {examples.max()}: expected less than {self._alphabet.size}, "
                "the size of the alphabet"
            )
        if (labels is None) != (self._label_names is None):
            raise ValueError("labels must be given exactly when the writer has label_names")
        if labels is not None and self._label_names is not None:
            if labels.dtype != np.int64 or labels.shape != examples.shape[:1]:
                raise ValueError(
                    f"labels are {labels.dtype} {list(labels.shape)}: expected int64 "
                    f"{[len(examples)]}"
                )
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(self._label_names):
                raise ValueError(
                    f"labels go from {labels.min()} to {labels.max()}: expected an index into "
                    f"{len(self._label_names)} names"
                )
            self._labels[split].append(labels)
        self._arrays[split].append(examples)

    def skip(self, name: str) -> None:
        """Note that the example `name` was left out."""
        self._skipped += 1
        if len(self._skipped_names) < MAX_SKIPPED_NAMES:
            self._skipped_names.append(name)

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        manifest_path = self._folder / MANIFEST
        _remove_leftovers(self._folder)
        with contextlib.ExitStack() as stack:
            # Files take their places in the reverse of this order: the manifest last of all.
            manifest_file = stack.enter_context(atomic_write(manifest_path))
            for split in SPLITS:
                self._arrays[split] = self._open(
                    stack, f"{split}.npy", self._descriptor, self._shape
                )
                if self._label_names is not None:
                    self._labels[split] = self._open(stack, f"{split}_labels.npy", LABEL_DTYPE, ())
            yield
            # Whatever needs disk space happens before the first file takes its place.
            for stream in (*self._arrays.values(), *self._labels.values()):
                stream.finish()
            manifest = self._describe()
            try:
                manifest_file.write(manifest.to_json())
                _to_disk(manifest_file)
            except OSError as error:
                raise _write_error(manifest_path, error) from error
            # From here to the end there is no manifest, so that arrays of two runs can never be
            # taken for one.
            manifest_path.unlink(missing_ok=True)
            if self._label_names is None:
                for split in SPLITS:
                    (self._folder / f"{split}_labels.npy").unlink(missing_ok=True)
        self._manifest = manifest

    def _open(
        self, stack: contextlib.ExitStack, name: str, dtype: str, shape: tuple[int, ...]
    ) -> _ArrayStream:
        path = self._folder / name
        return _ArrayStream(path, stack.enter_context(atomic_write(path)), dtype, shape)

    def _describe(self) -> Manifest:
        content: dict[str, Any] = {
            "format": FORMAT,
            "source": self._source,
            "kind": self._kind,
            **({} if self._toy is None else {"toy": self._toy}),
            **(
                {}
                if self._columns is None
                else {"columns": [column.model_dump() for column in self._columns]}
            ),
            "shape": list(self._shape),
            "dtype": self._dtype,
            **({} if self._alphabet is None else {"alphabet": self._alphabet.to_json()}),
            **(
                {}
                if self._without_symbol is None
                else {"without_symbol": self._without_symbol.model_dump()}
            ),
            "label_names": self._label_names,
            "splits": {
                split: {
                    "count": self._arrays[split].count,
                    "array": self._arrays[split].describe(),
                    "labels": self._labels[split].describe() if split in self._labels else None,
                }
                for split in SPLITS
            },
            **({"passed_over": self._passed_over} if self._passed_over else {}),
            "skipped": {"count": self._skipped, "names": self._skipped_names},
        }
        return Manifest.model_validate({**content, "checksum": manifest_checksum(content)})


class _ArrayStream:
    """A `.npy` file that grows; hashed while it is written."""

    def __init__(self, path: Path, file: IO[bytes], dtype: str, shape: tuple[int, ...]) -> None:
        self.count = 0
        self._path = path
        self._file = file
        self._dtype = dtype
        self._shape = shape
        self._digest = hashlib.sha256()
        self._write(bytes(HEADER_BYTES))

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add `values` along the first axis."""
        content = np.ascontiguousarray(values, dtype=self._dtype).reshape(-1).view(np.uint8).data
        self._digest.update(content)
        self._write(content)
        self.count += len(values)

    def finish(self) -> None:
        """Write the header, now that the count is known, and bring everything to the disk."""
        try:
            self._file.seek(0)
            self._file.write(npy_header(self._dtype, (self.count, *self._shape)))
            _to_disk(self._file)
        except OSError as error:
            raise _write_error(self._path, error) from error

    def describe(self) -> dict[str, str]:
        """As `ArrayFile`."""
        return {"file": self._path.name, "sha256": self._digest.hexdigest()}

    def _write(self, content: bytes | memoryview) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise _write_error(self._path, error) from error


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed writer left, which would otherwise become part of the folder."""
    names = [MANIFEST, *(f"{split}{suffix}.npy" for split in SPLITS for suffix in ("", "_labels"))]
    for name in names:
        for path in folder.glob(f".{name}.*.tmp"):
            path.unlink(missing_ok=True)


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write_error(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {path}: {error.strerror or error}; what was there before is unchanged"
    )
