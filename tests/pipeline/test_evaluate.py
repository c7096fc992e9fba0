from pathlib import Path
from types import SimpleNamespace

import pytest

from gan.config import Config
from gan.errors import DataError
from pipeline import evaluate, paths


@pytest.mark.parametrize("kind", ["images", "points"])
@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY\x01\x00", b"no array"])
def test_samples_that_are_no_array_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, kind: str
):
    manifest = SimpleNamespace(kind=kind, checksum="")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        evaluate, "open_prepared", lambda folder: SimpleNamespace(manifest=manifest)
    )
    monkeypatch.setattr(evaluate, "load_judge", lambda path, device: None)
    monkeypatch.setattr(evaluate, "load_toy_judge", lambda path, checksum: None)
    if content is not None:
        paths.SAMPLES.mkdir(parents=True)
        (paths.SAMPLES / "samples.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"samples.npy cannot be read"):
        evaluate.main(Config())
