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
    assert set(content) - {"points"} == {"about", "source", "params"}
    for line in (content["about"], content["source"]):
        assert line
        assert "\n" not in line
    preset.apply([name], (), params)
    config = read_config(params)
    assert config.model_dump(exclude={"seed", "runtime"}) == preset.resolve([name])


def test_the_presets_that_the_readme_speaks_of_are_there():
    assert set(preset.names()) == {
        "minimax", "non-saturating", "lsgan", "lsgan-pearson", "fgan-kl", "fgan-reverse-kl",
        "fgan-pearson", "fgan-hellinger", "fgan-jensen-shannon", "fgan-gan",
        "fgan-total-variation", "wgan", "wgan-gp", "hinge-sn", "bgan", "relativistic-r1r2", "r1",
        "toy-normal", "toy-ring", "toy-grid", "dcgan64", "mnist", "digits",
        "fashion-mnist", "cifar10",
        "bgan-binary", "bgan-reinforce", "wgan-relaxed", "wgan-gp-relaxed", "gumbel",
        "bgan-levels", "bgan-palette", "bgan-text", "adversarial-classifier",
    }  # fmt: skip


def test_the_game_decides_what_is_played_the_data_all_else_and_points_come_last():
    rate = ("train", "generator_learning_rate")

    def value(names: list[str], *key: str) -> object:
        found = preset.resolve(names)
        for part in key:
            found = found[part]
        return found

    assert value(["wgan-gp"], *rate) == 1e-4
    assert value(["wgan-gp", "toy-ring"], *rate) == 1e-3
    assert preset.resolve(["toy-ring", "wgan-gp"]) == preset.resolve(["wgan-gp", "toy-ring"])
    assert value(["hinge-sn", "toy-ring"], "objective", "d_steps") == 5
    strength = ("objective", "penalties", "gradient_penalty")
    assert value(["wgan-gp"], *strength) == value(["wgan-gp", "mnist"], *strength) == 10.0
    assert value(["wgan-gp", "toy-ring"], *strength) == 0.02
    given = preset.resolve(["wgan-gp"], ["data.name=toy", "model.name=mlp"])
    assert given["objective"]["penalties"]["gradient_penalty"] == 0.02
    table = preset.resolve(["wgan-gp", "toy-ring"], ["data.name=table", "data.path=a.csv"])
    assert table["objective"]["penalties"]["gradient_penalty"] == 0.02
    assert value(["lsgan", "dcgan64"], "objective", "discriminator") == "least_squares"


@pytest.mark.parametrize(
    "game", ["bgan-binary", "bgan-reinforce", "wgan-relaxed", "wgan-gp-relaxed", "gumbel"]
)
def test_games_of_symbols_can_be_chosen_for_any_symbols(game: str):
    assert preset.is_data_free(game)
    assert not preset.is_game(game)  # of data that are numbers
    assert preset.resolve([game])["data"]["levels"] == 2
    objective = preset.resolve([game])["objective"]
    for data in ("digits", "mnist", "bgan-levels", "bgan-palette", "bgan-text"):
        both = preset.resolve([game, data])
        for key in ("discriminator", "generator", "d_steps", "weight_clip"):
            assert both["objective"][key] == objective[key]
        estimator = both["objective"]["discrete"]["estimator"]
        assert estimator == objective["discrete"]["estimator"]
        alone = preset.resolve([data])["data"]
        if alone["palette"] or alone["levels"] or alone["name"] == "topics":
            assert both["data"] == alone
        else:
            assert both["data"] == {**alone, "levels": 2}


def test_one_estimator_inherits_nothing_of_another():
    assert preset.resolve(["bgan-text"])["objective"]["discrete"]["samples"] == 10
    together = preset.resolve(["gumbel", "bgan-text"])["objective"]["discrete"]
    assert together == preset.resolve(["gumbel"])["objective"]["discrete"]
    assert together["samples"] == Config().objective.discrete.samples
    said = [str(each) for each in preset.overridden(["gumbel", "bgan-text"])]
    assert "objective.discrete.samples: gumbel's 20 replaces bgan-text's 10" in said


def test_games_of_symbols_are_refused_on_points():
    with pytest.raises(ConfigError, match=r"data\.levels is 2, but data\.name toy has no images"):
        preset.resolve(["bgan-binary", "toy-ring"])


def test_data_of_symbols_are_refused_to_games_of_numbers():
    with pytest.raises(ConfigError, match=r"objective\.generator wasserstein needs a gradient"):
        preset.resolve(["wgan", "bgan-text"])


def test_a_file_of_ones_own_can_be_given_to_the_texts():
    values = preset.resolve(["bgan-text"], ["data.name=text", "data.path=/some/book.txt"])
    assert values["data"]["path"] == "/some/book.txt"
    assert values["model"]["name"] == "text"


def test_what_gives_way_is_said(params: Path, monkeypatch, capsys):
    said = [str(each) for each in preset.overridden(["wgan-gp", "toy-ring"])]
    assert said == [
        "train.generator_learning_rate: toy-ring's 0.001 replaces wgan-gp's 0.0001",
        "train.discriminator_learning_rate: toy-ring's 0.001 replaces wgan-gp's 0.0001",
        "train.betas: toy-ring's [0.0, 0.99] replaces wgan-gp's [0.0, 0.9]",
    ]
    assert preset.overridden(["wgan-gp"]) == preset.overridden(["lsgan", "digits"]) == []
    monkeypatch.chdir(params.parent)
    pair = "train.generator_learning_rate=3e-4"
    assert preset.main(["wgan-gp", "toy-ring", pair]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes == [f"note: {line}" for line in said[1:]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["wgan", "lsgan"], "wgan and lsgan, which all say what is played: expected one"),
        (["toy-ring", "r1", "mnist"], "toy-ring and mnist, which all say what it is played on"),
        (["r1", "dcgan64"], "penalties.r1 is 1.0, .*discriminator_norm batch mixes"),
        (["dcgan64", "wgan-gp"], "gradient_penalty is 10.0, .*discriminator_norm batch mixes"),
    ],
)
def test_presets_that_contradict_each_other_are_refused(names: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        preset.resolve(names)


def test_comments_order_and_notation_are_kept(params: Path):
    before = params.read_text()
    assert preset.apply(["digits"], ["train.steps=123"], params) == ["train.steps: " + steps(123)]
    after = params.read_text()
    assert len(before.splitlines()) == len(after.splitlines())
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert len(changed) == 1
    assert changed[0][1].startswith("  steps: 123 ")
    assert changed[0][1].endswith("then g_steps of the generator")
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
    changed = preset.apply(["digits"], (), params)
    assert changed == [f"train.batch_size: 3 → {Config().train.batch_size}"]
    config = read_config(params)
    assert config.seed == 7
    assert config.runtime.device == "cpu"


def test_pairs_are_yaml_values(params: Path):
    preset.apply(["digits"], ["train.betas=[0.0, 0.9]", "data.path=/some/where"], params)
    config = read_config(params)
    assert config.train.betas == [0.0, 0.9]
    assert config.data.path == "/some/where"


@pytest.mark.parametrize(
    "path",
    ["/data/set #2", "/a: b", "null", "1e3", "yes", "[a", "'quoted'", "{x}", "a\nb", " /x ", "é‖"],
)
def test_paths_are_text_and_come_back_as_they_were_given(params: Path, path: str):
    preset.apply(["digits"], [f"data.path={path}"], params)
    assert read_config(params).data.path == path
    assert preset.apply(["digits"], [f"data.path={path}"], params) == []


def test_a_tilde_is_the_home_folder(params: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    preset.apply(["digits"], ["data.path=~/pictures"], params)
    assert read_config(params).data.path == f"{tmp_path}/home/pictures"
    preset.apply(["digits"], ["data.path=./~x"], params)
    assert read_config(params).data.path == "./~x"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: \xff\n", r"params.yaml is not UTF-8: byte 0xff in line 1"),
        (b"- 1\n", r"params.yaml: expected a mapping of sections"),
        (b"data: [1\n", r"params.yaml is not valid YAML: line 2"),
    ],
)
def test_a_file_that_is_none_is_refused_and_unchanged(params: Path, content: bytes, message: str):
    params.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        preset.apply(["digits"], (), params)
    assert params.read_bytes() == content


@pytest.mark.parametrize(
    ("name", "pairs", "message"),
    [
        ("mnits", [], r"there is no preset 'mnits'; known: .*; did you mean mnist\?"),
        ("digits", ["train.steps"], "found 'train.steps', expected key=value"),
        ("digits", ["train.stpes=3"], r"train.stpes: unknown key; expected one of: steps"),
        ("digits", ["train.steps=many"], "train.steps: found 'many', expected a valid integer"),
        ("digits", ["a=[1"], r"the value of a, '\[1', is not valid YAML: line 1, column 3"),
        ("digits", ["a=" + "[" * 2000], "is nested more than 20 deep"),
        ("digits", ["seed=2001-13-01"], "2001-13-01 looks like timestamp and is none"),
        ("digits", ["data=3"], "data: found 3, expected a valid dictionary"),
        ("digits", ["..=3"], "unknown key"),
        ("digits", ["data.path=."], "data.path is ., where the stages themselves write"),
        ("digits", ["data.path=~nobody_at_all/x"], "home"),
        ("digits", ["data.path=a\udcffb"], r"data.path=a\\udcffb: the name is not UTF-8"),
        ("digits", ["data.fit=null"], r"data.fit: found 'null', expected 'auto', 'pad' or"),
        ("digits", ["runtime.device=3"], r"runtime.device: found '3', expected"),
        ("digits", ["seed.x=1"], "seed"),
    ],
)
def test_what_is_not_valid_is_refused_and_the_file_unchanged(
    params: Path, name: str, pairs: list[str], message: str
):
    before = params.read_bytes()
    with pytest.raises(ConfigError, match=message):
        preset.apply([name], pairs, params)
    assert params.read_bytes() == before


def test_the_command_line(params: Path, monkeypatch, capsys):
    monkeypatch.chdir(params.parent)
    assert preset.main(["--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in listed if line.startswith("  ")]
    assert sorted(names) == preset.names()
    assert len(listed) == len(names) + 3  # and the headings
    assert names.index("wgan") < names.index("gumbel") < names.index("digits")
    assert preset.main(["mnist", "data.path=/data/mnist"]) == 0
    out = capsys.readouterr().out
    assert "data.name: 'digits' → 'idx'" in out
    assert read_config().data.path == "/data/mnist"
    assert preset.main(["lsgan", "toy-ring", "train.steps=12"]) == 0
    assert read_config().data.toy == "ring"
    assert read_config().objective.discriminator == "least_squares"
    assert read_config().train.steps == 12
    capsys.readouterr()
    assert preset.main(["train.steps=12"]) == 2
    assert "expected the name of a preset" in capsys.readouterr().err
    assert preset.main(["nothing"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no preset 'nothing'")


def test_the_default_preset_is_the_default():
    assert parse(Config, preset.resolve(["digits"]), "digits") == Config()
