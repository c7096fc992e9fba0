import math

from gan.metrics.as_json import as_json


def test_what_json_cannot_hold_becomes_none_and_digits_are_few():
    found = as_json({"a": {"b": math.inf, "c": math.nan}, "d": 1 / 3, "e": 7, "f": "x"})
    assert found == {"a": {"b": None, "c": None}, "d": 0.333333, "e": 7, "f": "x"}
