import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.config import Config, DataConfig, ModelConfig, parse
from gan.errors import ConfigError


def test_contradictory_keys_name_both():
    with pytest.raises(ConfigError, match=r"data.channels is 3, but data.name digits is grey"):
        parse(Config, {"data": {"name": "digits", "channels": 3}}, "params.yaml")
    with pytest.raises(ConfigError, match=r"sample.grid 10 needs 100 samples.*sample.count is 50"):
        parse(Config, {"sample": {"count": 50}}, "params.yaml")


def test_a_penalty_per_sample_and_batch_norm_contradict():
    with pytest.raises(ConfigError, match=r"penalties.r1 is 0.1.*discriminator_norm batch"):
        parse(Config, {"model": {"discriminator_norm": "batch"}}, "params.yaml")


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"name: found 'dcgna', expected .*dcgan"):
        parse(ModelConfig, {"name": "dcgna"}, "here")


def test_defaults_are_valid_and_values_do_not_change():
    config = parse(Config, {}, "nothing")
    assert config == Config()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1


@given(st.integers())
def test_image_sizes_are_the_powers_that_the_networks_take(size: int):
    if size in {8, 16, 32, 64, 128}:
        assert DataConfig(size=size).size == size
    else:
        with pytest.raises(ConfigError, match="size: found"):
            parse(DataConfig, {"size": size}, "here")


@pytest.mark.parametrize("model", ["dcgan", "resnet"])
def test_points_are_for_networks_of_points_and_images_for_those_of_images(model: str):
    with pytest.raises(ConfigError, match=rf"model.name is {model}, .* has points: expected mlp"):
        parse(Config, {"data": {"name": "toy"}, "model": {"name": model}}, "params.yaml")
    with pytest.raises(ConfigError, match=r"model.name is mlp, but data.name digits has images"):
        parse(Config, {"model": {"name": "mlp"}}, "params.yaml")
    parse(Config, {"data": {"name": "toy"}, "model": {"name": "mlp"}}, "params.yaml")
    parse(Config, {"model": {"name": model}}, "params.yaml")


def test_an_unknown_toy_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"toy: found 'moons', expected .*normal.*spirals"):
        parse(DataConfig, {"name": "toy", "toy": "moons"}, "here")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"levels": 1}, "data.levels is 1: expected 0, or 2 to 256"),
        ({"palette": 1}, "data.palette is 1: expected 0, or 2 to 256"),
        ({"levels": 257}, "levels: found 257, expected .*256"),
        ({"levels": 2, "palette": 3}, "data.levels is 2 and data.palette 3: expected 0 for one"),
        (
            {"name": "images", "channels": 3, "levels": 4},
            "data.levels is 4, but data.channels is 3: .* expected data.palette",
        ),
        ({"name": "toy", "levels": 2}, "data.levels is 2, but data.name toy has no images"),
        ({"name": "topics", "palette": 2}, "data.palette is 2, but data.name topics has no images"),
        ({"alphabet": 1}, "alphabet: found 1, expected .*2"),
        ({"length": 3}, "length: found 3, expected .*4"),
        ({"windows": "words"}, "windows: found 'words', expected .*lines.*sliding"),
    ],
)
def test_symbols_that_cannot_be(values: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        parse(DataConfig, values, "here")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, "images"),
        ({"name": "toy"}, "points"),
        ({"levels": 17}, "symbol_images"),
        ({"name": "images", "channels": 3, "palette": 16}, "symbol_images"),
        ({"name": "text"}, "text"),
        ({"name": "topics"}, "text"),
    ],
)
def test_what_the_prepared_examples_will_be(values: dict[str, object], kind: str):
    assert DataConfig(**values).kind == kind


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("~/x", r"data.path is ~/x, and nothing here unfolds a ~: expected /.*/x"),
        ("~nobody_at_all/x", r"expected \./~nobody_at_all/x"),
        ("a\0b", r"data.path is a\\x00b: no file has a NUL in its name"),
    ],
)
def test_paths_that_nobody_finds(path: str, message: str):
    with pytest.raises(ConfigError, match=message):
        parse(DataConfig, {"path": path}, "here")
    assert DataConfig(path="./~x").path == "./~x"


def test_a_history_may_be_coarser_than_the_run_and_no_more_than_memory_holds():
    assert parse(Config, {"train": {"steps": 20, "record_every": 50}}, "here").train.steps == 20
    with pytest.raises(ConfigError, match=r"record_every: found 10000000000, expected less than"):
        parse(Config, {"train": {"record_every": 10**10}}, "here")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": "l.csv"}, r"data\.labels is l\.csv, but data\.name is digits: expected it"),
        ({"zip_names": "cp932"}, r"data\.zip_names is cp932, but data\.name is digits"),
        (
            {"name": "images", "label_column": "x"},
            r"data\.label_column is x, but data\.labels is empty: expected the name of a table",
        ),
        ({"name": "images", "zip_names": "cp9"}, r"data\.zip_names|zip_names: found 'cp9'"),
        ({"name": "images", "links": "copy"}, "links: found 'copy', expected 'follow' or 'refuse'"),
        ({"name": "idx", "links": "refuse"}, "links is refuse, but data.name idx does not look at"),
        (
            {"name": "images", "shards": "a.tar", "links": "refuse"},
            "links is refuse, but data.shards a.tar are archives",
        ),
        ({"name": "idx", "max_pixels": 1 << 20}, "max_pixels is 1048576, but data.name idx"),
        ({"labels": "a\nb"}, r"data\.labels is a\\nb, but"),
        ({"name": "images", "max_pixels": 100}, "max_pixels: found 100, expected greater than"),
    ],
)
def test_images_that_cannot_be_read_as_asked(values: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        parse(DataConfig, values, "here")


def test_a_table_of_labels():
    config = parse(DataConfig, {"name": "images", "labels": "a.csv", "label_column": "x"}, "here")
    assert (config.labels, config.label_column) == ("a.csv", "x")
