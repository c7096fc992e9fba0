import math

from gan.metrics.as_json import as_json
from gan.metrics.records import Frechet, KnownWords


def test_what_json_cannot_hold_becomes_none_and_digits_are_few():
    found = as_json({"a": {"b": math.inf, "c": math.nan}, "d": 1 / 3, "e": 7, "f": "x"})
    assert found == {"a": {"b": None, "c": None}, "d": 0.333333, "e": 7, "f": "x"}


def test_records_leave_out_what_does_not_exist_and_say_what_has_no_value():
    shares = KnownWords(value=math.nan, shuffled=0.5)
    assert as_json({"words": shares}) == {"words": {"value": None, "shuffled": 0.5}}
    ratio = Frechet(1.0, 2.0, 0.0, 3.0, 0.5, ratio_to_floor=None)
    assert as_json(ratio)["ratio_to_floor"] is None
    assert as_json(KnownWords(value=1.0, shuffled=0.5, floor=0.25))["floor"] == 0.25
