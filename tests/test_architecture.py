"""The house against its plan: who may import whom, and the map in CONTRIBUTING.md."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gan
from benchmarks.house_plan import plan

ROOT = Path(__file__).parents[1]
PACKAGES = ("gan", "kernels", "pipeline")


def test_imports_go_downwards():
    """The contracts in pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_no_rooms_import_each_other(package: str):
    assert plan(ROOT, package).circles == []


def rooms() -> set[str]:
    """Folders with something to find in them, as the map names them."""
    shown = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    top = {"presets", "benchmarks", "tests"}
    folders = {str(Path(name).parent) for name in shown}
    packages = {
        folder
        for folder in folders
        if folder.partition("/")[0] in (*PACKAGES, "benchmarks") and "results" not in folder
    }
    # A role of an operator package, with several files.
    packages = {name for name in packages if not re.match(r"kernels/\w+/\w+", name)}
    return {f"{folder}/" for folder in packages | top}


def test_the_map_is_of_this_tree():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `([\w/]+/)` \|", text.partition("| where | what |")[2], re.MULTILINE)
    assert sorted(rows) == sorted(rooms())
    for name in set(re.findall(r"`(\w+\.py)`", text)):
        there = (ROOT / name).exists() or list(ROOT.glob(f"[!.]*/**/{name}"))
        assert there, f"{name} is nowhere"


def test_no_property_raises():
    """`inspect.getmembers`, tracers and debuggers read them all: what may fail is a method."""
    for file in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for function in ast.walk(ast.parse(file.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            names = {ast.unparse(decorator) for decorator in function.decorator_list}
            if names & {"property", "cached_property", "functools.cached_property"}:
                raised = [node for node in ast.walk(function) if isinstance(node, ast.Raise)]
                assert not raised, f"{file}: {function.name}"


def test_what_is_public_is_there():
    assert dir(gan) == sorted(gan.__all__)
    for name in gan.__all__:
        assert getattr(gan, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        gan.nothing  # noqa: B018
