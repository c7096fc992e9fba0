import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.errors import DataError, StateError
from gan.files import write_json
from gan.json_file import MOST_BYTES, parse_json, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), inner
    ),
)  # fmt: skip


@given(VALUES)
def test_what_was_written_comes_back(tmp_path_factory: pytest.TempPathFactory, values: object):
    path = tmp_path_factory.mktemp("json") / "values.json"
    write_json(path, values)
    assert read_json(path, "values") == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSONDecodeError: Expecting value"),
        ("{", "JSONDecodeError: Expecting property name"),
        ("[" * 100_000, "ValueError: it is nested more than 100 deep"),
        ("[" * 3000 + "]" * 3000, "ValueError: it is nested more than 100 deep"),
        ('{"a":' * 101 + "1" + "}" * 101, "ValueError: it is nested more than 100 deep"),
        ("9" * 5000, "ValueError: Exceeds the limit"),
        ("[NaN]", "NaN is no number of JSON"),
        ('{"a": -Infinity}', "-Infinity is no number of JSON"),
        ("1e999", "the number 1e999 is beyond floating point"),
        ('{"a": 1, "b": 2, "a": 3}', "an object has a key twice"),
        ("\xff\xfe\x00", "UnicodeDecodeError"),
    ],
)
def test_what_is_no_json_is_refused_by_name(tmp_path: Path, text: str, message: str):
    path = tmp_path / "some.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"some.json is damaged or foreign, expected a list: ") as e:
        read_json(path, "a list")
    assert message in str(e.value)


def test_what_cannot_be_read_is_told_from_what_is_damaged(tmp_path: Path):
    with pytest.raises(StateError, match=r"cannot read .*none.json: No such file"):
        read_json(tmp_path / "none.json", "a list", StateError)
    with pytest.raises(DataError, match=r"cannot read .*: (Is a directory|it is no plain file)"):
        read_json(tmp_path, "a list")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"cannot read .*pipe: it is no plain file"):
        read_json(tmp_path / "pipe", "a list")
    with pytest.raises(DataError, match=r"cannot read .*: File name too long"):
        read_json(tmp_path / ("n" * 300), "a list")


def test_a_file_without_end_takes_no_memory(tmp_path: Path):
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(MOST_BYTES * 1000)  # of nothing, on disk
    with pytest.raises(DataError, match=f"it has more than {MOST_BYTES} bytes"):
        read_json(tmp_path / "large.json", "a list")


def test_what_is_less_deep_is_read():
    assert parse_json("[" * 100 + "]" * 100) == parse_json("[" * 100 + "]" * 100)
    assert parse_json('{"a": [1, {"b": "' + "[" * 500 + '"}]}') == {"a": [1, {"b": "[" * 500}]}


def test_numbers_keep_their_types():
    values = parse_json('[1, 1.0, -0.0, 1e3, true, "1"]')
    assert [type(each) for each in values] == [int, float, float, float, bool, str]
