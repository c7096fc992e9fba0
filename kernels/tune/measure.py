"""The whole of it: a shortlist, compiled in parallel, measured, and the table that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..conv_transpose import tiles
from ..conv_transpose.tiles import Measurement, TileConfig, TuningEntry
from .compilation import compile_all, key_of
from .journal import Journal
from .plan import MOST, SPARE, Problem, candidates
from .table import merged, write_table
from .worker import PATIENCE, Bench, Job, Outcome, outcomes


class Tuning(NamedTuple):
    """What a run came to.

    Attributes:
        entries: the fastest right configuration of each problem that has one.
        left: problems with candidates that are still to be measured.
        hopeless: problems without a right configuration.
    """

    entries: list[TuningEntry]
    left: list[Problem]
    hopeless: list[Problem]


def tune(
    wanted: Sequence[Problem],
    architecture: int,
    make: Callable[[], Bench],
    journal: Journal,
    path: Path,
    *,
    how: str,
    verified: bool,
    compiled_on: str | None,
    quick: bool = False,
    processes: int | None = None,
    deadline: float | None = None,
    patience: float = PATIENCE,
    say: Callable[[str], None] = lambda line: None,
    known: Sequence[TuningEntry] = (),
) -> Tuning:
    """Measure what the journal does not have yet, and write the table after each problem.

    Args:
        wanted: problems, the most important first.
        architecture: compute capability, 90 for 9.0.
        make: makes a bench in a worker process; to be pickled.
        journal: outcomes so far, and where new ones go.
        path: of the table.
        how: what is timed, in words, for its entries.
        verified: whether entries may be taken as such: measured on a GPU of the architecture.
        compiled_on: device to compile on; None where nothing is compiled (interpreted).
        quick: the rule's configuration alone.
        processes: that compile at once.
        deadline: of `time.monotonic`; what it cuts off is `left`.
        patience: seconds that a candidate may take.
        say: is given lines for a person.
        known: entries that the table has beside the measured ones.
    """
    most = MOST if compiled_on is None else MOST + SPARE
    shortlists = {problem: candidates(problem, architecture, quick, most) for problem in wanted}
    cut_off: set[Problem] = set()
    if compiled_on is not None:
        missing = [
            (problem, config)
            for problem, configs in shortlists.items()
            for config in configs
            if (problem, config) not in journal.outcomes
        ]
        keys = {key_of(*each) for each in missing}
        say(f"{len(keys)} candidates to compile")
        codes = compile_all(sorted(keys), architecture, compiled_on, processes, deadline)
        for problem, config in missing:
            code = codes.get(key_of(problem, config))
            if code is None:
                cut_off.add(problem)
            elif code.defect is not None:
                journal.add(Outcome(problem, config, _BY_COMPILER + code.defect))
        spoiled = sum(code.defect is not None for code in codes.values())
        say(f"{len(codes)} compiled, {spoiled} of them put aside")
    jobs: list[Job] = []
    for problem, configs in shortlists.items():
        kept = [each for each in configs if not _spoiled(journal, problem, each)][:MOST]
        new = tuple(each for each in kept if (problem, each) not in journal.outcomes)
        jobs.append((problem, new if problem not in cut_off else ()))
    said = {problem for problem, configs in jobs if not configs} - cut_off

    def write() -> list[TuningEntry]:
        found = [
            entry
            for problem in wanted
            if (entry := _best(problem, shortlists[problem], journal, how, verified)) is not None
        ]
        device = journal.environment["device"]
        write_table(path, architecture, device, merged(known, found))
        tiles.forget_tables()
        return found

    left = {problem: set(configs) for problem, configs in jobs if configs}
    for outcome in outcomes(make, jobs, deadline, patience):
        journal.add(outcome)
        left[outcome.problem].discard(outcome.config)
        if outcome.defect is not None:
            say(f"    put aside {tuple(outcome.config)}: {outcome.defect}")
        if not left[outcome.problem]:
            del left[outcome.problem]
            said.add(outcome.problem)
            write()
            say(_line(outcome.problem, shortlists[outcome.problem], journal, how, verified))
    entries = write()
    complete = [problem for problem in wanted if problem in said]
    right = {problem for problem in complete if _right(problem, shortlists[problem], journal)}
    return Tuning(
        entries,
        [problem for problem in wanted if problem not in said],
        [problem for problem in complete if problem not in right],
    )


# What a compiler said is kept like what a GPU said, and begins so.
_BY_COMPILER = "compiled: "


def _spoiled(journal: Journal, problem: Problem, config: TileConfig) -> bool:
    outcome = journal.outcomes.get((problem, config))
    return (
        outcome is not None
        and outcome.defect is not None
        and outcome.defect.startswith(_BY_COMPILER)
    )


def _right(problem: Problem, configs: Sequence[TileConfig], journal: Journal) -> list[Outcome]:
    """The outcomes with times, the fastest first."""
    found = [journal.outcomes.get((problem, config)) for config in configs]
    timed = [each for each in found if each is not None and each.times is not None]
    return sorted(timed, key=lambda each: each.times.ours if each.times is not None else 0.0)


def _best(
    problem: Problem, configs: Sequence[TileConfig], journal: Journal, how: str, verified: bool
) -> TuningEntry | None:
    """The fastest right configuration of a problem, or None without one."""
    found = _right(problem, configs, journal)
    if not found or found[0].times is None:
        return None
    times = found[0].times
    measurement = Measurement(
        journal.environment["device"],
        journal.environment["versions"],
        how,
        problem.batch,
        problem.side,
        round(1e6 * times.ours, 3),
        round(1e6 * times.other, 3),
    )
    return TuningEntry(
        *problem[:4],
        problem.positions,
        found[0].config,
        verified,
        None,
        round(times.ratio, 3) if verified else None,
        problem.epilogue,
        measurement,
    )


def _line(
    problem: Problem, configs: Sequence[TileConfig], journal: Journal, how: str, verified: bool
) -> str:
    found = _right(problem, configs, journal)
    named = " ".join(map(str, problem))
    if not found or found[0].times is None:
        return f"{named}: no configuration is right; this product stays with torch"
    return f"{named}: {found[0].times.ratio:.2f}× torch with {tuple(found[0].config)}"
