import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import kernels

PACKAGE = Path(kernels.__file__).parent

USE_EVERYTHING = """
    import torch
    real = torch.zeros(3, requires_grad=True)
    loss = package.discriminator_loss(real, torch.zeros(5))
    loss.backward()
    assert abs(loss.item() - 1.3862943611) < 1e-6, loss
    assert torch.allclose(real.grad, torch.full((3,), -1 / 6))
    package.generator_loss(real, "saturating")
    block = package.ConvTransposeBlock(4, 3)
    down = package.ConvBlock(3, 4)
    x = torch.randn(2, 4, 5, 5)
    assert down(block(x)).shape == x.shape
    with package.use_impl("torch"):
        assert package.conv_transpose2d(x, block.convolution.weight).shape == (2, 3, 10, 10)
    report = package.explain()
    try:
        package.generator_loss(real, impl="triton")
    except package.ImplUnavailableError as error:
        assert "generator_loss" in str(error)
        assert f"{package.__name__}.generator_loss: impl='triton'" in str(error), error
    else:
        raise AssertionError("impl='triton' ran")
"""
# What else says the package's name.
MESSAGES = """
    import contextlib, importlib, io
    from unittest import mock

    def printed(module, *arguments):
        found = io.StringIO()
        main = importlib.import_module(f"{package.__name__}.{module}.__main__").main
        with contextlib.redirect_stdout(found), contextlib.redirect_stderr(found):
            with mock.patch("sys.argv", [module, *arguments]), contextlib.suppress(SystemExit):
                main()
        return found.getvalue()

    tiles = importlib.import_module(f"{package.__name__}.conv_transpose.tiles")
    functions = importlib.import_module(f"{package.__name__}.conv_transpose.functions")
    with mock.patch.object(torch.cuda, "device_count", lambda: 1):
        with mock.patch.object(tiles, "architecture_of", lambda device: 1):
            reason = functions.why_torch_on(torch.device("cuda", 0))
    messages = {
        "tune": printed("tune"),
        "help of tune": printed("tune", "--help"),
        "help of the card": printed("losses", "--help"),
        "no table": tiles.why_torch("conv2d", "bf16", 8, 8, 64, 1),
        "no verified table": reason,
    }
    for what, message in messages.items():
        assert package.__name__ in message, (what, message)
        assert "kernels." not in message or package.__name__ == "kernels", (what, message)
"""


def run(code: str, folder: Path, *, package_on_path: bool) -> str:
    unset = ("PYTHONPATH", "FUSEDGAN_IMPL", "TRITON_INTERPRET")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    if package_on_path:
        environment["PYTHONPATH"] = str(PACKAGE.parent)
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_version_stays_out_of_reach_of_the_hugging_face_package() -> None:
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", kernels.__version__)
    assert match
    assert (int(match[1]), int(match[2])) < (0, 15)
    foreign = {"get_kernel", "LayerRepository", "use_kernel_forward_from_hub"}
    assert not foreign & set(dir(kernels))


def test_all_is_there() -> None:
    assert all(hasattr(kernels, name) for name in kernels.__all__)


def test_import_does_nothing_else(tmp_path: Path) -> None:
    code = """
        import sys
        import torch

        def refuse(*_, **__):
            raise AssertionError("a device was queried at import")

        torch.cuda.is_available = torch.cuda.device_count = torch.cuda._lazy_init = refuse
        before = torch.get_rng_state()
        import kernels
        assert torch.equal(before, torch.get_rng_state())
        assert "triton" not in sys.modules
        assert "torch._dynamo" not in sys.modules
        assert "torch.utils.flop_counter" not in sys.modules
    """
    run(code, tmp_path, package_on_path=True)


def test_works_with_triton_hidden(tmp_path: Path) -> None:
    # As where it is not installed: torch itself looks for it at import, from 2.14 on.
    hide = """
    import sys
    sys.modules["triton"] = None
    import kernels as package
    """
    code = textwrap.dedent(hide) + textwrap.dedent(USE_EVERYTHING)
    code += "assert 'triton:  not installed' in report, report\n"
    run(code, tmp_path, package_on_path=True)


def test_a_copy_works_under_another_name(tmp_path: Path) -> None:
    shutil.copytree(
        PACKAGE,
        tmp_path / "vendor" / "fused_ops",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    code = "import vendor.fused_ops as package\n" + textwrap.dedent(USE_EVERYTHING)
    code += textwrap.dedent(MESSAGES)
    code += textwrap.dedent("""
        import sys
        roots = {name.split(".")[0] for name in sys.modules}
        assert not roots & {"kernels", "gan", "pipeline"}, roots
        print(package.__file__)
    """)
    assert str(tmp_path) in run(code, tmp_path, package_on_path=False)


def test_no_message_has_the_name_of_this_copy() -> None:
    """Texts that are not docstrings take the package's name from where it is."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {
            id(node.value)
            for parent in ast.walk(tree)
            if isinstance(parent, ast.Module | ast.ClassDef | ast.FunctionDef)
            for node in parent.body
            if isinstance(node, ast.Expr)
        }
        found += [
            f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and re.search(r"\bkernels\.\w", node.value)
        ]
    assert found == []
