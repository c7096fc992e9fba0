"""Which versions the matrix takes, and what it reads of a run; running it takes an hour."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from benchmarks.environments import ROOT
from benchmarks.versions import floor, outcome, ranges, sets

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests">
<testsuite name="pytest" errors="1" failures="1" skipped="1" tests="5">
<testcase classname="tests.a" name="test_one[x-1]"/>
<testcase classname="tests.a" name="test_two"><failure message="no"/></testcase>
<testcase classname="tests.a" name="test_three"><skipped/></testcase>
<testcase classname="tests.b" name="test_four"><error message="no"/></testcase>
<testcase classname="tests.b" name="test_five"/>
</testsuite></testsuites>
"""


def test_the_lowest_and_the_newest_are_what_the_projects_allow(tmp_path: Path):
    allowed = ranges()
    assert allowed["torch"] == ranges(ROOT / "kernels/pyproject.toml")["torch"]
    assert "triton" not in allowed
    lowest, newest = sets()["lowest"], sets()["newest"]
    for text in lowest:
        needed = Requirement(text)
        if needed.name != "triton":
            version = str(needed.specifier).removeprefix("==").removesuffix(".*")
            assert SpecifierSet(allowed[needed.name]).contains(version)
    assert Requirement(newest[0]).specifier == SpecifierSet(allowed["torch"])
    project = tmp_path / "pyproject.toml"
    project.write_text(
        """[project]\ndependencies = ["torch >=2.1,<3", "a-b", "c==1; os_name == 'nt'"]"""
    )
    assert ranges(project) == {"torch": ">=2.1,<3", "a-b": "", "c": "==1"}
    assert floor(">=2.1,<3") == "==2.1.*"
    with pytest.raises(ValueError, match="names no lowest version"):
        floor("<3")


def test_a_report_says_which_tests_failed(tmp_path: Path):
    (tmp_path / "report.xml").write_text(REPORT)
    assert outcome(tmp_path / "report.xml") == {
        "passed": 2, "failed": 2, "skipped": 1, "which": "tests.a::test_two tests.b::test_four",
    }  # fmt: skip
