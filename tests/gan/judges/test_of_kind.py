from pathlib import Path

import pytest
import torch

from gan.config import DataConfig, JudgeConfig
from gan.data import Prepared, open_prepared
from gan.errors import StateError
from gan.judges import of_kind
from gan.judges.images import Judge
from gan.judges.text import TextJudge
from gan.preparation.prepare import prepare
from gan.toys import Toy

CPU = torch.device("cpu")
CONFIG = JudgeConfig(width=4, features=8, images_seen=512)
DATA = {
    "images": (DataConfig(size=8), Judge),
    "points": (DataConfig(name="toy", toy="ring", toy_points=200), Toy),
    "text": (DataConfig(name="topics", length=16), TextJudge),
    "labels": (DataConfig(size=8), Judge),
}


def prepared(kind: str, folder: Path, **changes: object) -> Prepared:
    prepare(DATA[kind][0].model_copy(update=changes), folder, progress=False)
    return open_prepared(folder)


@pytest.mark.parametrize("kind", DATA)
def test_a_judge_is_made_and_comes_back(kind, tmp_path: Path):
    data, path = prepared(kind, tmp_path / "data"), tmp_path / "judge.safetensors"
    metrics = of_kind(kind).make(data, CONFIG, path, CPU)
    judge = of_kind(kind).load(path, data, CPU)
    assert isinstance(judge, DATA[kind][1])
    if isinstance(judge, Toy):
        assert judge.name == metrics["toy"] == "ring"
    else:
        assert judge.checksum == metrics["checksum"]


@pytest.mark.parametrize("kind", ["points", "text"])
def test_a_judge_of_other_data_is_not_loaded(kind, tmp_path: Path):
    path = tmp_path / "judge.safetensors"
    of_kind(kind).make(prepared(kind, tmp_path / "data"), CONFIG, path, CPU)
    other = prepared(kind, tmp_path / "other", test_fraction=0.3)
    with pytest.raises(StateError, match="run judge again"):
        of_kind(kind).load(path, other, CPU)
