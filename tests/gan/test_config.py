import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.config import Config, DataConfig, ModelConfig, TrainConfig, parse
from gan.errors import ConfigError


def test_every_error_is_reported_at_once_with_key_value_and_expectation():
    values = {
        "seed": "a",
        "data": {"siz": 3, "size": 17},
        "train": {"steps": "2e-4", "betas": [0.5]},
        "trian": {},
    }
    with pytest.raises(ConfigError) as caught:
        parse(Config, values, "params.yaml")
    message = str(caught.value)
    assert message.startswith("params.yaml: 6 errors")
    assert "seed: found 'a', expected a valid integer" in message
    assert "data.size: found 17, expected 8, 16, 32, 64 or 128" in message
    assert "data.siz: unknown key; expected one of: name, path, size" in message
    assert "train.steps: found '2e-4', expected a valid integer" in message
    assert "train.betas: found [0.5]" in message
    assert "trian: unknown key; expected one of: seed, data, judge" in message


def test_text_that_looks_like_a_number_is_not_one():
    with pytest.raises(ConfigError, match=r"generator_learning_rate: found '2e-4', expected .*num"):
        parse(TrainConfig, {"generator_learning_rate": "2e-4"}, "here")
    assert parse(TrainConfig, {"generator_learning_rate": 2e-4}, "here") == TrainConfig(
        generator_learning_rate=2e-4
    )


def test_a_boolean_is_not_a_count():
    with pytest.raises(ConfigError, match=r"steps: found True"):
        parse(TrainConfig, {"steps": True}, "here")


def test_contradictory_keys_name_both():
    with pytest.raises(ConfigError, match=r"data.channels is 3, but data.name digits is grey"):
        parse(Config, {"data": {"name": "digits", "channels": 3}}, "params.yaml")
    with pytest.raises(ConfigError, match=r"sample.grid 10 needs 100 samples.*sample.count is 50"):
        parse(Config, {"sample": {"count": 50}}, "params.yaml")


def test_a_penalty_per_sample_and_batch_norm_contradict():
    with pytest.raises(ConfigError, match=r"penalties.r1 is 0.1.*discriminator_norm batch"):
        parse(Config, {"model": {"discriminator_norm": "batch"}}, "params.yaml")


def test_rules_across_keys_are_reported_beside_plain_errors():
    values = {"data": {"name": "digits", "channels": 3}, "train": {"steps": 0}}
    with pytest.raises(ConfigError) as caught:
        parse(Config, values, "params.yaml")
    assert "2 errors" in str(caught.value)


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
