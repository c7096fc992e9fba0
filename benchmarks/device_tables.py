"""What `python -m benchmarks.device` measured, as tables of the documents and tuned entries.

    python -m benchmarks.device_tables [DIR] [--write]

Prints Markdown tables of the results in a folder; without one, or where a step has not run, they
say "not measured on a GPU". With `--write` they go into `benchmarks/NOTES.md`, the CSV files to
`benchmarks/results/<gpu>/`, and verified entries of the tuner's table into `kernels/tuning/`.
Results of a machine without a GPU are printed, and never written.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.conv_transpose_model import prediction
from benchmarks.device_steps import STEPS
from benchmarks.device_steps.results import (
    RUN,
    SPEED,
    STATUS,
    TABLES,
    TUNING,
    ResultsError,
    Row,
    described,
    read_rows,
    read_status,
)
from benchmarks.report import RESULTS
from gan.files import write_bytes
from kernels.conv_transpose import tiles
from kernels.conv_transpose.tiles import TuningEntry
from kernels.tune import BATCHES, LAYERS, merged, problems, write_table

ROOT = Path(__file__).resolve().parent.parent
NOTES = ROOT / "benchmarks" / "NOTES.md"
TUNED = ROOT / "kernels" / "tuning"
MISSING = "not measured on a GPU"
ARCHITECTURE = 90  # of the predictions

# Rows that a table has whether they were measured or not.
ROOFS = (
    "product bf16",
    "product tf32",
    "product fp32",
    "copy beside bf16",
    *(f"reads of {mib} MiB" for mib in (8, 16, 24, 32, 48)),
    "operator from Python",
    "Triton's launch from Python, with an allocation",
    "graph of one launch",
    "launch within a graph",
)
SIDES = (
    "textbook",
    "textbook bf16 channels_last max-autotune",
    "ours fp32",
    "ours bf16",
    "ours bf16, one graph a round",
    "ours bf16, torch.compile and a graph",
)
STEP_BATCHES = ("64", "128", "512")
Found = Mapping[str, Sequence[Row]]


def roofs(rows: Found) -> str:
    """Roofs of the machine."""
    measured = {row["case"]: row for row in rows[SPEED] if row["step"] == "roofs"}
    cases = dict.fromkeys([*ROOFS, *measured])
    return _table(
        ("roof", "measured"),
        (
            (
                case,
                f"{found['value']} {found['unit']}" if (found := measured.get(case)) else MISSING,
            )
            for case in cases
        ),
    )


def products(rows: Found) -> str:
    """The k4 s2 p1 products in bf16, beside what `conv_transpose_model` gives the rule's."""
    measured = {row["case"]: row for row in rows[TUNING] if row["precision"] == "bf16"}
    lines = []
    for problem in problems(LAYERS, BATCHES, ["bf16"]):
        op, precision, b, a, side, batch, epilogue = problem
        case = f"{op} {precision} {b}<>{a} {side} {batch} {epilogue}"
        found = measured.pop(case, None)
        config = problem.config(ARCHITECTURE)
        entry = TuningEntry(op, precision, b, a, problem.positions, config, False, None, None)
        expected = prediction(entry)["predicted_us"]
        lines.append((op, f"{b} and {a}", side, batch, epilogue, expected, *_timed(found)))
    for row in measured.values():  # of other layers
        about = (row["op"], f"{row['b']} and {row['a']}", row["side"], row["batch"])
        lines.append((*about, row["epilogue"], "", *_timed(row)))
    return _table(
        (
            "product",
            "channels",
            "side",
            "batch",
            "with",
            "predicted µs",
            "ours µs",
            "cuDNN µs",
            "×",
        ),
        lines,
    )


def _timed(row: Row | None) -> tuple[str, str, str]:
    if row is None:
        return MISSING, "", ""
    return row["ours_us"], row["other_us"], row.get("ratio", "")


def training(rows: Found) -> str:
    """The training step."""
    measured = [row for row in rows[SPEED] if row["step"] == "training"]
    batches = list(dict.fromkeys([*STEP_BATCHES, *(row["batch"] for row in measured)]))
    if measured:
        batches = [each for each in batches if any(row["batch"] == each for row in measured)]

    def cell(name: str, batch: str) -> str:
        found = [row for row in measured if (row["side"], row["batch"]) == (name, batch)]
        timed = [row for row in found if "step_ms" in row]
        if timed:  # the first: of the group in which all are that need no compilation
            return f"{timed[0]['step_ms']} ms, {timed[0]['over_textbook']}×"
        return found[0]["note"] if found else MISSING

    return _table(
        ("side", *(f"batch {batch}" for batch in batches)),
        ((name, *(cell(name, batch) for batch in batches)) for name in SIDES),
    )


def generator(rows: Found) -> str:
    """Blocks and the generator: ours, and the others' time over it."""
    measured = [row for row in rows[SPEED] if row["step"] == "generator"]
    sides = [side for side in _unique(row["side"] for row in measured) if side != "ours"]
    lines = []
    for case, direction in dict.fromkeys((row["case"], row["direction"]) for row in measured):
        here = {
            row["side"]: row
            for row in measured
            if (row["case"], row["direction"]) == (case, direction)
        }
        ours = here["ours"].get("replay_us") or here["ours"]["call_us"]
        over = [_over(here.get(side, {})) for side in sides]
        lines.append((case, direction, ours, *over))
    if not lines:
        sides = ["channels_last", "compile"]
        for what, direction in (("block", "forward"), ("generator", "forward+backward")):
            lines.append((what, direction, MISSING, "", ""))
    return _table(("what", "direction", "ours µs", *(f"{side} over ours" for side in sides)), lines)


def _over(row: Row) -> str:
    found: str = row.get("over_ours_replay") or row.get("over_ours_call") or ""
    return found


def losses(rows: Found) -> str:
    """Losses: launches and times, eager and compiled over ours."""
    measured = [row for row in rows[SPEED] if row["step"] == "losses"]
    keys = ("loss", "logits", "pass", "timing")
    lines = []
    for key in dict.fromkeys(tuple(row[name] for name in keys) for row in measured):
        here = {row["side"]: row for row in measured if tuple(row[k] for k in keys) == key}
        others = [here[side]["vs_ours"] if side in here else "" for side in ("eager", "compile")]
        ours = here["ours"]
        lines.append((*key, ours.get("launches", ""), ours["microseconds"], *others))
    if not lines:
        lines = [("D gan nowozin", 64, "forward+backward", "graph", MISSING, "", "", "")]
    head = (*keys, "launches", "ours µs", "eager over ours", "compile over ours")
    return _table(head, lines)


def sampling(rows: Found) -> str:
    """Sampling with its gradient."""
    measured = [row for row in rows[SPEED] if row["step"] == "sampling"]
    lines: list[tuple[object, ...]] = [
        (
            row["case"], row["side"], row["step_ms"], row["step_over_ours"],
            row["peak_mib"], row["peak_over_ours"],
        )
        for row in measured
    ]  # fmt: skip
    lines = lines or [("16 colours 32x32", "ours", MISSING, "", "", "")]
    return _table(("case", "side", "step ms", "over ours", "peak MiB", "over ours"), lines)


def run(rows: Found) -> str:
    """The whole run."""
    columns = (
        "rounds",
        "resumed_at",
        "seconds_prepare",
        "seconds",
        "seconds_judge",
        "fd",
        "fd_floor",
    )
    lines = [(row["case"], *(row.get(name, "") for name in columns)) for row in rows[RUN]]
    lines = lines or [("digits", MISSING, *("" for _ in columns[1:]))]
    return _table(("data", *columns), lines)


TABLE_OF: dict[str, Callable[[Found], str]] = {
    "roofs": roofs,
    "products": products,
    "training": training,
    "generator": generator,
    "losses": losses,
    "sampling": sampling,
    "run": run,
}


def checks(status: Mapping[str, Row] | None) -> str:
    """What came of every step."""
    lines = []
    for step in STEPS:
        line = (status or {}).get(step.name, {"state": MISSING, "what": ""})
        lines.append((step.name, step.about, line["state"], line["what"]))
    return _table(("step", "what it does", "state", "what came of it"), lines)


def tables(folder: Path | None) -> dict[str, str]:
    """Every table by name, of a folder or of none."""
    status = None if folder is None else read_status(folder / STATUS)
    rows = {name: [] if folder is None else read_rows(folder / name) for name in TABLES}
    on = MISSING
    if status is not None:
        machine = status["machine"]
        versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "triton"))
        on = f"{described(machine)}; {versions}"
    return {
        "machine": f"On: {on}.\n",
        "checks": checks(None if status is None else status["steps"]),
        **{name: make(rows) for name, make in TABLE_OF.items()},
    }


def put_into(text: str, found: Mapping[str, str]) -> str:
    """A document with each of its blocks `<!-- device: NAME -->` … `<!-- / -->` renewed.

    Raises:
        ResultsError: the document has none, or one of no known name.
    """

    def renewed(block: re.Match[str]) -> str:
        if block[1] not in found:
            raise ResultsError(f"there is no table {block[1]!r}; known: {', '.join(found)}")
        return f"<!-- device: {block[1]} -->\n{found[block[1]]}<!-- / -->"

    replaced, count = re.subn(r"<!-- device: (\S+) -->\n.*?<!-- / -->", renewed, text, flags=re.S)
    if count == 0:
        raise ResultsError("the document has no block <!-- device: NAME -->")
    return replaced


def keep_entries(folder: Path, tuned: Path) -> list[Path]:
    """Verified entries of the folder's tables into the tables of `tuned`; which were written."""
    written = []
    for path in sorted(folder.glob("sm_*.json")):
        verified = [row for row in tiles.read_table(path) if row.verified]
        if not verified:
            continue
        target = tuned / path.name
        known = tiles.read_table(target) if target.is_file() else ()
        architecture = int(path.stem.removeprefix("sm_"))
        device = next((row.measurement.device for row in verified if row.measurement), None)
        write_table(target, architecture, device, merged(known, verified))
        written.append(target)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns 2 for a folder that is none of results, or not to be written."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device_tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--notes", type=Path, default=NOTES, help="document (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="of CSVs (%(default)s)")
    parser.add_argument("--tuned", type=Path, default=TUNED, help="of tables (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        found = tables(options.folder)
        if not options.write:
            for name, table in found.items():
                print(f"### {name}\n\n{table}")
            return 0
        _write(options, found)
    except ResultsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _write(options: argparse.Namespace, found: Mapping[str, str]) -> None:
    folder: Path | None = options.folder
    if folder is not None:
        machine = read_status(folder / STATUS)["machine"]
        if "gpu" not in machine:
            raise ResultsError(f"{folder} is of a machine with {described(machine)}: {MISSING}")
        name = re.sub(r"[^a-z0-9]+", "-", machine["gpu"].lower()).strip("-")
        for table in TABLES:
            if (folder / table).is_file():
                target = options.results / name / f"device_{table}"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / table, target)
                print(f"written to {target}")
        for path in keep_entries(folder, options.tuned):
            print(f"written to {path}")
    text = put_into(options.notes.read_text(), found)
    write_bytes(options.notes, text.encode())
    print(f"written to {options.notes}")


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(head), *(list(map(_cell, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
