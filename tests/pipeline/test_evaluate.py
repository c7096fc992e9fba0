import json
from pathlib import Path

import numpy as np
import pytest

from gan.config import Config
from gan.errors import DataError
from gan.preparation.prepare import prepare
from pipeline import evaluate, paths


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY\x01\x00", b"no array"])
def test_samples_that_are_no_array_are_named(workspace: Path, content: bytes | None):
    prepare(Config().data, paths.PREPARED, workers=0)
    if content is not None:
        paths.SAMPLES.mkdir(parents=True)
        (paths.SAMPLES / "samples.json").write_text(json.dumps({"kind": "images"}))
        (paths.SAMPLES / "samples.npy").write_bytes(content)
    message = "holds no samples: samples.json" if content is None else "samples.npy is damaged or"
    with pytest.raises(DataError, match=rf"results/samples.*{message}.*; run sample"):
        evaluate.main(Config())


def test_samples_of_no_known_kind_are_named(workspace: Path):
    prepare(Config().data, paths.PREPARED, workers=0)
    paths.SAMPLES.mkdir(parents=True)
    (paths.SAMPLES / "samples.json").write_text(json.dumps({"kind": "sounds"}))
    np.save(paths.SAMPLES / "samples.npy", np.zeros((3, 1, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"samples.json says kind 'sounds': expected one of images"):
        evaluate.main(Config())
