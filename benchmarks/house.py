"""The structure of a checkout in numbers, to compare a tree before and after it is rearranged.

    python -m benchmarks.house [--root .] [--before REVISION] [--figure house.png] [--verbose]

Reads a tree without importing it, so that it may be arranged in any way, and counts:

- rooms of `gan/`, `kernels/` and `pipeline/`: files and folders with Python directly in the
  package, `__init__` and `__main__` left out; arrows: pairs of rooms of which one imports the
  other, anywhere in a module; circles: groups of rooms that all reach each other; floors: the
  longest chain of imports, where a circle counts as one. Imports under `if TYPE_CHECKING` count,
  and are told apart;
- branches on the kind of data: comparisons, membership, isinstance and truth tests in the
  conditions of `if`, ternaries, `match`, comprehensions and `assert` that look at one of `WATCHED`,
  or at `model.name == "classifier"`. Names decide, not types;
- dependencies in `dvc.yaml`, and how many of them are code;
- lines of every stage, without blank ones, comments and docstrings;
- trips, see `benchmarks.house_trips`: functions called from a call to the launch of a kernel, in a
  process of their own. `--no-trips` leaves them out.

`--before` measures a revision too, and prints both beside each other; `--figure` draws the floors
of `gan/`.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.house_figure import draw
from benchmarks.house_plan import Numbers, called, plan
from benchmarks.report import RESULTS, print_table, write_csv

PACKAGES = ("gan", "kernels", "pipeline")
WATCHED = frozenset(
    ("kind", "alphabet", "labels", "label_names", "is_text", "colours", "characters", "ndim", "toy")
)
CLASSIFIER = "classifier"
TOP = 8  # files with the most branches that `--verbose` lists
NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip
TRIPS = Path(__file__).with_name("house_trips.py")
TRIPS_SECONDS = 300
TRIPS_ENVIRONMENT = {
    "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


# --- branches ----------------------------------------------------------------------------------


def branches(file: Path) -> int:
    """Tests of a module that look at the kind of the data, each counted once."""
    tests: set[int] = set()
    cases = 0
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.If | ast.IfExp | ast.Assert):
            tests |= set(map(id, tests_in(node.test)))
        elif isinstance(node, ast.comprehension):
            tests |= {id(test) for condition in node.ifs for test in tests_in(condition)}
        elif isinstance(node, ast.match_case) and node.guard is not None:
            tests |= set(map(id, tests_in(node.guard)))
        elif isinstance(node, ast.Match):
            cases += sum(decides(node.subject, case.pattern) for case in node.cases)
    return len(tests) + cases


def tests_in(condition: ast.expr) -> Iterator[ast.AST]:
    """The parts of a condition that look at the kind of the data."""
    for node in ast.walk(condition):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(watched, sides)) or (any(map(is_model_name, sides)) and says(node)):
                yield node
        elif is_isinstance(node):
            yield node
    yield from filter(watched, truths(condition))


def truths(condition: ast.expr) -> Iterator[ast.expr]:
    """What a condition joins by `and`, `or` and `not`."""
    if isinstance(condition, ast.BoolOp):
        for each in condition.values:
            yield from truths(each)
    elif isinstance(condition, ast.UnaryOp) and isinstance(condition.op, ast.Not):
        yield from truths(condition.operand)
    else:
        yield condition


def decides(subject: ast.expr, pattern: ast.pattern) -> bool:
    """Whether a case of a `match` is a branch on the kind of the data."""
    anything = isinstance(pattern, ast.MatchAs) and pattern.pattern is None
    return not anything and (watched(subject) or (is_model_name(subject) and says(pattern)))


def watched(node: ast.expr) -> bool:
    """Whether an expression is a name or an attribute of `WATCHED`, or a call of one."""
    if isinstance(node, ast.NamedExpr):
        return watched(node.target) or watched(node.value)
    return called(node.func if isinstance(node, ast.Call) else node) in WATCHED


def is_isinstance(node: ast.AST) -> bool:
    """Whether it asks for the type of something watched."""
    if not isinstance(node, ast.Call) or called(node.func) != "isinstance":
        return False
    return any(map(watched, node.args[:1]))


def is_model_name(node: ast.expr) -> bool:
    """Whether it is `model.name`, of whatever."""
    return isinstance(node, ast.Attribute) and node.attr == "name" and called(node.value) == "model"


def says(node: ast.AST) -> bool:
    """Whether "classifier" stands in it."""
    return any(
        isinstance(each, ast.Constant) and each.value == CLASSIFIER for each in ast.walk(node)
    )


# --- stages ------------------------------------------------------------------------------------


def stages(root: Path) -> dict[str, Any]:
    """The stages of `dvc.yaml`, none where there is no such file."""
    file = root / "dvc.yaml"
    return YAML(typ="safe").load(file.read_text())["stages"] if file.is_file() else {}


def dependencies(root: Path) -> Numbers:
    """Lines of `deps`, of all stages together."""
    lines = [
        dependency if isinstance(dependency, str) else next(iter(dependency))
        for stage in stages(root).values()
        for dependency in stage.get("deps", [])
    ]
    code = sum(line.partition("/")[0] in PACKAGES for line in lines)
    return {("dvc.yaml", "deps"): len(lines), ("dvc.yaml", "deps that are code"): code}


def stage_files(root: Path) -> list[Path]:
    """The modules of pipeline/ that the commands of `dvc.yaml` run."""
    commands = "\n".join(str(stage.get("cmd", "")) for stage in stages(root).values())
    names = re.findall(r"-m pipeline\.([\w.]+)|\bpipeline/([\w/]+)\.py\b", commands)
    paths = {(module.replace(".", "/") or path) for module, path in names}
    files = (root / "pipeline" / f"{path}.py" for path in sorted(paths))
    return [file for file in files if file.is_file()]


def code_lines(file: Path) -> int:
    """Lines of a module without blank ones, comments and docstrings."""
    source = file.read_text()
    text = source.splitlines()
    docstrings = {
        (first.lineno, first.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node) is not None
        and (first := node.body[0])
    }
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in NO_CODE and token.start not in docstrings
        for line in range(token.start[0], token.end[0] + 1)
    }
    return sum(bool(text[line - 1].strip()) for line in lines)


# --- all of it ---------------------------------------------------------------------------------


def structure(root: Path) -> Numbers:
    """What is read from the files of a tree."""
    found: Numbers = {}
    for package in PACKAGES:
        found |= plan(root, package).numbers(package)
    by_file = branches_by_file(root)
    for package in PACKAGES:
        inside = (count for file, count in by_file.items() if file.parts[0] == package)
        found["branches on kind", package] = sum(inside)
    files = stage_files(root)
    in_stages = sum(by_file[file.relative_to(root)] for file in files)
    found["branches on kind", "pipeline's stages"] = in_stages
    found |= dependencies(root)
    for file in files:
        found["lines of code", file.relative_to(root).as_posix()] = code_lines(file)
    return found


def branches_by_file(root: Path) -> Counter[Path]:
    """Module to its branches on the kind of data."""
    files = (file for package in PACKAGES for file in sorted((root / package).rglob("*.py")))
    return Counter({file.relative_to(root): branches(file) for file in files})


def trips(root: Path) -> Numbers:
    """What `benchmarks.house_trips` counts in a process whose folder is the tree."""
    unset = ("PYTHONPATH", "FUSEDGAN_IMPL")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    # By its text: the folder of a script would come before the tree on Python's path.
    process = subprocess.run(
        [sys.executable, "-c", TRIPS.read_text()], cwd=root, capture_output=True, text=True,
        env={**environment, **TRIPS_ENVIRONMENT}, timeout=TRIPS_SECONDS,
    )  # fmt: skip
    if process.returncode != 0:
        print(f"{root}: no trips: {process.stderr.strip().splitlines()[-1]}")
        return {}
    found: Numbers = {}
    for trip, counts in json.loads(process.stdout.splitlines()[-1]).items():
        if "note" in counts:
            print(f"{root}: no trip of {trip}: {counts['note']}")
            continue
        found |= {(f"trip of {trip}", figure): count for figure, count in counts.items()}
    return found


def check_out(root: Path, revision: str, folder: Path) -> None:
    """Write the files of a revision of the repository of `root` into `folder`.

    Raises:
        subprocess.CalledProcessError: there is no such revision.
    """
    archive = subprocess.run(
        ["git", "-C", str(root), "archive", "--format=tar", revision],
        check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


def commit(root: Path, *arguments: str) -> str:
    """The commit that `git describe` finds; the folder's name where there is none."""
    command = ["git", "-C", str(root), "describe", "--always", "--exclude=*", *arguments]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or root.name


def compared(before: Numbers, after: Numbers) -> list[dict[str, object]]:
    """One row a figure; a tree that does not have it, a stage say, has no number there."""
    rows = []
    for key in dict.fromkeys([*after, *before]):
        row: dict[str, object] = {"of": key[0], "figure": key[1]}
        old, new = before.get(key), after.get(key)
        row |= {} if old is None else {"before": old}
        row |= {} if new is None else {"after": new}
        if old is not None and new is not None:
            row |= {"difference": new - old, **({"ratio": round(new / old, 2)} if old else {})}
        rows.append(row)
    return rows


def measure(root: Path, options: argparse.Namespace) -> Numbers:
    """All numbers of a tree; prints the files with the most branches if asked to."""
    if options.verbose:
        top = branches_by_file(root).most_common(TOP)
        print_table([{"file": str(file), "branches": count} for file, count in top])
    return structure(root) | (trips(root) if options.trips else {})


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.house",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the tree to measure")
    parser.add_argument("--before", metavar="REVISION", help="of the same repository, to compare")
    parser.add_argument("--output", type=Path, default=RESULTS / "house.csv", help="the CSV file")
    parser.add_argument("--figure", type=Path, help="a PNG of the floors of gan/")
    parser.add_argument("--no-trips", dest="trips", action="store_false", help="run nothing")
    parser.add_argument("--verbose", action="store_true", help="files with the most branches, too")
    options = parser.parse_args(arguments)

    root = options.root.resolve()
    name = commit(root, "--dirty")
    numbers = measure(root, options)
    houses = {name: plan(root, "gan")}
    trees = {"tree": name}
    if options.before is None:
        rows = [{"of": key[0], "figure": key[1], "count": n} for key, n in numbers.items()]
    else:
        with tempfile.TemporaryDirectory() as folder:
            earlier = Path(folder).resolve()
            check_out(root, options.before, earlier)
            before = commit(root, options.before)
            rows = compared(measure(earlier, options), numbers)
            houses = {f"before: {before}": plan(earlier, "gan"), f"after: {name}": houses[name]}
        trees = {"before_tree": before, "after_tree": name}
    print(trees)
    print_table(rows)
    write_csv(options.output, [{**row, **trees} for row in rows])
    if options.figure is not None:
        draw(houses, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
