"""Reading `params.yaml`, and what every stage does around its work."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from gan.command import BAD_INPUT, FAILED, STOPPED, run
from gan.config import Config, parse
from gan.errors import ConfigError, shown
from pipeline.paths import OUTS, PARAMS
from pipeline.yaml_text import parse_yaml, read_text

__all__ = ["BAD_INPUT", "FAILED", "STOPPED", "check_path", "read_config", "run_stage"]


def read_config(path: Path = PARAMS) -> Config:
    """Read and check the parameters, as YAML 1.2 like DVC itself.

    Raises:
        ConfigError: the file is missing or not YAML, or lists every key that is wrong.
    """
    source = shown(path)
    values = parse_yaml(read_text(path), source)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source}: found {type(values).__name__}, expected a mapping of sections"
        )
    config = parse(Config, values, source)
    check_path(config.data.path, source)
    return config


def check_path(path: str, source: str) -> None:
    """Refuse a `data.path` that holds what the stages write, `.` for example.

    Raises:
        ConfigError: it does; DVC would say that outputs and dependencies overlap.
    """
    place = Path(os.path.normpath(Path(path).absolute()))
    for out in OUTS:
        if place.is_relative_to(out.absolute()) or out.absolute().is_relative_to(place):
            raise ConfigError(
                f"{source}: data.path is {shown(path)}, where the stages themselves write "
                f"({out}): expected a folder, an archive or a file of data alone, "
                "data/raw for example"
            )


def run_stage(stage: Callable[[Config], None], checks: str | None = None) -> None:
    """Read the parameters, run `stage`, and end the process with the exit status it deserves.

    Args:
        stage: the work.
        checks: for which stage what is prepared is checked by `pipeline.limits` beforehand, so that
            what cannot end well does not begin; None: for none.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)

    def work() -> None:
        config = read_config()
        if checks is not None:
            # By name: what checks is no part of what the result depends on, see `gan.code`.
            importlib.import_module("pipeline.limits").check_stage(config, checks)
        stage(config)

    sys.exit(run(work))
