import importlib.util
import itertools
import os
from pathlib import Path

import pytest

from gan.code import code_digest, code_of, significant

TIMES = itertools.count(10**18, 10**9)
MODULE = '''"""What it is for."""

from gan import two

X = "# no comment"  # but this is one
A = Field(1, description="for readers")


def f():
    """Docstring."""
    return f"{X}#" + """
# within a string
"""
'''


def write(root: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        # However coarse the clock is: versions of a file are told apart by their time.
        os.utime(path, ns=(next(TIMES),) * 2)
    return root


def test_the_files_are_those_that_are_imported_wherever_the_import_stands(tmp_path: Path):
    write(
        tmp_path,
        {
            "gan/__init__.py": "def __getattr__(name):\n    import gan.apart\n",
            "gan/apart.py": "",
            "gan/one.py": "import os, elsewhere\nfrom gan.room import two\n",
            "gan/room/__init__.py": "",
            "gan/room/two.py": "def f():\n    from . import three\n    from ..four import g\n",
            "gan/room/three.py": (
                "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gan.apart\n"
            ),
            "gan/four.py": "import fusedgan_kernels.five",
            "fusedgan_kernels.py": "",
            "kernels/__init__.py": "",
            "kernels/five.py": "",
            "kernels/tuning/some.json": "{}",
            "kernels/notes.txt": "",
            "elsewhere.py": "",
        },
    )
    assert list(code_of("gan.one", tmp_path)) == [
        "gan/__init__.py",
        "gan/four.py",
        "gan/one.py",
        "gan/room/__init__.py",
        "gan/room/three.py",
        "gan/room/two.py",
        "kernels/__init__.py",
        "kernels/five.py",
        "kernels/tuning/some.json",
    ]
    with pytest.raises(ValueError, match=r"there is no module gan\.nothing below"):
        code_of("gan.nothing", tmp_path)


def test_the_kernels_are_where_they_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inside = {
        "__init__.py": "from .one import two\n",
        "one.py": "",
        "tuning/some.json": "{}",
        "build/lib/tuning/some.json": "{}",
    }
    gan = {"gan/__init__.py": "import fusedgan_kernels.one\n"}
    checkout = write(tmp_path / "checkout", gan)
    write(checkout, {"fusedgan_kernels.py": ""})
    write(checkout / "kernels", inside)
    installed = write(tmp_path / "installed", gan)
    write(installed / "fusedgan_kernels", inside)
    write(installed / "kernels", {"__init__.py": "foreign\n"})
    # Into another folder of packages: found as Python finds it.
    apart = write(tmp_path / "apart", gan)
    write(apart / "kernels", {"__init__.py": "foreign\n"})
    spec = importlib.util.spec_from_file_location(
        "fusedgan_kernels", installed / "fusedgan_kernels/__init__.py"
    )
    monkeypatch.setattr(importlib.util, "find_spec", {"fusedgan_kernels": spec}.get)
    found = code_of("gan", checkout)
    assert list(found) == [
        "gan/__init__.py", "kernels/__init__.py", "kernels/one.py", "kernels/tuning/some.json",
    ]  # fmt: skip
    assert found == code_of("gan", installed) == code_of("gan", apart)


def test_of_a_package_that_looks_up_its_own_modules_all_count(tmp_path: Path):
    lookup = 'import_module(f"{__name__}.{kind}")\n'
    write(tmp_path, {"gan/__init__.py": lookup, "gan/a.py": "", "gan/b.py": "import gan.c.d"})
    write(tmp_path, {"gan/c/__init__.py": "", "gan/c/d.py": "", "gan/c/e.py": ""})
    found = list(code_of("gan", tmp_path))
    assert found == ["gan/__init__.py", "gan/a.py", "gan/b.py", "gan/c/__init__.py", "gan/c/d.py"]
    write(tmp_path, {"gan/__init__.py": "import_module(name)\n"})
    assert list(code_of("gan", tmp_path)) == ["gan/__init__.py"]


def test_what_is_for_readers_alone_is_left_out():
    left = significant(MODULE.encode()).decode()
    assert [line.strip() for line in left.splitlines()] == [
        "from gan import two",
        'X = "# no comment"',
        "A = Field(1, description=)",
        "def f():",
        'return f"{X}#" + """',
        "# within a string",
        '"""',
        'return f"{X}#" + """',  # the text once more, with its white space
        "# within a string",
        '"""',
    ]


def test_the_digest_follows_what_is_executed(tmp_path: Path):
    write(tmp_path, {"gan/__init__.py": "", "gan/one.py": MODULE, "gan/two.py": "x = 1\n"})
    write(tmp_path, {"fusedgan_kernels.py": "", "kernels/__init__.py": ""})
    write(tmp_path, {"gan/three.py": "import fusedgan_kernels.some\n"})

    def digest(*names: str) -> str:
        return code_digest([f"gan.{name}" for name in names], tmp_path)

    before = digest("one")
    assert digest("one") == before
    assert digest("one", "two") == digest("two", "one") == before
    assert digest("two") != before
    edited = MODULE.replace("Docstring", "Other words").replace("but this", "and this")
    write(tmp_path, {"gan/one.py": edited.replace("for readers", "for all")})
    assert digest("one") == before
    write(tmp_path, {"gan/two.py": "x = 2\n"})
    assert digest("one") != before
    # A launch configuration is read when it is first used.
    with_kernels = digest("three")
    write(tmp_path, {"kernels/tuning/some.json": "{}"})
    assert digest("three") != with_kernels


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('x = """a\nb"""', 'x = """a \nb"""'),
        ('x = """a\n\nb"""', 'x = """a\nb"""'),
        ('x = f"""a\n{y}"""', 'x = f"""a\n\n{y}"""'),
        ('x = "# a"', 'x = "# b"'),
        ('x = f"{y}# a"', 'x = f"{y}# b"'),
        ("x = 'é# a'  # c", "x = 'é# b'  # c"),
    ],
)
def test_white_space_and_hashes_within_a_text_count(before: str, after: str):
    assert significant(before.encode()) != significant(after.encode())


GOLDEN = """\
x = 1
def f(y):
    raise ValueError(
        f"one {y}: "
        f"two {y!r}"
    )
A = Field(1, description=f\"\"\"of
    {x}\"\"\", ge=0)
B = Field(2, description=Field(description="no")); C = 3
"""


def test_every_version_of_python_finds_the_same():
    """Where the parts of a formatted string stand differs between them."""
    assert significant(GOLDEN.encode()).decode() == (
        "x = 1\n"
        "def f(y):\n"
        "    raise ValueError(\n"
        '        f"one {y}: "\n'
        '        f"two {y!r}"\n'
        "    )\n"
        "A = Field(1, description=, ge=0)\n"
        "B = Field(2, description=); C = 3\n"
        '        f"one {y}: "\n'
        '        f"two {y!r}"'
    )


def test_a_byte_order_mark_moves_nothing():
    with_mark = [significant(f'\ufeffX="#";Y={value}'.encode()) for value in (1, 2)]
    assert with_mark == [b'X="#";Y=1', b'X="#";Y=2']
