from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gan.config import Config, parse
from gan.errors import ConfigError
from pipeline import preset
from pipeline.params import read_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def params(tmp_path: Path, committed_params: str) -> Path:
    file = tmp_path / "params.yaml"
    file.write_text(committed_params)
    return file


@pytest.mark.parametrize("name", preset.names())
def test_every_preset_is_valid_and_says_what_it_is(name: str, params: Path):
    content = preset.load(name)
    assert set(content) == {"about", "source", "params"}
    assert content["about"]
    assert content["source"]
    preset.apply(name, (), params)
    config = read_config(params)
    assert config.model_dump(exclude={"seed", "runtime"}) == preset.resolve(name)


def test_comments_order_and_notation_are_kept(params: Path):
    before = params.read_text()
    assert preset.apply("digits", ["train.steps=123"], params) == ["train.steps: " + steps(123)]
    after = params.read_text()
    assert len(before.splitlines()) == len(after.splitlines())
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert len(changed) == 1
    assert changed[0][1].startswith("  steps: 123 ")
    assert changed[0][1].endswith("# generator steps")
    assert "2e-4" in after


def steps(value: int) -> str:
    return f"{Config().train.steps} → {value}"


def test_a_preset_undoes_what_was_tried_before_but_keeps_seed_and_runtime(params: Path):
    values = YAML(typ="safe", pure=True).load(params.read_text())
    values["seed"] = 7
    values["runtime"]["device"] = "cpu"
    values["train"]["batch_size"] = 3
    with params.open("w") as file:
        YAML().dump(values, file)
    changed = preset.apply("digits", (), params)
    assert changed == [f"train.batch_size: 3 → {Config().train.batch_size}"]
    config = read_config(params)
    assert config.seed == 7
    assert config.runtime.device == "cpu"


def test_pairs_are_yaml_values(params: Path):
    preset.apply("digits", ["train.betas=[0.0, 0.9]", "data.path=/some/where"], params)
    config = read_config(params)
    assert config.train.betas == [0.0, 0.9]
    assert config.data.path == "/some/where"


@pytest.mark.parametrize(
    ("name", "pairs", "message"),
    [
        ("mnits", [], r"there is no preset 'mnits'; known: .*; did you mean mnist\?"),
        ("digits", ["train.steps"], "found 'train.steps', expected key=value"),
        ("digits", ["train.stpes=3"], r"train.stpes: unknown key; expected one of: steps"),
        ("digits", ["train.steps=many"], "train.steps: found 'many', expected a valid integer"),
        ("digits", ["a=[1"], "is not a YAML value"),
        ("digits", ["seed.x=1"], "seed"),
    ],
)
def test_what_is_not_valid_is_refused_and_the_file_unchanged(
    params: Path, name: str, pairs: list[str], message: str
):
    before = params.read_bytes()
    with pytest.raises(ConfigError, match=message):
        preset.apply(name, pairs, params)
    assert params.read_bytes() == before


def test_the_command_line(params: Path, monkeypatch, capsys):
    monkeypatch.chdir(params.parent)
    assert preset.main(["--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == preset.names()
    assert preset.main(["mnist", "data.path=/data/mnist"]) == 0
    out = capsys.readouterr().out
    assert "data.name: 'digits' → 'idx'" in out
    assert read_config().data.path == "/data/mnist"
    assert preset.main(["nothing"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no preset 'nothing'")


def test_the_default_preset_is_the_default():
    assert parse(Config, preset.resolve("digits"), "digits") == Config()
