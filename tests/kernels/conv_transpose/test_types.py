"""What mypy finds in a program that calls the convolutions: names that do not exist."""

import os
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[3]
PROGRAM = """
import torch
from kernels import BatchNormActivation, ConvBlock, ConvTransposeBlock, use_impl
from kernels import conv2d, conv_transpose2d, conv_transpose2d_weight_grad

x = torch.zeros(1, 3, 4, 4)

def right() -> None:
    conv2d(x, x, None, 2, "same", activation="leaky_relu", impl="torch")
    conv_transpose2d(x, x, None, (2, 1), [1, 1], 0, 1, 1, activation=None)
    ConvBlock(3, 4, "batch", "tanh", "auto")
    ConvTransposeBlock(3, 4, norm="none", activation=torch.nn.GELU())
    use_impl("triton")

"""
STUB_OF_NN = """
class Module:
    def __getattr__(self, name: str) -> Any: ...
class Sequential(Module): ...
class GELU(Module): ...
"""
# Each a line that mypy has to refuse.
WRONG = [
    'conv2d(x, x, activation="leakyrelu")',
    'conv2d(x, x, None, "relu")',
    'conv2d(x, x, padding="full")',
    'conv2d(x, x, impl="cuda")',
    'conv_transpose2d(x, x, activation="Tanh")',
    'conv_transpose2d(x, x, padding="same")',
    'conv_transpose2d(x, x, impl="Triton")',
    'conv_transpose2d_weight_grad(x, x, "cudnn")',
    'ConvBlock(3, 4, norm="layer")',
    'ConvBlock(3, 4, activation="elu")',
    'ConvTransposeBlock(3, 4, norm="Batch")',
    'ConvTransposeBlock(3, 4, impl="fast")',
    'BatchNormActivation(4, "silu")',
    'use_impl("tritn")',
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> set[int]:
    """Lines of the program that mypy refuses."""
    folder = tmp_path_factory.mktemp("program")
    # Of torch no more than that a module is one: looking at all of it would take half a minute.
    anything = "from typing import Any\ndef __getattr__(name: str) -> Any: ...\n"
    for name, stub in {"torch": "from . import nn as nn\n", "torch/nn": STUB_OF_NN}.items():
        (folder / name).mkdir()
        (folder / name / "__init__.pyi").write_text(anything + stub)
    (folder / "mypy.ini").write_text(
        "[mypy]\nignore_missing_imports = True\n"
        "[mypy-torch.*]\nfollow_imports = skip\n[mypy-triton.*]\nfollow_imports = skip\n"
    )
    program = folder / "program.py"
    program.write_text(PROGRAM + "\n".join(WRONG) + "\n")
    options = ["--config-file", str(folder / "mypy.ini"), "--cache-dir", str(folder / "cache")]
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("MYPYPATH", f"{folder}{os.pathsep}{ROOT}")
    try:
        found, errors, _ = api.run([*options, "--no-error-summary", str(program)])
    finally:
        monkeypatch.undo()
    assert errors == ""
    lines = [line.split(":") for line in found.splitlines() if ": error: " in line]
    return {int(line[1]) for line in lines if Path(line[0]).name == "program.py"}


def test_right_names_are_accepted(refused: set[int]) -> None:
    assert not any(line <= PROGRAM.count("\n") for line in refused)


@pytest.mark.parametrize("line", WRONG)
def test_a_name_that_does_not_exist_is_refused(refused: set[int], line: str) -> None:
    assert PROGRAM.count("\n") + 1 + WRONG.index(line) in refused
