import json
import math
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gan.array_file import read_arrays
from gan.errors import StateError
from gan.tensor_file import check_weights, metadata_key, read_tensors, write_tensors


def write(path: Path, description: str, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    save_file(tensors or {"x": torch.zeros(2)}, path, metadata={metadata_key("thing"): description})
    return path


def read(path: Path) -> object:
    return read_tensors(path, kind="thing", version=1, device="cpu")


def test_description_and_tensors_come_back(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}
    write_tensors(path, tensors, kind="thing", version=1, description={"name": "é", "n": [1, 2]})
    description, found = read_tensors(path, kind="thing", version=1, device="cpu")
    assert description == {"version": 1, "name": "é", "n": [1, 2]}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("[" * 3000 + "]" * 3000, "it is nested more than 100 deep"),
        ('{"version": 1, "a": ' + "[" * 3000 + "]" * 3000 + "}", "it is nested more than 100 deep"),
        ("9" * 5000, "ValueError: Exceeds the limit"),
        ('{"version": 1, "a": NaN}', "NaN is no number of JSON"),
        ("[1]", "its description is list, no object"),
        ("{}", "KeyError: 'version'"),
        ('{"version": "1\\u001b[2J"}', r"its format version is 1\\x1b\[2J, expected 1"),
        ("not json", "JSONDecodeError"),
    ],
)
def test_a_description_that_is_none_is_refused(tmp_path: Path, description: str, message: str):
    path = write(tmp_path / "a.safetensors", description)
    with pytest.raises(StateError, match=rf"a.safetensors is .*{message}"):
        read(path)


@pytest.mark.parametrize(
    "header",
    [
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [2**63], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**60]}},
        {"x": {"dtype": "Z9", "shape": [2], "data_offsets": [0, 8]}},
        {"x": 3},
        [],
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, header: object):
    if isinstance(header, dict):
        header["__metadata__"] = {metadata_key("thing"): '{"version": 1}'}
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(StateError, match=r"a.safetensors is damaged or foreign"):
        read(path)


def test_what_numpy_does_not_have_is_no_array(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    write_tensors(
        path, {"x": torch.zeros(2, dtype=torch.bfloat16)}, kind="arrays", version=1, description={}
    )
    with pytest.raises(StateError, match=r"a.safetensors is damaged or foreign.*BFloat16"):
        read_arrays(path)


def test_a_name_that_no_file_system_has_is_refused(tmp_path: Path):
    with pytest.raises(StateError, match=r"cannot read .*: File name too long"):
        read(tmp_path / ("n" * 300))


STATE = {
    "w": torch.ones(2, 3),
    "norm.running_var": torch.ones(3),
    "norm.num_batches_tracked": torch.tensor(4),
}


def check(**found: torch.Tensor) -> None:
    check_weights(Path("a.safetensors"), "thing", STATE, {**STATE, **found})


def test_weights_that_fit_pass():
    check()
    half = {name: each.half() for name, each in STATE.items() if each.is_floating_point()}
    check(**half)
    check_weights(Path("a"), "thing", {n: e.to("meta") for n, e in STATE.items()}, STATE)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"w": torch.full((2, 3), math.nan)}, "w holds NaN or infinity, expected finite numbers"),
        ({"w": torch.tensor([[1, 2, -math.inf], [1, 2, 3]])}, "w holds NaN or infinity"),
        ({"norm.running_var": torch.tensor([1, -1e-9, 1])}, "holds a variance below zero"),
        ({"w": torch.ones(3, 2)}, r"w has shape \[3, 2\], expected \[2, 3\]"),
        ({"w": torch.ones(2, 3, dtype=torch.float64)}, "w has dtype torch.float64, expected one"),
        ({"w": torch.ones(2, 3, dtype=torch.complex64)}, "w has dtype torch.complex64"),
        ({"w": torch.ones(2, 3).to(torch.float8_e5m2)}, "w has dtype torch.float8_e5m2"),
        ({"norm.num_batches_tracked": torch.tensor(4.0)}, "float32, expected torch.int64"),
        ({"\x1b[2J": torch.ones(1)}, r"\\x1b\[2J is not part of the model"),
    ],
)
def test_weights_that_do_not_are_refused_by_name(found: dict[str, torch.Tensor], message: str):
    with pytest.raises(StateError, match=rf"a.safetensors is not a thing .*{message}"):
        check(**found)


def test_not_all_of_many_problems_are_listed():
    with pytest.raises(StateError) as caught:
        check(**{f"more-{number:03d}": torch.ones(1) for number in range(500)})
    assert str(caught.value).count("is not part of the model") == 5
