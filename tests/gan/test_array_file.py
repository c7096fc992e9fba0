from pathlib import Path

import numpy as np
import pytest
import torch

from gan.array_file import read_arrays, write_arrays
from gan.errors import StateError
from gan.tensor_file import write_tensors

ARRAYS = {
    "images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4).transpose(2, 0, 1),
    "shares": np.array([0.25, np.nan]),
    "indices": np.zeros((0, 3), np.int64),
}


def test_they_come_back_by_name(tmp_path: Path):
    write_arrays(ARRAYS, tmp_path / "a.safetensors")
    found = read_arrays(tmp_path / "a.safetensors")
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
    write_arrays(dict(reversed(ARRAYS.items())), tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_none_at_all_come_back(tmp_path: Path):
    write_arrays({}, tmp_path / "a.safetensors")
    assert read_arrays(tmp_path / "a.safetensors") == {}


def test_what_cannot_be_read_is_refused(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(StateError, match="there is no such file"):
        read_arrays(path)
    path.write_bytes(b"x")
    with pytest.raises(StateError, match="damaged or foreign"):
        read_arrays(path)
    write_tensors(path, {"a": torch.zeros(1)}, kind="generator", version=1, description={})
    with pytest.raises(StateError, match="without the metadata key"):
        read_arrays(path)
