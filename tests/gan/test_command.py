import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gan.command import BAD_INPUT, FAILED, STOPPED, run
from gan.errors import DataError, TrainingError

ROOT = Path(__file__).parents[2]
COMMANDS = [
    *(
        f"pipeline.{name}"
        for name in ("prepare", "judge", "train", "sample", "evaluate", "report")
    ),
    "gan.state",
]  # fmt: skip


class OutOfMemoryError(RuntimeError):
    """As PyTorch's for a GPU, by its name."""


def raising(error: BaseException):
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (DataError("a: found b, expected c"), BAD_INPUT, "error: a: found b, expected c\n"),
        (TrainingError("it diverged"), FAILED, "error: it diverged\n"),
        (KeyboardInterrupt(), STOPPED, ""),
        (
            FileNotFoundError(2, "No such file or directory", "a\nb.csv"),
            BAD_INPUT,
            "error: a\\nb.csv: No such file or directory\n",
        ),
        (BrokenPipeError(32, "Broken pipe"), BAD_INPUT, "error: Broken pipe\n"),  # of another
        (OSError(28, "No space left on device"), BAD_INPUT, "error: No space left on device\n"),
        (
            MemoryError("Unable to allocate 1 TiB"),
            FAILED,
            "error: there is not enough memory: Unable to allocate 1 TiB; smaller batches, "
            "examples or networks need less\n",
        ),
        (
            OutOfMemoryError("CUDA out of memory"),
            FAILED,
            "error: there is not enough memory: CUDA out of memory; smaller batches, examples or "
            "networks need less\n",
        ),
    ],
)
def test_one_line_and_a_status_say_whose_turn_it_is(
    capsys, error: BaseException, status: int, said: str
):
    assert run(raising(error)) == status
    assert capsys.readouterr().err == said


def test_a_bug_is_said_to_be_one_below_its_traceback(capsys):
    assert run(raising(AttributeError("'NoneType' object has no attribute 'x'"))) == FAILED
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2] == "AttributeError: 'NoneType' object has no attribute 'x'"
    assert lines[-1].startswith("error: AttributeError was not expected here: this is a bug")


def test_a_package_that_is_missing_is_named_and_one_of_ours_is_a_bug(capsys):
    assert run(raising(ModuleNotFoundError("No module", name="lmdb"))) == BAD_INPUT
    assert "the package lmdb is not installed for" in capsys.readouterr().err
    assert run(raising(ModuleNotFoundError("No module", name="gan.nothing"))) == FAILED
    assert "this is a bug" in capsys.readouterr().err


def test_ctrl_c_that_an_extension_module_took_for_its_own_error_is_ctrl_c(capsys):
    def work() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("numpy.core.multiarray failed to import") from error

    assert run(work) == STOPPED
    assert capsys.readouterr().err == ""


def test_what_the_work_returns_is_the_status_and_its_own_exit_passes():
    assert run(lambda: None) == 0
    assert run(lambda: 3) == 3
    with pytest.raises(SystemExit) as caught:
        run(raising(SystemExit(5)))
    assert caught.value.code == 5


def python(
    *arguments: str, path: Path = ROOT, folder: Path = ROOT, **variables: str
) -> subprocess.Popen[str]:
    """A program, whose first place to look for packages is `path`."""
    environment = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}", **variables}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_during_imports_ends_in_silence(command: str, tmp_path: Path):
    (tmp_path / "numpy.py").write_text(
        "import pathlib, time\npathlib.Path(__file__).with_name('here').touch()\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    raise ImportError('numpy')\n"
    )
    # Whichever of the two comes first.
    (tmp_path / "torch.py").write_text((tmp_path / "numpy.py").read_text())
    process = python("-m", command, path=tmp_path, folder=tmp_path)
    until = time.monotonic() + 60
    while not (tmp_path / "here").exists() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (STOPPED, "", "")


@pytest.mark.parametrize("command", ["pipeline.train", "gan.state"])
def test_a_package_that_is_missing_at_the_start_is_named(command: str, tmp_path: Path):
    for name in ("numpy", "torch"):
        (tmp_path / f"{name}.py").write_text(
            f"raise ModuleNotFoundError('No module named {name}', name='{name}')\n"
        )
    process = python("-m", command, path=tmp_path, folder=tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == BAD_INPUT
    assert out == ""
    assert err.startswith("error: the package ")
    assert err.endswith("run `make setup`, and this in the environment it makes\n")


def test_what_the_terminal_cannot_write_is_escaped():
    script = (
        "import sys\nfrom gan.command import run\n"
        "def work():\n    print('‖x‖ é')\n    raise ValueError('é')\nsys.exit(run(work))"
    )
    process = python("-c", script, PYTHONIOENCODING="ascii:strict")
    out, err = process.communicate(timeout=60)
    assert process.returncode == FAILED
    assert out == "\\u2016x\\u2016 \\xe9\n"
    assert "ValueError: \\xe9" in err
    assert "UnicodeEncodeError" not in err


def test_help_can_be_read_in_any_terminal():
    process = python("-m", "pipeline.preset", "--list", PYTHONIOENCODING="ascii:strict")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "Jensen\\u2013Shannon" in out


def test_a_reader_that_goes_away_is_no_error():
    script = (
        "import sys\nfrom gan.command import run\n"
        "def work():\n    for _ in range(100000): print('a line that nobody reads')\n"
        "sys.exit(run(work))"
    )
    process = python("-c", script)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == FAILED


def test_ctrl_c_that_is_ignored_stays_so(tmp_path: Path):
    (tmp_path / "torch.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
        "raise ModuleNotFoundError('No module named torch', name='torch')\n"
    )
    (tmp_path / "numpy.py").write_text((tmp_path / "torch.py").read_text())
    command = f"{sys.executable} -m pipeline.judge"
    done = subprocess.run(
        ["sh", "-c", f"trap '' INT; exec {command}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == BAD_INPUT  # and not 130
    assert "is not installed" in done.stderr
