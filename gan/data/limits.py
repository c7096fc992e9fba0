"""What the parameters and the data allow together: said before the work, not after hours of it.

`prepare` asks about all stages before anything takes its place, and each later stage about itself,
since its parameters may have changed since. What cannot end well is refused. What an evaluation
cannot measure on so few examples it leaves out, and says so here too: small data are no mistake.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch

from gan.config import Config, EvaluateConfig
from gan.data.extent import Extent
from gan.data.manifest import STORED
from gan.errors import ConfigError, DataError, shown
from gan.pixels import Kind
from gan.symbols import MAX_SYMBOLS

Stage = Literal["judge", "train", "sample", "evaluate"]
STAGES: tuple[Stage, ...] = get_args(Stage)

# FD∞ fits a line to subsets down to a tenth of the samples.
FEWEST_FOR_INFINITY = 20
# Half of them train a discriminator, a quarter of these choose its best moment.
FEWEST_FOR_NEURAL = 16
# A class that all of its examples are held out of is taken for a mistake where chance would do so
# less often than this.
CHANCE = 1e-3
CLASSES_SHOWN = 5
_LIMITS_OF_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

_log = logging.getLogger(__name__)


def check(
    config: Config,
    extent: Extent,
    stages: Sequence[Stage] = STAGES,
    *,
    results: Path = Path(),
) -> None:
    """Refuse what cannot end well, and say on the log what will be other than was asked for.

    Args:
        config: all parameters.
        extent: what is prepared.
        stages: about which.
        results: on whose disk the samples will be.

    Raises:
        DataError: a class is held out as a whole, and not by chance.
        ConfigError: lists every parameter that the data or the machine have no room for.
    """
    if extent.complete:
        _check_classes(config, extent)
    found = list(problems(config, extent, stages, results))
    if found:
        raise ConfigError("\n  ".join(["the parameters ask for what cannot be:", *found]))
    if extent.complete:
        for note in notes(config, extent, stages):
            _log.warning("%s", note)


def problems(
    config: Config, extent: Extent, stages: Sequence[Stage], results: Path = Path()
) -> Iterator[str]:
    """What cannot end well: one line each. Arguments as `check`."""
    noun = STORED[extent.kind].noun
    if extent.train < 2:
        yield f"there is 1 {noun} to train with: expected two at least, better many; give more"
    elif "train" in stages and config.train.batch_size > extent.train:
        yield (
            f"train.batch_size is {config.train.batch_size}, but there are only {extent.train} "
            f"{noun}s to train with: expected at most {extent.train}"
        )
    if config.model.name == "classifier":
        if "train" in stages and not 2 <= extent.classes <= MAX_SYMBOLS:
            yield (
                f"model.name is classifier, but the {noun}s are of {extent.classes or 'no'} "
                f"classes: expected 2 to {MAX_SYMBOLS}, folders of images for example, or another "
                "model"
            )
        return  # its samples are the predictions of the held-out images
    count = config.sample.count
    memory = machine_memory()
    for stage, needed in (
        ("sample", 4 * count * config.model.latent_size),
        ("evaluate", count * _bytes_evaluated(config, extent)),
    ):
        if stage in stages and memory is not None and needed > memory:
            yield (
                f"sample.count is {count}, for which {stage} needs {_size(needed)} of memory, but "
                f"this machine has {_size(memory)}: expected at most {count * memory // needed}"
            )
    if "sample" in stages:
        needed = count * math.prod(extent.shape) * (4 if extent.kind == "points" else 1)
        free = _free(results)
        if free is not None and needed > free:
            yield (
                f"sample.count is {count}, which takes {_size(needed)} of disk, but {_size(free)} "
                f"are free: expected at most {count * free // needed}"
            )


def notes(config: Config, extent: Extent, stages: Sequence[Stage]) -> Iterator[str]:
    """What will be other than was asked for: one line each. Arguments as `check`."""
    noun = STORED[extent.kind].noun
    images = STORED[extent.kind].kind == "images"
    if "judge" in stages and images and config.judge.batch_size > extent.train:
        yield (
            f"judge.batch_size is {config.judge.batch_size}, but there are only {extent.train} "
            f"{noun}s to train with: each of the judge's batches is all of them"
        )
    # While there are no samples yet: of those that there are the evaluation says it itself.
    if "evaluate" in stages and "sample" in stages and config.model.name != "classifier":
        missing = left_out(
            config.evaluate,
            STORED[extent.kind].kind,
            samples=config.sample.count,
            train=extent.train,
            test=extent.test,
        )
        if not extent.classes:
            missing.pop("inception_score", None)
        yield from in_words(missing)


def left_out(
    config: EvaluateConfig, kind: Kind, *, samples: int, train: int, test: int
) -> dict[str, str]:
    """Metrics that so few examples do not allow, by their keys in the file, and why not.

    Args:
        config: what is asked for.
        kind: images, points, or text, of which nothing is left out.
        samples: how many there are.
        train: training examples.
        test: held-out examples.
    """
    if kind == "images":
        counts = {"samples": samples, "training images": train, "held-out images": test}
        needs: dict[str, tuple[int, dict[str, int]]] = {
            "fd": (2, counts),
            "fd.infinity": (FEWEST_FOR_INFINITY, {"samples": samples}),
            "kid": (2, counts),
            **dict.fromkeys(
                ("precision", "recall", "density", "coverage"), (config.neighbours + 1, counts)
            ),
            "inception_score": (config.inception_splits, {"samples": samples}),
        }
    elif kind == "points":
        # Floors are of as many points as there are samples.
        counts, needs = {"samples": samples}, {}
    else:
        return {}
    if config.neural_steps:
        needs["neural_divergences"] = (FEWEST_FOR_NEURAL, counts)
    missing = {}
    for name, (fewest, have) in needs.items():
        what, least = min(have.items(), key=lambda each: each[1])
        if least < fewest:
            missing[name] = f"it takes {fewest} {what}, and there {_are(least)}"
    if "fd" in missing:
        missing.pop("fd.infinity", None)
    return missing


def in_words(missing: Mapping[str, str]) -> Iterator[str]:
    """What `left_out` gave, for a person: a line a reason."""
    for why in dict.fromkeys(missing.values()):
        names = ", ".join(name for name, reason in missing.items() if reason == why)
        yield f"the evaluation leaves out {names}: {why}"


def machine_memory() -> int | None:
    """Bytes of memory that this machine has, or the group of processes may use; None: unknown."""
    found = []
    with contextlib.suppress(AttributeError, OSError, ValueError):  # not on every platform
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in _LIMITS_OF_GROUPS:
        try:
            found.append(int(Path(path).read_text()))
        except (OSError, ValueError):
            continue  # there is none, or it says "max"
    return min((each for each in found if each > 0), default=None)


def _check_classes(config: Config, extent: Extent) -> None:
    """Classes without a training example: a folder misnamed, or few examples and bad luck."""
    held_out = extent.only_held_out
    if not held_out:
        return
    fraction = config.data.test_fraction
    certain = {
        name: count
        for name, count in held_out.items()
        if fraction**count * max(1, extent.classes) < CHANCE
    }
    said = ", ".join(
        f"{shown(name, 60)} ({count})" for name, count in list(held_out.items())[:CLASSES_SHOWN]
    )
    if len(held_out) > CLASSES_SHOWN:
        said += f" and {len(held_out) - CLASSES_SHOWN} more"
    message = f"there are held-out examples of classes without a single one to train with: {said}"
    if certain:
        raise DataError(f"{message}; expected the same classes for training and testing")
    _log.warning("%s; nothing can learn what they look like", message)


def _bytes_evaluated(config: Config, extent: Extent) -> int:
    """What an evaluation holds of one sample, at least."""
    kind = STORED[extent.kind].kind
    if kind == "images":
        # Features as fp32; on the CPU twice in float64, too: themselves and without their mean.
        gpu = config.runtime.device != "cpu" and torch.cuda.is_available()
        return config.judge.features * (4 if gpu else 4 + 8 + 8) + 4 * extent.classes
    if kind == "points":
        return extent.shape[0] * 8 * 6  # the draws of the floors
    return extent.shape[0] + 57  # as a text of its own


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _size(count: int) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
