"""Which interpreter `pipeline/python.sh` takes, told from stand-ins that print their own names."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "pipeline" / "python.sh"


def stand_in(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{path}" "$@"\n')
    path.chmod(0o755)


def call(folder: Path, **variables: str) -> list[str]:
    done = subprocess.run(
        ["sh", str(SCRIPT), "-m", "pipeline.train"],
        cwd=folder,
        env={"PATH": f"{folder / 'bin'}{os.pathsep}{os.defpath}", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    name, *rest = done.stdout.split()
    return [str(Path(folder, name).relative_to(folder)), *rest]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    stand_in(tmp_path / "bin" / "python")
    stand_in(tmp_path / ".venv" / "bin" / "python")
    return tmp_path


def test_the_checkouts_own_environment_when_none_is_activated(checkout: Path):
    assert call(checkout) == [".venv/bin/python", "-m", "pipeline.train"]


def test_an_activated_environment_comes_first(checkout: Path):
    assert call(checkout, VIRTUAL_ENV="/some/where")[0] == "bin/python"


def test_condas_base_that_is_always_active_does_not(checkout: Path):
    assert call(checkout, CONDA_PREFIX="/opt/conda")[0] == ".venv/bin/python"


def test_a_temporary_experiment_uses_the_main_checkouts(checkout: Path):
    copy = checkout / ".dvc" / "tmp" / "exps" / "tmp1"
    copy.mkdir(parents=True)
    name = call(checkout, DVC_ROOT=str(copy))[0]
    assert name == ".venv/bin/python"


@pytest.mark.parametrize("name", ["python", "python3"])
def test_without_any_what_is_on_the_path(tmp_path: Path, name: str):
    stand_in(tmp_path / "bin" / name)
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    assert call(tmp_path, PATH=str(tmp_path / "bin"))[0] == f"bin/{name}"
