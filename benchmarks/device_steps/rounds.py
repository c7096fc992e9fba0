"""Rounds in which synchronising is an error; and runs killed at random, resumed, the same bytes."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.comparison import prepared_data
from benchmarks.device_steps.step import Context, Failed, Rows
from benchmarks.device_steps.whole_run import newest_checkpoint
from benchmarks.kill_and_resume import SMALL
from gan.config import Config, parse
from gan.training.state import hold
from gan.training.trainer import Trainer, trainer_of
from pipeline import preset

# A lazy penalty, five critic steps with a penalty each, symbols with weights over samples.
PRESETS = ("non-saturating", "wgan-gp", "bgan-binary")
ROUNDS, DRY_ROUNDS = 200, 12
# The first rounds set things up: data go to the device, graphs are recorded.
SET_UP = 16
KILLS = 2


def run(context: Context) -> Rows:
    """A row a preset: rounds without synchronisation, kills, and whether the bytes are the same."""
    wrong = []
    presets = PRESETS[2:] if context.dry else PRESETS
    for name in presets:
        if name in context.done:
            continue
        rounds = DRY_ROUNDS if context.dry else ROUNDS
        config = configured(name, rounds, context)
        digest, watched, defect = play_guarded(config, context)
        killed, resumed = kill_and_resume(name, rounds, context)
        if not defect and resumed != digest:
            defect = "other bytes after a kill"
        yield [
            {
                "case": name,
                "rounds": rounds,
                "rounds_guarded": watched,
                "kills": killed,
                "digest": digest,
                "digest_resumed": resumed,
                "defect": defect,
            }
        ]
        if defect:
            wrong.append(f"{name}: {defect}")
    if wrong:
        raise Failed("; ".join(wrong))
    waits = "no synchronisation; " if context.gpu else ""
    return f"{', '.join(presets)}: {waits}killed and resumed to the same bytes"


def configured(name: str, rounds: int, context: Context) -> Config:
    """A preset on the embedded digits, of so many rounds."""
    pairs = list(SMALL) if context.dry else []
    values = preset.resolve([name, "digits"], pairs)
    values["train"] |= {"steps": rounds, "record_every": 50, "sample_every": rounds}
    runtime = {"device": context.device, "checkpoint_seconds": 0.0, "workers": 0}
    return parse(Config, {**values, "seed": 0, "runtime": runtime}, name)


def play_guarded(config: Config, context: Context) -> tuple[str, int, str]:
    """Play every round, on a GPU all but the first with synchronisation made an error.

    Returns:
        A digest of the state at the end, the rounds so guarded, and what synchronised, "" for
        nothing.
    """
    trainer = _trainer(config, context)
    rounds = 0
    while trainer.step < config.train.steps:
        watch = context.gpu and trainer.step >= SET_UP
        try:
            with guarded() if watch else contextlib.nullcontext():
                trainer.advance()
        except RuntimeError as error:
            return "", rounds, f"round {trainer.step}: {str(error).splitlines()[0][:200]}"
        rounds += watch
        if trainer._filled == config.train.record_every:
            trainer._record()  # where numbers come to the host, and are meant to
    return digest_of(trainer.state_dict()), rounds, ""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Make it an error to wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def digest_of(content: Any) -> str:
    """Sixteen digits for a state: every tensor's bytes and every plain value, in their order."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(f"{value.dtype} {list(value.shape)}".encode() + plain.numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                digest.update(f"{key}:".encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            digest.update(f"[{len(value)}".encode())
            for each in value:
                add(each)
        else:
            digest.update(repr(value).encode())

    add(content)
    return digest.hexdigest()[:16]


def kill_and_resume(name: str, rounds: int, context: Context) -> tuple[int, str]:
    """Kill a run at random after its first checkpoints, and finish it; kills and the digest."""
    rng = random.Random(name)
    root = context.work / f"killed-{name}-{os.getpid()}"
    command = [sys.executable, "-m", __name__, name, str(rounds), str(root), context.device]
    command += ["--work", str(context.work), *(["--dry"] if context.dry else [])]
    kills, out = 0, root.with_suffix(".json")
    for _ in range(1 if context.dry else KILLS):
        after = rng.randrange(1, max(2, rounds // 2))
        process = subprocess.Popen([*command, "--digest", str(out)])
        while process.poll() is None and newest_checkpoint(root) < after * (kills + 1):
            time.sleep(0.005)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
        if out.exists():
            break
    if not out.exists():
        subprocess.run([*command, "--digest", str(out)], check=True)
    found: str = json.loads(out.read_text())
    return kills, found


def _trainer(config: Config, context: Context) -> Trainer:
    # The data for all are prepared once; a killed process leaves nothing half there.
    data = prepared_data(config, context.work)
    torch.manual_seed(0)
    return trainer_of(config, data, device=context.torch_device)


def main() -> None:
    """One run, resumed where it was: what is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("rounds", type=int)
    parser.add_argument("root", type=Path)
    parser.add_argument("device")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--digest", type=Path, required=True)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    context = Context(options.work, options.work, options.device, options.dry)
    config = configured(options.name, options.rounds, context)
    with hold(options.root, {"run": options.name, "rounds": options.rounds}) as state:
        trainer = _trainer(config, context)
        trainer.run(state, config.runtime, progress=False)
        temporary = options.digest.with_suffix(".part")
        temporary.write_text(json.dumps(digest_of(trainer.state_dict())))
        temporary.rename(options.digest)


if __name__ == "__main__":
    main()
