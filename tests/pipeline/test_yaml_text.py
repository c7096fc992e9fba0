import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.errors import ConfigError
from pipeline.params import read_config
from pipeline.yaml_text import DEEPEST, MOST_BYTES, parse_yaml, read_text


def laughs(inner: str, merged: bool = False) -> str:
    """Aliases of nine aliases each, nine deep: 9⁹ values."""
    lines = [f"a0: &a0 {inner}"]
    for index in range(1, 10):
        aliases = ", ".join([f"*a{index - 1}"] * 9)
        lines.append(
            f"a{index}: &a{index} " + (f"{{<<: [{aliases}]}}" if merged else f"[{aliases}]")
        )
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs("[1, 1]"), "has more than 10000 values, aliases unfolded"),
        (laughs("{x: 1}", merged=True), "has more than 10000 values, aliases unfolded"),
        ("seed: &a [*a]", "is nested more than 20 deep, or within itself"),
        ("data: &a {x: *a}", "is nested more than 20 deep, or within itself"),
        ("[" * 30 + "]" * 30, "is nested more than 20 deep, or within itself"),
        ("[" * 20_000, "is nested more than 20 deep, or within itself"),
        ("- " * 20_000, "is nested more than 20 deep, or within itself"),
        ("\n\nseed: " + "9" * 5000, r", line 3: a value of 5000 characters, 9+…9+: exp"),
        ("a: 1\nb: 2001-13-45", r", line 2: 2001-13-45 looks like timestamp and is none \(month"),
        ("a: !!float x\x85", r", line 1: x looks like float and is none"),
        ("a: !!bool perhaps", r", line 1: perhaps looks like bool and is none"),
        ("a: !!int ''", r", line 1: .* looks like int and is none"),
        ("a: !!binary a", "is not valid YAML: line 1, column 4: failed to decode base64"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML: line 1, column 4: could"),
        ("a: 1\n---\nb: 1", "is not valid YAML: line 2, column 1: expected a single document"),
        ("a:\n\tb: 1", r"is not valid YAML: line 2, column 1: .*found character '\\t'"),
        ("a: 1\na: 2", "is not valid YAML: line 2, column 1: .*duplicate key"),
        ("a\0", "is not valid YAML: unacceptable character"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, message: str):
    with pytest.raises(ConfigError, match=rf"^here{message}" if message[0] == "," else message):
        parse_yaml(text, "here")


def test_aliases_that_people_write_are_unfolded():
    text = "a: &x {k: [1, 2]}\nb: *x\nc: {<<: *x, l: 3}"
    assert parse_yaml(text, "here") == {
        "a": {"k": [1, 2]}, "b": {"k": [1, 2]}, "c": {"k": [1, 2], "l": 3},
    }  # fmt: skip
    assert parse_yaml("", "here") is None
    assert parse_yaml("2001-12-14", "here") == datetime.date(2001, 12, 14)


@pytest.mark.parametrize("depth", [DEEPEST, DEEPEST + 1])
def test_how_deep_it_may_be(depth: int):
    text = "[" * depth + "1" + "]" * depth
    if depth == DEEPEST:
        assert str(parse_yaml(text, "here")) == text
    else:
        with pytest.raises(ConfigError, match="nested more than 20 deep"):
            parse_yaml(text, "here")


@given(st.text())
def test_any_text_is_a_value_or_refused(text: str):
    said = "here"
    try:
        parse_yaml(text, "here")
    except ConfigError as error:
        said = str(error)
    assert said.startswith("here")
    assert len(said) < 500


@given(st.binary(max_size=200))
def test_any_file_is_parameters_or_refused(tmp_path_factory: Any, content: bytes):
    path = tmp_path_factory.mktemp("any") / "params.yaml"
    path.write_bytes(content)
    said = str(path)
    try:
        read_config(path)
    except ConfigError as error:
        said = str(error)
    assert str(path) in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: 1".encode("utf-16"), "is UTF-16: expected UTF-8"),
        ("seed: 1".encode("utf-32"), "is UTF-32: expected UTF-8"),
        (b"a: 1\nb: \xe9\n", "is not UTF-8: byte 0xe9 in line 2"),
        (b"#" * (MOST_BYTES + 1), f"is larger than {MOST_BYTES} bytes"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_text(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 7 # \xc3\xa9\n")
    assert read_text(path) == "seed: 7 # é\n"
    assert read_config(path).seed == 7


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=rf"cannot read {tmp_path}: Is a directory"):
        read_text(tmp_path)
    long = tmp_path / ("x" * 300)
    with pytest.raises(ConfigError, match=r"cannot read .*…x*: File name too long"):
        read_text(long)
