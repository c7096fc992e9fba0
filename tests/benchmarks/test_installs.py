"""How a case is read; what the cases show takes a network and minutes."""

import zipfile
from pathlib import Path

import pytest

from benchmarks import installs
from benchmarks.environments import Environment, FailedError, checkout_files, copy_checkout


def test_a_case_ends_where_something_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def case(place: installs.Place):
        yield "one"
        place.run("assert WITH_THEIRS and INSTANCES == 2\n", instances=2)
        yield "two"
        place.run("raise ValueError('no')\n")
        yield "three"

    monkeypatch.setitem(installs.CASES, "some case", case)
    below = Environment.create(tmp_path / "below", Environment(tmp_path / "none"))
    built = installs.Built(tmp_path, below, tmp_path, "", "")
    assert [tuple(row.values()) for row in installs.rows_of("some case", built)] == [
        ("some case", "one", "right"),
        ("some case", "two", "right"),
        ("some case", "after: two", "ValueError: no"),
    ]


def test_an_environment_sees_those_below_it(tmp_path: Path):
    below = Environment.create(tmp_path / "below", Environment(tmp_path / "none"))
    (below.packages / "shared.py").write_text("x = 1\n")
    above = Environment.create(tmp_path / "above", below)
    program = "import shared, sys; print(shared.x, sys.prefix)"
    assert above.python("-c", program, cwd=tmp_path) == f"1 {tmp_path / 'above'}\n"
    with pytest.raises(FailedError, match="No module named 'nothing'"):
        above.python("-c", "import nothing", cwd=tmp_path)


def test_a_copy_of_the_checkout_has_what_git_has(tmp_path: Path):
    names = checkout_files()
    assert {"pyproject.toml", "kernels/pyproject.toml", "fusedgan_kernels.py"} <= set(names)
    assert not any(".egg-info" in name or "__pycache__" in name for name in names)
    copy_checkout(tmp_path, ["kernels/pyproject.toml"])
    assert [path.name for path in tmp_path.rglob("*.toml")] == ["pyproject.toml"]


def test_wheels_are_compared_by_their_files(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("a/b.py", b"1")
        archive.writestr("a.dist-info/RECORD", b"2")
    assert installs.contents(tmp_path / "a.whl") == {"a/b.py": b"1"}
