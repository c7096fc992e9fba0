"""`dvc.yaml` held against the code: dependencies, parameters and outs are what the stages use."""

import ast
import functools
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gan.config import Config
from pipeline import paths

ROOT = Path(__file__).parents[2]
PACKAGES = ("gan", "kernels", "pipeline")
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def module_file(name: str) -> Path | None:
    base = ROOT / Path(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate.relative_to(ROOT)
    return None


@functools.cache
def imported(file: Path) -> frozenset[str]:
    """Names of the project's modules that `file` imports, anywhere in it."""
    package = file.parent.parts  # for a module as for a package's __init__
    found = set()
    tree = ast.parse((ROOT / file).read_text())
    # Blocks that do not run when the module is imported.
    aside = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        and ast.unparse(block.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in aside:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    # Importing a.b imports a as well.
    found |= {name.rsplit(".", depth)[0] for name in found for depth in range(name.count(".") + 1)}
    return frozenset(name for name in found if name.partition(".")[0] in PACKAGES)


# Chosen by name at run time, out of sight of the imports: every module of the folder counts.
CHOSEN_BY_NAME = {
    "gan/models/__init__.py": "gan/models",
    "gan/preparation/prepare.py": "gan/data/sources",
}
# `gan.load_generator` is for other programs; stages import what they need by its own name.
LAZY = {"gan/__init__.py"}


def closure(start: Path) -> set[str]:
    todo, seen = [start], set()
    while todo:
        file = todo.pop()
        if str(file) in seen:
            continue
        seen.add(str(file))
        if str(file) in CHOSEN_BY_NAME:
            folder = ROOT / CHOSEN_BY_NAME[str(file)]
            todo += [each.relative_to(ROOT) for each in folder.glob("*.py")]
        if str(file) not in LAZY:
            files = (module_file(name) for name in imported(file))
            todo += [each for each in files if each is not None]
    return seen


def code_deps(stage: str) -> set[str]:
    found = set()
    for dep in STAGES[stage]["deps"]:
        path = ROOT / dep
        if dep.startswith(PACKAGES):
            if path.is_dir():
                found |= {str(each.relative_to(ROOT)) for each in path.rglob("*.py")}
            else:
                assert path.is_file(), f"{stage} depends on {dep}, which is not there"
                found.add(dep)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_code_dependencies_are_exactly_the_imports(stage: str):
    # Package markers without code of their own cannot change a result.
    markers = (path for package in PACKAGES for path in (ROOT / package).rglob("__init__.py"))
    empty = {str(path.relative_to(ROOT)) for path in markers if only_text(path)}
    wanted = closure(Path(f"pipeline/{stage}.py")) - empty - LAZY
    assert sorted(code_deps(stage) - empty) == sorted(wanted)


def only_text(path: Path) -> bool:
    """Whether a module holds nothing but its docstring and __future__ imports."""
    return all(
        (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.ImportFrom) and node.module == "__future__")
        for node in ast.parse(path.read_text()).body
    )


def keys(values: dict, prefix: str = "") -> list[str]:
    return [
        name
        for key, value in values.items()
        for name in (keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key])
    ]


def test_params_file_states_every_parameter():
    values = YAML(typ="safe", pure=True).load((ROOT / paths.PARAMS).read_text())
    assert keys(values) == keys(Config().model_dump())


def test_params_file_as_committed_has_the_defaults(committed_params: str):
    assert YAML(typ="safe", pure=True).load(committed_params) == Config().model_dump()


@pytest.mark.parametrize("stage", STAGES)
def test_stages_list_sections_and_never_the_runtime(stage: str):
    listed = {name for name in STAGES[stage]["params"] if "." not in name}
    assert listed <= set(Config.model_fields)
    assert "runtime" not in listed
    used = {
        node.attr
        for node in ast.walk(ast.parse((ROOT / f"pipeline/{stage}.py").read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "config"
    }
    sections = used & set(Config.model_fields) - {"runtime"}
    assert sections <= listed
    # A trainer is given the whole configuration and says which sections it reads.
    assert listed - sections <= (
        {"seed", "model", "objective", "train"} if stage == "train" else set()
    )


@pytest.mark.parametrize("stage", STAGES)
def test_keys_that_the_run_cache_leaves_out_are_listed_by_themselves(stage: str):
    """DVC hashes its lock without `size` and `nfiles`, wherever they stand: parameters, too."""
    listed = set(STAGES[stage]["params"])
    defaults = Config().model_dump()
    hidden = {
        name
        for section in listed & set(defaults)
        if isinstance(defaults[section], dict)
        for name in keys(defaults[section], f"{section}.")
        if name.rpartition(".")[2] in ("size", "nfiles")
    }
    assert {name for name in listed if "." in name} == hidden


def test_outs_are_the_pipelines_paths():
    outs = {
        next(iter(out)) if isinstance(out, dict) else out
        for stage in STAGES.values()
        for out in [*stage.get("outs", []), *stage.get("metrics", [])]
    }
    assert outs == {
        str(getattr(paths, name))
        for name in (
            "PREPARED", "JUDGE", "GENERATOR", "TRAINING", "SAMPLES", "EVALUATION",
            "JUDGE_METRICS", "TRAIN_METRICS", "EVALUATE_METRICS",
        )
    }  # fmt: skip


def test_every_cached_out_is_ignored_by_git():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for stage in STAGES.values():
        for out in stage.get("outs", []):
            assert any(f"/{out}".startswith(line) for line in ignored if line.startswith("/")), out


def test_metrics_stay_in_git_and_out_of_the_cache():
    for stage in STAGES.values():
        for metric in stage.get("metrics", []):
            assert list(metric.values()) == [{"cache": False}]
