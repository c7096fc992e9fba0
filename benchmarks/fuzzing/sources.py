"""Readers of what people bring: archives, folders of images, IDX, text."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.fuzzing.inputs import Reader, WrongError
from gan.config import DataConfig
from gan.data.manifest import STORED
from gan.preparation.sources import open_source

_FORMATS = {
    **{".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"},
    **{".gif": "GIF", ".tif": "TIFF"},
}


def _images() -> Iterator[tuple[str, bytes]]:
    """Some small images of two labels, one of every format."""
    rng = np.random.default_rng(0)
    for index, (ending, name) in enumerate(_FORMATS.items()):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(out, name)
        yield f"{'ab'[index % 2]}/{index}{ending}", out.getvalue()


def _folder(folder: Path) -> None:
    for name, content in _images():
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "set" / name).write_bytes(content)


def _listed(folder: Path) -> None:
    """Labels as StyleGAN has them."""
    _folder(folder)
    labels = [[name, "ab".index(name[0])] for name, _ in _images()]
    (folder / "set" / "dataset.json").write_text(json.dumps({"labels": labels}))


def _zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _images():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _shard() -> Iterator[tuple[str, bytes]]:
    """The same as WebDataset has them."""
    for name, content in _images():
        label, _, last = name.partition("/")
        yield last, content
        yield f"{last.partition('.')[0]}.cls", str("ab".index(label)).encode()


def _tar(
    name: str, mode: str, members: Callable[[], Iterator[tuple[str, bytes]]] = _images
) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with tarfile.open(folder / name, mode) as archive:  # type: ignore[call-overload]
            for member, content in members():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    return make


def _idx(packed: bool, folder: Path) -> None:
    (folder / "set").mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("t10k", 3)):
        images = rng.integers(0, 256, (count, 8, 8), np.uint8)
        header = b"".join(each.to_bytes(4, "big") for each in (0x0803, count, 8, 8))
        labels = b"".join(each.to_bytes(4, "big") for each in (0x0801, count))
        for name, content in (
            (f"{split}-images-idx3-ubyte", header + images.tobytes()),
            (f"{split}-labels-idx1-ubyte", labels + bytes(each % 3 for each in range(count))),
        ):
            packed_name = f"{name}.gz" if packed else name
            content = gzip.compress(content, mtime=0) if packed else content
            (folder / "set" / packed_name).write_bytes(content)


_TEXT = "".join(f"Zeile {index}: größer, naïve, 日本\n" for index in range(60)).encode()


def _text(folder: Path) -> None:
    (folder / "set").write_bytes(_TEXT)


def _packed_text(folder: Path) -> None:
    (folder / "set").write_bytes(gzip.compress(_TEXT, mtime=0))


def _texts(folder: Path) -> None:
    (folder / "set").mkdir()
    (folder / "set" / "a.txt").write_bytes(_TEXT)
    (folder / "set" / "b.txt.gz").write_bytes(gzip.compress(_TEXT, mtime=0))


def read_source(name: str, place: str) -> Callable[[Path], None]:
    """What reads all of the source `name` that lies at `place` in a folder."""

    def read(folder: Path) -> None:
        config = DataConfig.model_validate({"name": name, "path": str(folder / place), "size": 8})
        source = open_source(config)
        dtype = STORED[source.kind].dtype
        for batch in source.batches:
            if batch.examples.dtype != dtype or batch.examples.shape[1:] != source.shape:
                raise WrongError(f"examples are {batch.examples.dtype} {batch.examples.shape}")
            if batch.labels is not None and batch.labels.size:
                lowest, highest = batch.labels.min(), batch.labels.max()
                if lowest < 0 or highest >= len(source.label_names or ()):
                    raise WrongError(f"labels are {lowest} to {highest}")

    return read


def _packed_idx(folder: Path) -> None:
    _idx(True, folder)


def _plain_idx(folder: Path) -> None:
    _idx(False, folder)


READERS = (
    Reader("images", (_folder, _folder, _listed), read_source("images", "set"), 2.0),
    Reader("zip", (_zip,), read_source("images", "set.zip"), 2.0),
    Reader(
        "tar",
        (_tar("set.tar", "w"), _tar("set.tar", "w", _shard)),
        read_source("images", "set.tar"),
        2.0,
    ),
    Reader("tar.gz", (_tar("set.tar.gz", "w:gz"),), read_source("images", "set.tar.gz")),
    Reader("idx", (_plain_idx,), read_source("idx", "set")),
    Reader("idx, gzip", (_packed_idx,), read_source("idx", "set"), 0.5),
    Reader("text", (_text, _texts), read_source("text", "set")),
    Reader("text, gzip", (_packed_text,), read_source("text", "set"), 0.5),
)
