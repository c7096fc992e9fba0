"""Kill -9 at random moments of training, resume, compare: are the outs the same bytes?

    python -m benchmarks.kill_and_resume [--kills 10] [--steps 400] [--seed 0]

Works on copies of the checkout in a temporary folder. One copy trains without interruption; in
each of the others `dvc repro` or, every other time, `dvc exp run` is killed together with all its
children at a random moment of training, twice, then run again to the end. Every out of every
stage must then have the digest that it has in the first copy.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
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
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy2(ROOT / name, target)
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
        """Run DVC, and signal it and its children `delay` seconds after training began.

        Args:
            arguments: of DVC.
            delay: in seconds.
            number: of the signal.

        Returns:
            Whether it was killed (False when it was done before), and what was printed.
        """
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "dvc", *arguments],
                cwd=self.folder,
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            before = self.checkpoints()
            # Training is on when it holds a checkpoint that was not there before.
            while process.poll() is None and self.checkpoints() == before:
                time.sleep(0.01)
            killed = False
            try:
                process.wait(timeout=delay)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, number)
                killed = True
                process.wait()
            output.seek(0)
            return killed, output.read()

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


def main() -> int:
    """Entry point. Returns 1 when any out differs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kill_and_resume",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    settings = [
        f"train.steps={options.steps}",
        "train.sample_every=50",
        "sample.count=1000",
        # Often, so that most kills fall between two checkpoints of one run.
        "runtime.checkpoint_seconds=0.5",
    ]
    failures = killed = 0
    with tempfile.TemporaryDirectory() as temporary:
        base = Workspace.create(Path(temporary) / "base", settings)
        base.dvc("repro", "judge")
        whole = base.copy(Path(temporary) / "whole")
        start = time.monotonic()
        whole.dvc("repro")
        wanted = whole.digests()
        length = time.monotonic() - start
        print(f"uninterrupted: {len(wanted)} files in {length:.0f} s", flush=True)
        for number in range(1, options.kills + 1):
            command = ["repro"] if number % 2 else ["exp", "run"]
            victim = base.copy(Path(temporary) / f"victim-{number}")
            moments = []
            for _ in range(2):
                delay = rng.uniform(0, 0.4 * length)
                if victim.kill_during_training(command, delay)[0]:
                    killed += 1
                    moments.append(f"{delay:.2f} s")
            victim.dvc(*command)
            differ = differences(wanted, victim.digests())
            failures += bool(differ)
            print(
                f"{number:3d}. dvc {' '.join(command):<8} killed at {', '.join(moments):<18} "
                + (f"DIFFER: {', '.join(differ)}" if differ else "all outs identical"),
                flush=True,
            )
            shutil.rmtree(victim.folder)
    print(f"{killed} kills in {options.kills} runs, {failures} runs with other outs")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
