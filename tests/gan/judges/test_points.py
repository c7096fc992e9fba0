import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from gan.config import DataConfig, JudgeConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError, StateError
from gan.judges import of_kind
from gan.judges.images import load_judge
from gan.judges.points import FORMAT_VERSION, KIND, load_toy_judge, save_toy_judge
from gan.preparation.prepare import prepare
from gan.tensor_file import write_tensors
from gan.toys import make_toy


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    config = DataConfig(name="toy", toy="ring", toy_points=5000)
    prepare(config, tmp_path / "prepared", progress=False)
    return open_prepared(tmp_path / "prepared")


def test_the_density_comes_back(prepared: Prepared, tmp_path: Path):
    report = asdict(save_toy_judge(prepared, tmp_path / "judge.safetensors"))
    toy, original = (
        load_toy_judge(tmp_path / "judge.safetensors", prepared.manifest.checksum),
        make_toy("ring"),
    )
    assert (toy.name, toy.deviation, toy.modes) == ("ring", original.deviation, True)
    assert torch.equal(toy.means, original.means)
    assert torch.equal(toy.groups, original.groups)
    json.dumps(report, allow_nan=False)
    assert (report["kind"], report["toy"], report["components"]) == ("density", "ring", 8)
    # Far apart, the modes' entropies are those of a Gaussian, plus log 8 for which one.
    entropy = -original.log_density(
        original.sample(200_000, torch.Generator().manual_seed(5))[0]
    ).mean()
    assert report["test_log_likelihood"] == pytest.approx(-entropy.item(), abs=0.15)
    assert report["expected_log_likelihood"] == pytest.approx(-entropy.item(), abs=0.05)


def test_the_same_bytes_and_checksum(prepared: Prepared, tmp_path: Path):
    one = save_toy_judge(prepared, tmp_path / "a.safetensors")
    two = save_toy_judge(prepared, tmp_path / "b.safetensors")
    assert one == two
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_judge_of_other_data_or_of_images_is_refused(prepared: Prepared, tmp_path: Path):
    path = tmp_path / "judge.safetensors"
    save_toy_judge(prepared, path)
    with pytest.raises(StateError, match=r"of points with the checksum .*run judge again"):
        load_toy_judge(path, "other")
    with pytest.raises(StateError, match="damaged or foreign, expected a judge of images"):
        load_judge(path)
    description = {"architecture": {"kind": "classifier"}, "data_checksum": "x"}
    write_tensors(
        path, {"a": torch.zeros(1)}, kind=KIND, version=FORMAT_VERSION, description=description
    )
    with pytest.raises(StateError, match="found the kind 'classifier', expected 'density'"):
        load_toy_judge(path, "x")
    with pytest.raises(StateError, match="no such file"):
        load_toy_judge(tmp_path / "none.safetensors", "x")


SOUND = {
    "architecture": {"kind": "density", "features": 2},
    "toy": "ring",
    "deviation": 0.5,
    "modes": True,
    "data_checksum": "x",
}


@pytest.mark.parametrize(
    ("description", "tensors", "message"),
    [
        ({"deviation": -1.0}, {}, "deviation is -1.0: expected 1e-06 to 1e\\+06"),
        ({"deviation": 1e-9}, {}, "deviation is 1e-09: expected 1e-06"),
        ({}, {"means": torch.full((3, 2), 1e300, dtype=torch.float64)}, "means are not within"),
        ({"deviation": "1"}, {}, "deviation is 1: expected 1e-06"),
        ({"deviation": True}, {}, "deviation is True: expected 1e-06"),
        ({"modes": 1}, {}, "toy is ring and modes 1: expected a name"),
        ({"toy": ["ring"]}, {}, "toy is .'ring'. and modes True"),
        ({}, {"means": torch.full((3, 2), math.nan).double()}, "means are not within"),
        ({}, {"means": torch.zeros(3, 2)}, "means is torch.float32 .3, 2.: expected torch.float64"),
        ({}, {"means": torch.zeros(3, 3).double()}, "D 1 to 2"),
        ({}, {"means": torch.zeros(0, 2).double(), "groups": torch.arange(0)}, "expected .K, D."),
        ({}, {"groups": torch.arange(2)}, r"groups \[2\]: expected \[K, D\] and \[K\]"),
        # As many names of groups as the largest number would need no end of memory.
        ({}, {"groups": torch.tensor([0, 1, 2**60])}, "groups are not 0 to 2"),
        ({}, {"groups": torch.tensor([0, 1, -1])}, "groups are not 0 to 2"),
        ({}, {"groups": torch.arange(3).float()}, "groups is torch.float32"),
    ],
)
def test_a_density_that_is_none_is_refused(
    tmp_path: Path, description: dict, tensors: dict, message: str
):
    path = tmp_path / "judge.safetensors"
    sound = {"means": torch.zeros(3, 2).double(), "groups": torch.arange(3)}
    write_tensors(path, sound, kind=KIND, version=FORMAT_VERSION, description=SOUND)
    assert load_toy_judge(path, "x").deviation == 0.5
    write_tensors(
        path,
        {**sound, **tensors},
        kind=KIND,
        version=FORMAT_VERSION,
        description={**SOUND, **description},
    )
    with pytest.raises(StateError, match=rf"judge.safetensors is damaged or foreign.*{message}"):
        load_toy_judge(path, "x")


def test_images_have_no_density(tmp_path: Path):
    prepare(DataConfig(size=8), tmp_path, progress=False)
    with pytest.raises(
        DataError, match="holds images of digits, which have no known density: expected points"
    ):
        save_toy_judge(open_prepared(tmp_path), tmp_path / "judge.safetensors")


def test_images_have_no_held_out_points(tmp_path: Path):
    prepare(DataConfig(), tmp_path, progress=False)
    with pytest.raises(DataError, match="images of digits: expected points of a table"):
        of_kind("points").make(
            open_prepared(tmp_path), JudgeConfig(), tmp_path / "judge", torch.device("cpu")
        )
    assert not (tmp_path / "judge").exists()
