import pytest

from gan.config import Config, TrainConfig
from gan.config.parsing import parse
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


def test_rules_across_keys_are_reported_beside_plain_errors():
    values = {"data": {"name": "digits", "channels": 3}, "train": {"steps": 0}}
    with pytest.raises(ConfigError) as caught:
        parse(Config, values, "params.yaml")
    assert "2 errors" in str(caught.value)
