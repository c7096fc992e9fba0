"""In a checkout `kernels` and `fusedgan_kernels` are one package, whichever is imported first."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ONE_PACKAGE = """
    import sys, types, importlib.util, warnings
    warnings.simplefilter("error")
    assert kernels is fusedgan_kernels is sys.modules["fusedgan_kernels"]
    from fusedgan_kernels.losses import autograd
    import kernels.losses.autograd, fusedgan_kernels.conv_transpose.tiles as tiles
    assert kernels.losses.autograd is autograd is fusedgan_kernels.losses.autograd
    assert kernels.conv_transpose.tiles is tiles
    for name, module in list(sys.modules.items()):
        if name.startswith("fusedgan_kernels"):
            own = name.removeprefix("fusedgan_")
            assert sys.modules[own] is module, name
            assert module.__spec__.name == module.__name__ == own
    import gan.models.dcgan
    assert gan.models.dcgan.ConvBlock is kernels.ConvBlock
    import torch
    operators = [n for n in torch._C._dispatch_get_all_op_names() if "::adversarial_loss" in n]
    assert len(operators) == 2, operators
    assert importlib.util.find_spec("fusedgan_kernels.nothing") is None
"""
APART = """
    import kernels, fusedgan_kernels, sys
    import fusedgan_kernels.losses.autograd, gan.models.dcgan
    assert kernels.foreign
    assert gan.models.dcgan.ConvBlock is fusedgan_kernels.ConvBlock
    assert fusedgan_kernels.ConvBlock.__module__ == "fusedgan_kernels.conv_transpose.blocks"
    assert not any(name.startswith("kernels.") for name in sys.modules)
"""


def run(code: str, *arguments: str, cwd: Path, path: str) -> str:
    environment = {**os.environ, "PYTHONPATH": path}
    program = ["-c", textwrap.dedent(code)] if code else []
    done = subprocess.run(
        [sys.executable, "-P", *program, *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "first",
    [
        "import kernels, fusedgan_kernels\n",
        "import fusedgan_kernels.losses.autograd, kernels\n",
        "import gan.game.objectives, kernels, fusedgan_kernels\n",
    ],
)
def test_both_names_are_one_package(first: str, tmp_path: Path):
    run(first + textwrap.dedent(ONE_PACKAGE), cwd=tmp_path, path=str(ROOT))


@pytest.mark.parametrize("name", ["kernels.tune", "fusedgan_kernels.tune"])
def test_its_programs_run_by_both_names(name: str, tmp_path: Path):
    usage = run("", "-W", "error", "-m", name, "--help", cwd=tmp_path, path=str(ROOT))
    assert usage.startswith("usage: python -m kernels.tune")


def test_a_foreign_package_kernels_is_left_alone(tmp_path: Path):
    (tmp_path / "kernels.py").write_text("foreign = True\n")
    # It is found before the folder.
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    run("import fusedgan_kernels\n" + textwrap.dedent(APART), cwd=tmp_path, path=path)
    assert "relativistic" in run("", "-m", "fusedgan_kernels.losses", cwd=tmp_path, path=path)
    # It was imported before the checkout was on the path, or has been made by hand.
    loaded = "import sys, types; sys.modules['kernels'] = types.ModuleType('kernels')\n"
    marked = f"{loaded}sys.modules['kernels'].foreign = True\n"
    run(marked + textwrap.dedent(APART), cwd=tmp_path, path=str(ROOT))


def test_importing_an_unknown_part_fails_by_its_name(tmp_path: Path):
    code = """
    try:
        import fusedgan_kernels.nothing
    except ModuleNotFoundError as error:
        print(error.name)
    """
    assert run(code, cwd=tmp_path, path=str(ROOT)) == "fusedgan_kernels.nothing\n"
