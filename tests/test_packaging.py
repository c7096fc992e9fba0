"""The two distributions: what they say of themselves, what their wheels have, that these work.

Installing them, beside others and in any order, is for `benchmarks.installs`.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import kernels

ROOT = Path(__file__).parents[1]
WHOLE = tomllib.loads((ROOT / "pyproject.toml").read_text())
KERNELS = tomllib.loads((ROOT / "kernels/pyproject.toml").read_text())
ARTEFACTS = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", "*.pyc")
# Read by pip and people, no part of a package.
BESIDE = {"LICENSE", "README.md", "pyproject.toml", "tuning/README.md"}


def python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path) if path else ""}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both, by the names of their distributions."""
    folder = tmp_path_factory.mktemp("wheels")
    source = folder / "source"
    for name in ("gan", "kernels", "pipeline"):
        shutil.copytree(ROOT / name, source / name, ignore=ARTEFACTS)
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "fusedgan_kernels.py"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    for project in (source / "kernels", source):
        python("-c", build, str(folder), cwd=project)
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


def names(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def files(package: str) -> set[str]:
    return {
        path.relative_to(ROOT / package).as_posix()
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not {"__pycache__", "build"} & set(path.parts)
        if ".egg-info" not in str(path)
    }


def test_the_distributions_agree():
    packages = {
        ".".join(["fusedgan_kernels", *Path(name).parent.parts])
        for name in files("kernels")
        if name.endswith("__init__.py")
    }
    assert sorted(KERNELS["tool"]["setuptools"]["packages"]) == sorted(packages)
    assert f"fusedgan-kernels=={kernels.__version__}" in WHOLE["project"]["dependencies"]
    (torch,) = KERNELS["project"]["dependencies"]
    assert torch.startswith("torch>=")
    assert torch in WHOLE["project"]["dependencies"]
    for key in ("requires-python", "license"):
        assert KERNELS["project"][key] == WHOLE["project"][key]
    assert (ROOT / "kernels/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_a_wheel_is_the_folder(wheels: dict[str, Path]):
    assert set(wheels) == {"fusedgan", "fusedgan_kernels"}
    of_kernels = names(wheels["fusedgan_kernels"])
    assert of_kernels == {f"fusedgan_kernels/{name}" for name in files("kernels") - BESIDE}
    with zipfile.ZipFile(wheels["fusedgan_kernels"]) as archive:
        for name in of_kernels:
            own = ROOT / name.replace("fusedgan_kernels", "kernels", 1)
            assert archive.read(name) == own.read_bytes(), name
    assert {name.partition("/")[0] for name in names(wheels["fusedgan"])} == {"gan", "pipeline"}
    assert {"gan/py.typed", "pipeline/train.py"} <= names(wheels["fusedgan"])


def test_triton_is_left_to_torch(wheels: dict[str, Path]):
    for path in wheels.values():
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
            metadata = archive.read(name).decode()
        needed = re.findall(r"^Requires-Dist: (.*)", metadata, re.MULTILINE)
        assert any(each.startswith("torch") for each in needed)
        assert [each for each in needed if "triton" in each and "extra ==" not in each] == []
        assert f"Version: {kernels.__version__}\n" in metadata


def test_wheels_live_beside_a_foreign_package_kernels(wheels: dict[str, Path], tmp_path: Path):
    for path in wheels.values():
        zipfile.ZipFile(path).extractall(tmp_path / "packages")
    (tmp_path / "packages/kernels.py").write_text("foreign = True\n")
    code = """
import kernels, gan.models.dcgan, fusedgan_kernels, torch
assert kernels.foreign
assert gan.models.dcgan.ConvBlock is fusedgan_kernels.ConvBlock
loss = fusedgan_kernels.discriminator_loss(torch.zeros(3), torch.zeros(5))
assert abs(loss.item() - 1.3862943611) < 1e-6
from gan.code import code_of
print(*code_of("gan.models"), fusedgan_kernels.__file__, sep="\\n")
"""
    *digests, file = python("-c", code, cwd=tmp_path, path=tmp_path / "packages").splitlines()
    assert Path(file) == tmp_path / "packages/fusedgan_kernels/__init__.py"
    # Named as in a checkout.
    assert {"kernels/dispatch.py", "kernels/tuning/sm_90.json"} <= set(digests)
    assert not any("fusedgan_kernels" in name for name in digests)
    for arguments, expected in (
        (["fusedgan_kernels.losses", "--help"], "usage: python -m fusedgan_kernels.losses"),
        (["fusedgan_kernels.tune", "--help"], "python -m fusedgan_kernels.tune --propose 90"),
    ):
        assert expected in python("-m", *arguments, cwd=tmp_path, path=tmp_path / "packages")


def test_the_examples_of_the_readme_run(tmp_path: Path):
    text = (ROOT / "kernels/README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    printed = python("-c", "\n".join(examples), cwd=tmp_path, path=ROOT)
    assert "generator_loss" in printed
