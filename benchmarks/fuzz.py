"""Every reader on changed files: what becomes of them?

    python -m benchmarks.fuzz [--inputs 200000] [--jobs 2] [--reader NAME …] [--seed 0]
                              [--out benchmarks/results/cpu/fuzz.csv] [--write-smallest DIR]

Small sound files of every kind are changed, by mutators that know the format and put lengths and
checksums right again, or byte by byte, and read. Each should be accepted, and then be something
valid, or be refused by a `UserError` whose message can be shown. All else is a failure:

    raw     another exception, or a message that clears the terminal or has no end
    wrong   accepted, but weights or values are not finite, or shapes are not what was said
    hang    more than 5 s of the processor, or 30 s of waiting
    crash   the end of the process, for lack of memory for example

The same seed tries the same inputs. Exit status 1 where anything failed. The limits are those of
Linux.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fuzzing import own, sets, sources
from benchmarks.fuzzing.inputs import Files, Reader, changed, sound, write
from benchmarks.fuzzing.limits import FAILURES, Limits, Outcome, outcomes
from gan.files import write_bytes

READERS = {reader.name: reader for reader in (*own.READERS, *sources.READERS, *sets.READERS)}
OUT = Path("benchmarks/results/cpu/fuzz.csv")
COLUMNS = ("inputs", "accepted", "refused", *FAILURES)


@dataclass
class Tried:
    """What became of the inputs of one reader."""

    counts: Counter[str] = field(default_factory=Counter)
    # By what failed and where: how often, and the smallest input.
    failures: dict[tuple[str, str], tuple[int, Files]] = field(default_factory=dict)
    seconds: float = 0.0

    def row(self) -> dict[str, int]:
        """The numbers of the table."""
        return {"inputs": self.counts.total(), **{name: self.counts[name] for name in COLUMNS[1:]}}


def tried(
    reader: Reader, inputs: int, *, seed: int, limits: Limits | None = None, jobs: int = 1
) -> Tried:
    """Try `inputs` inputs of `reader`.

    Raises:
        RuntimeError: it does not accept what is sound, so that trying others says nothing.
    """
    found = Tried()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        seeds = sound(reader, Path(scratch))
    numbers = range(-len(seeds), inputs)  # the sound ones first
    for outcome in outcomes(
        reader, seeds, numbers, seed=seed, limits=limits or Limits(), jobs=jobs
    ):
        if outcome.number < 0:
            if outcome.what != "accepted":
                detail = outcome.detail or "by a message"
                raise RuntimeError(f"{reader.name}: a sound input is {outcome.what}: {detail}")
            continue
        found.counts[outcome.what] += 1
        if outcome.what in FAILURES:
            _keep(found, outcome, changed(reader, seeds, seed, outcome.number))
    found.seconds = time.perf_counter() - started
    return found


def _keep(found: Tried, outcome: Outcome, files: Files) -> None:
    key = (outcome.what, outcome.detail)
    count, smallest = found.failures.get(key, (0, files))
    found.failures[key] = (count + 1, min(files, smallest, key=_size))


def _size(files: Files) -> int:
    return sum(map(len, files.values()))


def shares(readers: Sequence[Reader], inputs: int) -> list[int]:
    """How many of all inputs each reader gets: at least one, and about `inputs` together."""
    total = sum(reader.share for reader in readers)
    return [max(1, round(inputs * reader.share / total)) for reader in readers]


def as_csv(table: dict[str, Tried]) -> bytes:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["reader", *COLUMNS], lineterminator="\n")
    writer.writeheader()
    for name, each in table.items():
        writer.writerow({"reader": name, **each.row()})
    return text.getvalue().encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns 1 where anything failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inputs", type=int, default=200_000, help="of all readers together")
    parser.add_argument("--reader", action="append", choices=READERS, metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--write-smallest", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    chosen = [READERS[name] for name in options.reader or READERS]
    table: dict[str, Tried] = {}
    print(f"{'':18}" + "".join(f"{name:>10}" for name in (*COLUMNS, "a second")))
    for reader, inputs in zip(chosen, shares(chosen, options.inputs), strict=True):
        found = table[reader.name] = tried(reader, inputs, seed=options.seed, jobs=options.jobs)
        numbers = [*found.row().values(), round(inputs / found.seconds)]
        print(f"{reader.name:18}" + "".join(f"{each:>10}" for each in numbers), flush=True)
        for (what, detail), (count, files) in sorted(found.failures.items()):
            print(f"    {count:6} {what}: {detail} (smallest: {_size(files)} bytes)", flush=True)
    if options.write_smallest is not None:
        for name, found in table.items():
            for number, ((what, detail), (_, files)) in enumerate(sorted(found.failures.items())):
                folder = options.write_smallest / f"{name} {number} {what}".replace(" ", "-")
                write(files, folder / "input")
                (folder / "found.txt").write_text(f"{what}: {detail}\n")
    write_bytes(options.out, as_csv(table))
    failed = sum(each.counts[what] for each in table.values() for what in FAILURES)
    seconds = sum(each.seconds for each in table.values())
    total = sum(each.counts.total() for each in table.values())
    print(f"{total} inputs in {seconds:.0f} s, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
