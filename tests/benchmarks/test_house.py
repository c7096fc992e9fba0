"""The measures of a tree, on one that is small enough to count by hand."""

import csv
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from benchmarks import house
from benchmarks.house_plan import plan
from benchmarks.house_trips import Trace

TREE = {
    "gan/__init__.py": "from gan.training import Trainer\n",  # no room, no arrow
    "gan/__main__.py": "import gan.training\n",
    "gan/py.typed": "",
    "gan/notes/readme.md": "no Python, no room\n",
    "gan/errors.py": "",
    "gan/config/__init__.py": "from gan.errors import UserError\nfrom .rules import sound\n",
    "gan/config/rules.py": """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from gan.data.batches import Batches
            from gan.errors import UserError
        else:
            import gan.files.whole as whole
        """,
    "gan/data/batches.py": """
        from .. import config
        from ..errors import UserError
        def late():
            from gan import files, config
        """,
    "gan/files/__init__.py": "import os, torch\n",
    "gan/files/whole.py": "",
    "gan/training.py": """
        import typing
        from kernels import loss
        from gan.data.batches import Batches
        if typing.TYPE_CHECKING:
            import gan.models
        class Trainer: ...
        """,
    "gan/models.py": "import gan.training\nfrom . import *\n",
    "kernels/__init__.py": "from .losses import loss\n",
    "kernels/losses/__init__.py": """
        from ..dispatch import run
        from .triton import kernel
        def loss(kind):
            match kind:
                case "images": return 1
                case "text" if kind != "": return 2
                case _: return 3
        """,
    "kernels/losses/triton.py": "import triton\nfrom .. import dispatch\n",
    "kernels/dispatch.py": "",
    "pipeline/python.sh": "exec python",
    "pipeline/paths.py": "def at(model):\n    while model.kind: assert model.name == 'dcgan'\n",
    "pipeline/train.py": '''
        """What the stage does,

        in several lines."""

        from pipeline import paths  # one

        def main(model, data):
            """Not a line."""
            text = """two

            more"""
            # None of these is a line.
            if data.kind == "points" or not data.alphabet:
                raise ValueError(
                    text,
                )
            assert isinstance(data.toy, int) and model.name in ("classifier", "x")
            wanted = data.kind == "text"
            return [x for x in data if x.ndim > 2 and len(x.labels) > 1] if wanted else None


        class Stage:
            "Nor this."
        ''',
    "pipeline/sample.py": "from pipeline import paths\nx = 1 if paths.kind() else 2; y = 3\n",
    "dvc.yaml": """
        stages:
          train:
            cmd: exec sh pipeline/python.sh -m pipeline.train
            deps:
              - ${data.path}
              - gan/training.py
              - kernels/losses
              - pipeline/train.py
              - ganache/other.py
          sample:
            cmd: python pipeline/sample.py
            deps:
              - gan/models.py: {}
          other:
            cmd: echo pipeline
        """,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in TREE.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip("\n"))
    return root


def test_rooms_arrows_and_floors(tree: Path) -> None:
    found = plan(tree, "gan")
    assert found.arrows == {
        ("config", "errors"): True,  # for types too, elsewhere
        ("config", "data"): False,
        ("config", "files"): True,
        ("data", "config"): True,
        ("data", "errors"): True,
        ("data", "files"): True,
        ("training", "data"): True,
        ("training", "models"): False,
        ("models", "training"): True,
    }
    assert found.floors == {
        "errors": 1, "files": 1, "config": 2, "data": 2, "models": 3, "training": 3,
    }  # fmt: skip
    circles = [{"config", "data"}, {"models", "training"}]
    assert sorted(map(sorted, found.circles)) == list(map(sorted, circles))
    assert found.typed_circles == found.circles


def test_a_circle_at_run_time_is_none_by_types_alone(tree: Path) -> None:
    (tree / "gan/errors.py").write_text("def late():\n    from gan.config import rules\n")
    found = plan(tree, "gan")
    assert sorted(map(sorted, found.circles)) == [
        ["config", "data", "errors"],
        ["models", "training"],
    ]
    assert found.typed_circles == [{"models", "training"}]


def test_all_numbers_of_a_tree(tree: Path) -> None:
    names = (
        "rooms", "arrows", "arrows for types alone", "floors", "circles", "circles by types alone",
        "rooms in circles",
    )  # fmt: skip
    expected = {
        "gan": (6, 9, 2, 3, 2, 2, 4),
        "kernels": (2, 1, 0, 2, 0, 0, 0),
        "pipeline": (3, 2, 0, 2, 0, 0, 0),
    }
    assert house.structure(tree) == {
        **{
            (package, name): count
            for package, counts in expected.items()
            for name, count in zip(names, counts, strict=True)
        },
        ("branches on kind", "gan"): 0,
        ("branches on kind", "kernels"): 3,  # two cases and a guard
        ("branches on kind", "pipeline"): 6,  # a while is none
        ("branches on kind", "pipeline's stages"): 6,
        ("dvc.yaml", "deps"): 6,
        ("dvc.yaml", "deps that are code"): 4,
        ("lines of code", "pipeline/sample.py"): 2,
        ("lines of code", "pipeline/train.py"): 12,
    }


def test_a_revision_beside_the_tree(tree: Path, tmp_path: Path, capsys) -> None:
    git = ["git", "-C", str(tree), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    (tree / "gan/models.py").unlink()
    (tree / "pipeline/train.py").write_text("x = 1\n")
    output, figure = tmp_path / "house.csv", tmp_path / "house.png"
    assert house.main(
        ["--root", str(tree), "--before", "HEAD", "--no-trips", "--verbose",
         "--output", str(output), "--figure", str(figure)]
    ) == 0  # fmt: skip
    with output.open(newline="") as file:
        rows = {(row["of"], row["figure"]): row for row in csv.DictReader(file)}
    columns = ("before", "after", "difference", "ratio")
    assert [rows["gan", "circles"][key] for key in columns] == ["2", "1", "-1", "0.5"]
    assert [rows["branches on kind", "gan"][key] for key in columns] == ["0", "0", "0", ""]
    lines = rows["lines of code", "pipeline/train.py"]
    assert [lines[key] for key in columns] == ["12", "1", "-11", "0.08"]
    assert lines["after_tree"] == f"{lines['before_tree']}-dirty"
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "pipeline/train.py" in capsys.readouterr().out


def test_a_trip_counts_functions_files_and_changes_of_file(tmp_path: Path) -> None:
    functions: dict[str, object] = {}
    for name, text in {
        "kernels/a.py": """
            def start():
                [x for x in range(3)]
                helper(), helper(), near(), end()
            def near(): pass
            """,
        "gan/b.py": """
            def helper(): inside()
            def inside(): pass
            """,
        "other/c.py": "def end(): helper()",
    }.items():
        exec(compile(dedent(text), str(tmp_path / name), "exec"), functions)
    start, end = functions["start"], functions["end"]
    with Trace(tmp_path) as whole:
        start()
    assert whole.counts() == {"calls": 8, "files": 2, "changes of file": 3}
    with Trace(tmp_path, end.__code__) as to_the_end:
        start()
    assert to_the_end.ended
    assert to_the_end.counts() == {"calls": 6, "files": 2, "changes of file": 2}
