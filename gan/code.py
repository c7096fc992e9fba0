"""What of the project's source determines a result: the key of a stage, and of a run's state.

A program depends on the modules that it imports, wherever the import stands, and of each on what
is executed: comments, docstrings and the descriptions of parameters are left out, so that an edit
of these changes no key (that of a comment between the parts of one text does). Everything is read
from the files as text and nothing is imported, so that the answer is the same on every version of
Python.

What is found by name counts where a package looks up its own modules,
`import_module(f"{__name__}.{name}")`: then all of them. What is imported by a name that stands
elsewhere does not count. A package's `__getattr__` is for other programs and does not count either.

Files are named as in a checkout, `gan/code.py`, wherever the packages are installed.
"""

from __future__ import annotations

import ast
import codecs
import functools
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gan", "kernels", "pipeline")
# The folder `kernels` is imported and installed by the name of its wheel.
KERNELS, KERNELS_WHEEL = "kernels", "fusedgan_kernels"
# Not modules, but read by a package's own: launch configurations of GPUs.
DATA_PATTERN = "*.json"

# Of a part of a source: where it begins and where it ends, each as line and byte.
_Place = tuple[tuple[int, int], tuple[int, int]]


def code_of(module: str, root: Path = ROOT) -> dict[str, str]:
    """The files that the program `module` depends on, and a digest of what counts of each.

    Args:
        module: as `python -m` takes it, `pipeline.train` for example.
        root: folder of the packages. The kernels may be installed elsewhere.

    Raises:
        ValueError: there is no such module.
    """
    start = _file(module, root)
    if start is None:
        raise ValueError(f"there is no module {module} below {root}")
    todo, found = [start], dict[str, str]()
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found[name], imported = _read(name, root, _path(name, root).stat().st_mtime_ns)
        todo += imported
    for package in {name.partition("/")[0] for name in found}:
        folder = _path(package, root)
        for file in sorted(folder.rglob(DATA_PATTERN)):
            relative = file.relative_to(folder)
            if relative.parts[0] != "build":  # what setuptools leaves in a checkout
                found[f"{package}/{relative.as_posix()}"] = _digest(file.read_bytes())
    return dict(sorted(found.items()))


def code_digest(modules: Iterable[str], root: Path = ROOT) -> str:
    """One digest for what several programs depend on; see `code_of`."""
    together = {name: value for module in modules for name, value in code_of(module, root).items()}
    return _digest(repr(sorted(together.items())).encode())


@functools.cache  # programs share most of their modules
def _read(name: str, root: Path, modified: int) -> tuple[str, tuple[str, ...]]:
    """The digest of a module as it was `modified`, and the files that it imports."""
    source = _path(name, root).read_bytes()
    tree = ast.parse(source)
    return _digest(significant(source, tree)), tuple(_imports(tree, name, root))


def significant(source: bytes, tree: ast.Module | None = None) -> bytes:
    """`source` without comments, docstrings, descriptions of fields and empty lines.

    Args:
        source: of a module, UTF-8.
        tree: of the same, where it has been parsed already.
    """
    tree = ast.parse(source) if tree is None else tree
    lines = source.removeprefix(codecs.BOM_UTF8).splitlines()
    strings: dict[int, list[tuple[int, int]]] = {}  # by line: where text stands, in bytes
    long_strings: list[_Place] = []
    left_out: list[_Place] = []
    for node in _with_whole_strings(tree):
        if isinstance(node, ast.JoinedStr | ast.Constant):
            place = _place(node)
            (first, start), (last, end) = place
            for number in range(first, last + 1):
                left = start if number == first else 0
                right = end if number == last else len(lines[number - 1])
                strings.setdefault(number, []).append((left, right))
            if last > first:
                long_strings.append(place)
        left_out += map(_place, _of_no_effect(node))
    kept = [_without_comment(line, strings.get(number, [])) for number, line in enumerate(lines, 1)]
    # From the end, so that places before stay where they are.
    for (first, start), (last, end) in sorted(_outermost(left_out), reverse=True):
        tail = kept[last - 1][end:]
        kept[first - 1 : last] = [kept[first - 1][:start] + tail] + [b""] * (last - first)
    code = [line.rstrip() for line in kept if line.strip()]
    # White space at the end of a line, and empty lines, are something within a text.
    exact = [
        b"\n".join([*lines[first - 1 : last - 1], lines[last - 1][:end]])
        for (first, start), (last, end) in long_strings
        if not any(_within(((first, start), (last, end)), part) for part in left_out)
    ]
    return b"\n".join([*code, *exact])


def _with_whole_strings(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes in a fixed order, but those within a formatted string.

    Where these stand differs between versions of Python.
    """
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.JoinedStr):
            todo += ast.iter_child_nodes(node)


def _place(node: ast.expr) -> _Place:
    """Where an expression begins and ends: line, from 1, and byte."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _within(place: _Place, other: _Place) -> bool:
    return other[0] <= place[0] and place[1] <= other[1]


def _outermost(places: list[_Place]) -> list[_Place]:
    """Those that lie within no other."""
    return [
        place
        for place in set(places)
        if not any(_within(place, other) for other in places if other != place)
    ]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _of_no_effect(node: ast.AST) -> Iterator[ast.expr]:
    """What below `node` is for readers alone: its docstring, or the description of a field."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and _is_text(first.value):
            yield first.value
    elif isinstance(node, ast.Call) and _called(node) == "Field":
        for keyword in node.keywords:
            if keyword.arg == "description":
                yield keyword.value


def _without_comment(line: bytes, strings: list[tuple[int, int]]) -> bytes:
    place = line.find(b"#")
    while place >= 0:
        if not any(first <= place < last for first, last in strings):
            return line[:place]
        place = line.find(b"#", place + 1)
    return line


def _imports(tree: ast.Module, file: str, root: Path) -> Iterator[str]:
    """Files of the project's modules that a module imports."""
    package = PurePosixPath(file).parent.parts  # of a module as of a package's __init__
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and _looks_up_its_own(node):
            folder = _path("/".join(package), root)
            beside = sorted([*folder.glob("*.py"), *folder.glob("*/__init__.py")])
            yield from ("/".join((*package, *path.relative_to(folder).parts)) for path in beside)
            continue
        else:
            continue
        for name in names:
            # Importing a.b imports a as well.
            for depth in range(name.count(".") + 1):
                found = _file(name.rsplit(".", depth)[0], root)
                if found is not None:
                    yield found


def _executed(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes but those of blocks that do not run when a stage does."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if (
            isinstance(node, ast.If)
            and isinstance(node.test, ast.Name)
            and node.test.id == "TYPE_CHECKING"
        ):
            todo += node.orelse
            continue
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__" and node in tree.body:
            continue
        yield node
        todo += ast.iter_child_nodes(node)


def _looks_up_its_own(call: ast.Call) -> bool:
    """Whether a call is `import_module(f"{__name__}.…")`."""
    return (
        _called(call) == "import_module"
        and bool(call.args)
        and isinstance(call.args[0], ast.JoinedStr)
        and isinstance(call.args[0].values[0], ast.FormattedValue)
        and isinstance(call.args[0].values[0].value, ast.Name)
        and call.args[0].values[0].value.id == "__name__"
    )


def _called(call: ast.Call) -> str:
    """The last part of the name of what is called, or nothing."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _file(module: str, root: Path) -> str | None:
    """The file of a module of ours, as in a checkout: `gan/code.py`."""
    package, *rest = module.split(".")
    package = KERNELS if package == KERNELS_WHEEL else package
    if package not in PACKAGES:
        return None
    base = "/".join((package, *rest))
    for candidate in (f"{base}/__init__.py", f"{base}.py"):
        if _path(candidate, root).is_file():
            return candidate
    return None


def _path(name: str, root: Path) -> Path:
    """Where a file or folder is that a checkout has at `name`."""
    package, *rest = name.split("/")
    folder = _kernels(root) if package == KERNELS else root / package
    return folder.joinpath(*rest)


def _kernels(root: Path) -> Path:
    """The folder of the kernels: in a checkout beside the others, else where they are installed."""
    if (root / f"{KERNELS_WHEEL}.py").is_file():
        return root / KERNELS
    if (root / KERNELS_WHEEL).is_dir():
        return root / KERNELS_WHEEL
    # In another folder of packages, or installed as editable.
    spec = importlib.util.find_spec(KERNELS_WHEEL)
    return root / KERNELS_WHEEL if spec is None or spec.origin is None else Path(spec.origin).parent


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
