"""Virtual environments with this checkout, for `benchmarks.installs` and `benchmarks.versions`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What would make an environment's Python import something else than it has.
_LEFT_OUT = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
LONGEST = 3600  # seconds of one command


class FailedError(RuntimeError):
    """A command in an environment failed; the message is the last line that it said."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of the Python that runs this."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, below: Environment | None = None) -> Environment:
        """Make one, with pip, or one that also sees the packages of `below`, whose pip it uses."""
        venv.create(folder, with_pip=below is None)
        made = cls(folder)
        if below is not None:
            (made.packages / "below.pth").write_text(f"{below.packages}\n")
        return made

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        paths = {"base": str(self.folder), "platbase": str(self.folder)}
        return Path(sysconfig.get_path("purelib", "venv", paths))

    def python(self, *arguments: str, cwd: Path, **variables: str) -> str:
        """Run its Python with `arguments`; what it prints.

        Raises:
            FailedError: it exits with another status than 0, or not within `LONGEST`.
        """
        scripts = "Scripts" if os.name == "nt" else "bin"
        kept = {key: value for key, value in os.environ.items() if key not in _LEFT_OUT}
        try:
            done = subprocess.run(
                [self.folder / scripts / "python", *arguments],
                cwd=cwd,
                env={**kept, "PYTHONDONTWRITEBYTECODE": "1", **variables},
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=LONGEST,
            )
        except subprocess.TimeoutExpired as error:
            raise FailedError(f"took longer than {LONGEST} s") from error
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()
            said = [line for line in lines if not line.startswith("[notice]")]
            raise FailedError(said[-1] if said else lines[-1])
        return done.stdout

    def pip(self, *arguments: str, cwd: Path) -> str:
        """Run pip for it, without questions; see `python`."""
        return self.python("-m", "pip", "--disable-pip-version-check", *arguments, cwd=cwd)


def checkout_files() -> list[str]:
    """The files of this checkout: what Git knows, or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.split("\0") if (ROOT / name).is_file() and name]


def copy_checkout(folder: Path, names: Sequence[str] | None = None) -> None:
    """Copy the checkout's files, or those of the given names, to `folder`."""
    for name in checkout_files() if names is None else names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
