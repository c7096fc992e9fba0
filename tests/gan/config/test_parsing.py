from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from gan.config import Config, TrainConfig
from gan.config.parsing import Section, parse
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


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), 10**400])
def test_every_number_is_finite(number: float):
    for section in Config.model_fields.values():
        assert section.annotation is not None
        for name, field in getattr(section.annotation, "model_fields", {}).items():
            if field.annotation is float:
                with pytest.raises(ConfigError, match=rf"{name}: found .*, expected a"):
                    parse(section.annotation, {name: number}, "here")
    with pytest.raises(ConfigError, match=r"r1: found"):
        parse(Config, {"objective": {"penalties": {"r1": number}}}, "here")
    with pytest.raises(ConfigError, match=r"betas\.1: found"):
        parse(TrainConfig, {"betas": [0.5, number]}, "here")


def integers(section: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    for name, field in section.model_fields.items():
        if field.annotation is int:
            yield section, name
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from integers(field.annotation)


@pytest.mark.parametrize(("section", "name"), list(integers(Config)))
def test_every_count_has_an_end(section: type[Section], name: str):
    with pytest.raises(ConfigError) as caught:
        parse(section, {name: 10**5000}, "here")
    lines = str(caught.value).splitlines()
    assert lines[1].startswith(f"  {name}: found a number of 16610 bits, expected less than or equ")


def test_values_are_shortened_however_large_and_escaped():
    bomb: list[object] = [1]
    for _ in range(60):
        bomb = [bomb] * 9
    circle: dict[str, object] = {}
    circle["self"] = circle
    values = {"seed": bomb, "judge": {"width": circle}, "train": {"steps": "x\x1b[31m" * 10**6}}
    with pytest.raises(ConfigError) as caught:
        parse(Config, values, "here")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(len(line) < 250 and line.isprintable() for line in lines)
    assert "\\x1b[31m" in lines[3]


def test_keys_are_shortened_and_escaped_and_must_be_text():
    with pytest.raises(ConfigError) as caught:
        parse(Config, {"a\n\x1b" + "b" * 10**6: 1, 3: 2, "data": {None: 1}}, "here")
    lines = str(caught.value).splitlines()
    assert lines[0] == "here: 3 errors"
    assert lines[1] == "  data.None: the key is no text; expected a name"
    assert lines[2].startswith("  a\\n\\x1bbbb")
    assert "…" in lines[2]
    assert len(lines[2]) < 200
    assert lines[3] == "  3: the key is no text; expected a name"


def test_of_thousands_of_errors_some_are_listed_and_the_others_counted():
    with pytest.raises(ConfigError) as caught:
        parse(Config, {f"key{index}": 1 for index in range(3000)}, "here")
    lines = str(caught.value).splitlines()
    assert lines[0] == "here: 3000 errors"
    assert lines[-1] == "  … and 2980 more"
    assert len(lines) == 22


def test_rules_across_keys_are_reported_beside_plain_errors():
    values = {"data": {"name": "digits", "channels": 3}, "train": {"steps": 0}}
    with pytest.raises(ConfigError) as caught:
        parse(Config, values, "params.yaml")
    assert "2 errors" in str(caught.value)


def test_the_keys_of_a_section_are_told_once():
    values = {"train": {f"k{number}": 0 for number in range(40)}, "trian": {}}
    with pytest.raises(ConfigError) as caught:
        parse(Config, values, "here")
    message = str(caught.value)
    assert "train.k0: unknown key; expected one of: steps, batch_size" in message
    assert "train.k1: unknown key, too" in message
    assert message.count("expected one of: steps") == 1
    assert len(message) < 2000
