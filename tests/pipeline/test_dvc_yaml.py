"""`dvc.yaml` held against the code: dependencies, parameters and outs are what the stages use."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from scmrepo.git import Git

from gan.code import PACKAGES, code_of
from gan.config import Config
from pipeline import code, paths

ROOT = Path(__file__).parents[2]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def test_every_stage_depends_on_its_code_and_on_no_source():
    assert set(STAGES) == {"code", "source", *code.STAGES}
    assert STAGES["code"]["deps"] == list(PACKAGES)
    for stage in code.STAGES:
        deps = STAGES[stage]["deps"]
        assert [dep for dep in deps if dep.startswith(str(paths.CODE))] == [
            f"{paths.CODE}/{stage}.json"
        ]
        assert not [dep for dep in deps if dep.startswith(PACKAGES)]


@pytest.mark.slow
@pytest.mark.parametrize("stage", code.STAGES)
def test_what_a_stage_imports_is_part_of_its_key(stage: str):
    """Held against Python itself: what is in `sys.modules` once everything is imported."""
    names = [name for name in code_of(f"pipeline.{stage}") if name.endswith(".py")]
    modules = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names
    ]
    program = (
        "import importlib, json, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(json.dumps([name for name in sys.modules if name.partition('.')[0] in "
        f"{PACKAGES!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert sorted(set(json.loads(done.stdout)) - set(modules)) == []


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


@pytest.mark.parametrize("stage", code.STAGES)
def test_stages_list_sections_and_never_the_runtime(stage: str):
    listed = {name for name in STAGES[stage]["params"] if "." not in name}
    assert listed <= set(Config.model_fields)
    named = {name.partition(".")[0] for name in STAGES[stage]["params"]}
    assert "runtime" not in listed
    used = {
        node.attr
        for node in ast.walk(ast.parse((ROOT / f"pipeline/{stage}.py").read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "config"
    }
    sections = used & set(Config.model_fields) - {"runtime"}
    assert sections <= named
    # A trainer is given the whole configuration and says which sections it reads.
    assert listed - sections <= (
        {"seed", "model", "objective", "train"} if stage == "train" else set()
    )


@pytest.mark.parametrize("stage", ["prepare", "judge", "train", "sample", "evaluate"])
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
            "PREPARED", "JUDGE", "GENERATOR", "TRAINING", "SAMPLES", "EVALUATION", "REPORT", "CODE",
            "SOURCE", "JUDGE_METRICS", "TRAIN_METRICS", "EVALUATE_METRICS",
        )
    }  # fmt: skip


def test_the_source_is_looked_at_wherever_it_was_not_and_before_anything_depends_on_it():
    """In no cache, its out is missing in every copy of the checkout; and then the stage runs."""
    stage = STAGES["source"]
    assert stage["outs"] == [{str(paths.SOURCE): {"cache": False, "persist": True}}]
    assert stage["params"] == ["data.path"]
    assert "deps" not in stage
    readers = [name for name in STAGES if "${data.path}" in STAGES[name].get("deps", [])]
    assert readers == ["prepare"]
    assert str(paths.SOURCE) in STAGES["prepare"]["deps"]


def ignored_by_git(names: list[str]) -> list[str]:
    given = "\n".join(names)
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=ROOT, input=given, capture_output=True, text=True,
    )  # fmt: skip
    if asked.returncode > 1:
        pytest.skip("not a checkout of Git")
    return asked.stdout.splitlines()


def test_git_ignores_raw_data_but_not_what_dvc_says_of_them():
    data = ["data/raw/photos/1.png", "data/raw/photos/.gitignore", "data/raw/faces.zip"]
    about = ["data/raw/README.md", "data/raw/.gitignore", "data/raw/photos.dvc"]
    assert ignored_by_git([*data, *about]) == data


def test_dvc_sees_what_it_has_added_to_the_raw_data(tmp_path: Path):
    """DVC goes by the ignore files too, but reads them in a way of its own."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    seen = ["data/", "data/raw/", "data/raw/photos.dvc", "data/raw/.gitignore"]
    ignored = ["data/raw/photos/", "data/raw/photos/1.png", "data/raw/faces.zip"]
    scm = Git(str(tmp_path))
    found = [name for name in [*seen, *ignored] if scm.is_ignored(f"{tmp_path}/{name}")]
    assert found == ignored


def test_every_out_but_the_metrics_is_ignored_by_git():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for stage in STAGES.values():
        for each in stage.get("outs", []):
            out = next(iter(each)) if isinstance(each, dict) else each
            assert any(f"/{out}".startswith(line) for line in ignored if line.startswith("/")), out


def test_metrics_stay_in_git_and_out_of_the_cache():
    for stage in STAGES.values():
        for metric in stage.get("metrics", []):
            assert list(metric.values()) == [{"cache": False}]
