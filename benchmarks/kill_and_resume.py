"""Kill -9 at random moments of every stage, go on, compare: are the outs the same bytes?

    python -m benchmarks.kill_and_resume [--kills 50] [--steps 300] [--seed 0]

Works on copies of the checkout in a temporary folder. One copy runs without interruption. In each
of the others `dvc repro` or, every other time, `dvc exp run` is killed together with all its
children, in this order: in the stages code, prepare, judge and train, twice while the game is
played, twice between the end of training and DVC's commit of what came out, in sample, evaluate and
report, each at a random moment of the time that this took in the first copy. What a kill left
in the way of DVC, `pipeline.mend` mends, as `make` does. In the end it runs without
interruption, and every out of every stage must have the digest that it has in the first copy.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import copy_checkout
from benchmarks.report import TableRow, machine, print_table, results_path, write_csv
from gan.errors import StateError
from pipeline.mend import mend

OUTS = ("data/prepared", "models", "results", "metrics")


@dataclass(frozen=True)
class Workspace:
    """A copy of the checkout with a Git repository and a DVC cache of its own."""

    folder: Path
    # OpenMP threads of the stages; None: as many as they like.
    threads: int | None = None

    @classmethod
    def create(
        cls, folder: Path, settings: Sequence[str] = (), threads: int | None = None
    ) -> Workspace:
        """Copy the checkout's files to `folder`, with the default parameters but for `settings`.

        Args:
            folder: where to; made when it is not there.
            settings: `train.steps=3`, `runtime.workers=0`, …
            threads: OpenMP threads of the stages; None: as many as they like.
        """
        copy_checkout(folder)
        (folder / "dvc.lock").unlink(missing_ok=True)
        workspace = cls(folder, threads)
        # Presets leave the seed to the user, whose it may be in the checkout.
        workspace.python("-m", "pipeline.preset", "digits", "seed=0", *settings)
        workspace.git("init", "--quiet")
        workspace.commit()
        return workspace

    def copy(self, folder: Path) -> Workspace:
        """The same workspace again, elsewhere."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workspace(folder, self.threads)

    def environment(self) -> dict[str, str]:
        """Variables under which the stages use this interpreter and this copy's packages."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            # Of a stage or a commit hook that this may be running in.
            if not name.startswith(("DVC_", "GIT_"))
        }
        threads = {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}
        aside = str(self.folder / ".dvc" / "tmp" / "aside")
        return {
            **inherited,
            **threads,
            "VIRTUAL_ENV": sys.prefix,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(self.folder),
            # DVC runs a stage in the user's shell; in the plainest one, whoever the user is.
            "SHELL": "/bin/sh",
            # Neither the user's configuration of DVC nor anything left outside the workspace.
            "DVC_SITE_CACHE_DIR": aside,
            "DVC_GLOBAL_CONFIG_DIR": aside,
            "DVC_SYSTEM_CONFIG_DIR": aside,
        }

    def python(self, *arguments: str) -> None:
        """Run Python in the workspace; raises when it fails."""
        subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment(),
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def git(self, *arguments: str) -> str:
        """Run Git in the workspace and return what it printed; raises when it fails."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=self.environment(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    def commit(self) -> None:
        """Commit everything that Git does not ignore."""
        self.git("add", "--all")
        author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        self.git(*author, "-c", "commit.gpgsign=false", "commit", "--quiet", "-mx")

    def try_dvc(self, *arguments: str) -> tuple[int, str]:
        """Run DVC in the workspace. Returns its exit status and what it and the stages printed."""
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def dvc(self, *arguments: str) -> str:
        """As `try_dvc`, but raises with what was printed when it fails."""
        status, output = self.try_dvc(*arguments)
        if status:
            raise RuntimeError(f"dvc {' '.join(arguments)} failed:\n{output}")
        return output

    def checkpoints(self) -> list[str]:
        """Names of the checkpoints there are."""
        return sorted(path.name for path in (self.folder / ".state").glob("*/step-*.pt"))

    def kill_during_training(
        self, arguments: Sequence[str], delay: float, number: int = signal.SIGKILL
    ) -> tuple[bool, str]:
        """As `kill_when`, of the moment when training began.

        That is when it holds a checkpoint that was not there before.
        """
        before = self.checkpoints()
        return self.kill_when(arguments, lambda said: self.checkpoints() != before, delay, number)

    def kill_when(
        self,
        arguments: Sequence[str],
        moment: Callable[[str], bool],
        delay: float = 0.0,
        number: int = signal.SIGKILL,
    ) -> tuple[bool, str]:
        """Run DVC, and signal it and its children `delay` seconds after a moment.

        Args:
            arguments: of DVC.
            moment: whether it has come, from what was printed so far.
            delay: in seconds.
            number: of the signal.

        Returns:
            Whether it was killed (False when it was done before), and what was printed.
        """
        with tempfile.NamedTemporaryFile("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "dvc", *arguments],
                cwd=self.folder,
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            said = Path(output.name)
            while process.poll() is None and not moment(said.read_text(errors="replace")):
                time.sleep(0.01)
            killed = False
            try:
                process.wait(timeout=delay)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, number)
                killed = True
                process.wait()
            return killed, said.read_text(errors="replace")

    def mend(self) -> list[str]:
        """What `pipeline.mend` had to mend, once the last processes that were killed are gone."""
        for _ in range(50):
            try:
                return mend(self.folder)
            except StateError:
                time.sleep(0.1)
        return mend(self.folder)

    def digests(self) -> dict[str, str]:
        """SHA-256 of every out, by path."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for out in OUTS
            for path in sorted((self.folder / out).rglob("*"))
            if path.is_file() and path.name != ".gitignore"
        }


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Paths whose digests differ, or that only one side has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def began(stage: str) -> Callable[[str], bool]:
    """A moment for `Workspace.kill_when`: DVC runs `stage`."""
    return lambda said: f"Running stage '{stage}'" in said


# Networks and samples with which a stage takes little longer than its start.
SMALL = (
    "data.size=8",
    "judge.width=4",
    "judge.features=8",
    "judge.images_seen=2000",
    "model.latent_size=4",
    "model.generator_width=4",
    "model.discriminator_width=4",
    "train.batch_size=16",
    "train.record_every=70",
    "train.sample_every=50",
    "sample.count=1000",
    "evaluate.precision_images=1000",
    "evaluate.kid_subsets=10",
    "evaluate.memorisation_images=200",
    "runtime.device=cpu",
    "runtime.workers=0",
)
# Where a run is killed, one after the other: a stage, or of train the time from its first
# checkpoint on, and the window before DVC commits what came out.
PLAYING, WINDOW = "playing", "before commit"
# Not `source`, which runs once in a copy, before `code` or after.
PLACES = (
    "code", "prepare", "judge", "train", PLAYING, PLAYING, WINDOW, WINDOW,
    "sample", "evaluate", "report",
)  # fmt: skip
STAGES = tuple(dict.fromkeys(place for place in PLACES if place not in (PLAYING, WINDOW)))


def durations(workspace: Workspace) -> dict[str, float]:
    """Run everything without interruption; the seconds of every place of `PLACES`."""
    at: dict[str, float] = {}
    published = workspace.folder / "metrics" / "train.json"
    published.unlink(missing_ok=True)

    def watch(said: str) -> bool:
        for stage in STAGES:
            if began(stage)(said):
                at.setdefault(stage, time.monotonic())
        if workspace.checkpoints():
            at.setdefault(PLAYING, time.monotonic())
        if published.exists():
            at.setdefault(WINDOW, time.monotonic())
        return False

    _, said = workspace.kill_when(["repro"], watch)
    if set(at) != set(PLACES):
        raise RuntimeError(f"dvc repro failed:\n{said}")
    ends = [*sorted(at.values()), time.monotonic()]
    return {place: ends[ends.index(start) + 1] - start for place, start in at.items()}


def kill_everywhere(
    victim: Workspace,
    command: Sequence[str],
    seconds: dict[str, float],
    rng: random.Random,
    left: int,
) -> list[TableRow]:
    """Kill `command` at every place of `PLACES`, in at most `left` of them; a row each."""
    rows: list[TableRow] = []
    published = victim.folder / "metrics" / "train.json"
    for place in PLACES[:left]:
        stage = "train" if place in (PLAYING, WINDOW) else place
        if place == WINDOW:
            published.unlink(missing_ok=True)
        before = victim.checkpoints()
        moment = {
            PLAYING: lambda said, before=before: victim.checkpoints() != before,
            WINDOW: lambda said: published.exists(),
        }.get(place, began(stage))
        delay = rng.uniform(0, seconds[place])
        killed, said = victim.kill_when([*command, stage], moment, delay)
        rows.append(_row(command, place, delay, killed, said, victim.mend()))
    return rows


def _row(
    command: Sequence[str], place: str, delay: float, killed: bool, said: str, mended: Sequence[str]
) -> TableRow:
    return {
        "command": f"dvc {' '.join(command)}",
        "place": place,
        "seconds": round(delay, 2),
        "killed": int(killed),
        # What DVC would have failed over; names of processes that are gone are no such thing.
        "mended": " ".join(
            Path(line.partition(" ")[0]).name for line in mended if "named processes" not in line
        ),
        "resumed": int("(resumed at" in said),
        "published_again": int("are in its state" in said),
    }


def summary(rows: Sequence[TableRow]) -> list[TableRow]:
    """A row a place: how many kills, and what came of them."""
    return [
        {
            "place": place,
            "tried": len(here),
            "killed": sum(row["killed"] for row in here),
            "resumed": sum(row["resumed"] for row in here),
            "published_again": sum(row["published_again"] for row in here),
            "mended": sum(bool(row["mended"]) for row in here),
            "other_outs": sum(row["other_outs"] > 0 for row in here),
        }
        for place in (*dict.fromkeys(PLACES), "to the end")
        if (here := [row for row in rows if row["place"] == place])
    ]


def main() -> int:
    """Entry point. Returns 1 when any out differs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kill_and_resume",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=50, help="at least, in all runs together")
    parser.add_argument("--steps", type=int, default=300, help="of training")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--threads", type=int, default=None, help="of OpenMP, in the stages")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    settings = [
        *SMALL,
        f"train.steps={options.steps}",
        # Often, so that most kills fall between two checkpoints of one run.
        "runtime.checkpoint_seconds=0.3",
    ]
    rows: list[TableRow] = []
    runs = failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        base = Workspace.create(Path(temporary) / "base", settings, options.threads)
        whole = base.copy(Path(temporary) / "whole")
        seconds = durations(whole)
        wanted = whole.digests()
        print(
            f"uninterrupted: {len(wanted)} files; "
            + ", ".join(f"{place} {length:.1f} s" for place, length in seconds.items()),
            flush=True,
        )
        while sum(row["killed"] for row in rows) < options.kills:
            runs += 1
            command = ["repro"] if runs % 2 else ["exp", "run"]
            victim = base.copy(Path(temporary) / f"victim-{runs}")
            left = options.kills - sum(row["killed"] for row in rows)
            own = kill_everywhere(victim, command, seconds, rng, left)
            status, said = victim.try_dvc(*command)
            differ = differences(wanted, victim.digests()) if status == 0 else ["dvc failed"]
            failures += bool(differ)
            own.append(_row(command, "to the end", 0.0, False, said, []))
            rows += [{"run": runs, **row, "other_outs": len(differ)} for row in own]
            print(
                f"{runs:3d}. dvc {' '.join(command):<8} {sum(row['killed'] for row in own)} kills: "
                + (f"DIFFER: {', '.join(differ)}" if differ else "all outs identical"),
                flush=True,
            )
            if status:
                print(said)
            shutil.rmtree(victim.folder)
            write_csv(results_path("kill_and_resume"), rows)  # so far: it takes long
    print(machine())
    print_table(summary(rows))
    killed = sum(row["killed"] for row in rows)
    print(f"{killed} kills in {runs} runs, {failures} runs with other outs")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
